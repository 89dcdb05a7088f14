"""How good the pictures are: digit classifiers and what they say of samples; how well pictures are denoised."""

from denoiselab.evaluation.coloured import grey, levelled, read_colours
from denoiselab.evaluation.denoising import Denoised, denoising_quality
from denoiselab.evaluation.digits import (
    DigitClassifier,
    about_digits,
    features,
    load_digits,
    read_digits,
    save_digits,
)
from denoiselab.evaluation.fidelity import FrechetDistance
from denoiselab.evaluation.intervals import share_interval
from denoiselab.evaluation.psnr import psnr
from denoiselab.evaluation.samples import VERSION, Evaluator, Setting, plain_values

__all__ = [
    "VERSION",
    "Denoised",
    "DigitClassifier",
    "Evaluator",
    "FrechetDistance",
    "Setting",
    "about_digits",
    "denoising_quality",
    "features",
    "grey",
    "levelled",
    "load_digits",
    "plain_values",
    "psnr",
    "read_colours",
    "read_digits",
    "save_digits",
    "share_interval",
]
