"""What every test shares: reproducible property tests without time limits (the machine may be busy)."""

from hypothesis import settings

settings.register_profile("denoiselab", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("denoiselab")
