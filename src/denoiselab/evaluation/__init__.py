"""How good the pictures are: a digit classifier, Fréchet distance in its features, PSNR, denoising."""

from denoiselab.evaluation.denoising import Denoised, Interval, denoising_quality
from denoiselab.evaluation.digits import (
    DigitClassifier,
    accuracy,
    digit_classifier,
    load_classifier,
    save_classifier,
    train_classifier,
)
from denoiselab.evaluation.quality import frechet_distance, psnr, recognised

__all__ = [
    "Denoised",
    "DigitClassifier",
    "Interval",
    "accuracy",
    "denoising_quality",
    "digit_classifier",
    "frechet_distance",
    "load_classifier",
    "psnr",
    "recognised",
    "save_classifier",
    "train_classifier",
]
