"""What every test shares: reproducible property tests, and no contest for the cores of a busy machine."""

import torch
from hypothesis import settings

settings.register_profile("denoiselab", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("denoiselab")
torch.set_num_threads(1)
