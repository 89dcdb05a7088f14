"""Edit: what is done with a denoiser beyond sampling. Knows no backbone.

The names and ranges of views and factors (`names`) are plain Python, so that a wrong one on the command line is
answered before torch is imported; the rest of the package is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoiselab.edit.names import (
    FACTOR_NAMES,
    FACTOR_SETS,
    VIEW_NAMES,
    check_anagram,
    check_factors,
    check_hybrid,
    check_sigma,
    check_view,
)

if TYPE_CHECKING:
    from denoiselab.edit.anagram import Anagram
    from denoiselab.edit.combine import Alternate, Combine, Given
    from denoiselab.edit.edit import Edit, Figure, Job, Result, Sampler
    from denoiselab.edit.encode import Encode
    from denoiselab.edit.evaluate import Evaluate
    from denoiselab.edit.filters import Factor, check_sum, gaussian_blur, make_factors
    from denoiselab.edit.forward import Blur, Forward, OneStep
    from denoiselab.edit.generate import Generate
    from denoiselab.edit.hold import HoldPhoto
    from denoiselab.edit.hybrid import Hybrid
    from denoiselab.edit.inpaint import Inpaint
    from denoiselab.edit.iterative import Iterative
    from denoiselab.edit.sdedit import SDEdit
    from denoiselab.edit.upscale import Upscale
    from denoiselab.edit.views import View, make_view

_MODULES = {
    "anagram": ("Anagram",),
    "combine": ("Alternate", "Combine", "Given"),
    "edit": ("Edit", "Figure", "Job", "Result", "Sampler"),
    "encode": ("Encode",),
    "evaluate": ("Evaluate",),
    "forward": ("Blur", "Forward", "OneStep"),
    "generate": ("Generate",),
    "hold": ("HoldPhoto",),
    "hybrid": ("Hybrid",),
    "inpaint": ("Inpaint",),
    "iterative": ("Iterative",),
    "sdedit": ("SDEdit",),
    "upscale": ("Upscale",),
    "filters": ("Factor", "check_sum", "gaussian_blur", "make_factors"),
    "views": ("View", "make_view"),
}
__all__ = [
    "FACTOR_NAMES",
    "FACTOR_SETS",
    "VIEW_NAMES",
    "Alternate",
    "Anagram",
    "Blur",
    "Combine",
    "Edit",
    "Encode",
    "Evaluate",
    "Factor",
    "Figure",
    "Forward",
    "Generate",
    "Given",
    "HoldPhoto",
    "Hybrid",
    "Inpaint",
    "Iterative",
    "Job",
    "OneStep",
    "Result",
    "SDEdit",
    "Sampler",
    "Upscale",
    "View",
    "check_anagram",
    "check_factors",
    "check_hybrid",
    "check_sigma",
    "check_sum",
    "check_view",
    "gaussian_blur",
    "make_factors",
    "make_view",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
