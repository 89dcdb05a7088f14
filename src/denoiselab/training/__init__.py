"""Training: the LightningModules, their callbacks, and the Trainer they run in."""

from denoiselab.training.callbacks import Checkpoints, LossCurve, Metrics, NotFinite, Preempted
from denoiselab.training.classifier import Classifier, ClassifierModule
from denoiselab.training.ema import EMA
from denoiselab.training.evaluation import DenoisingQuality, SampleQuality
from denoiselab.training.modules import ClassModule, OneStepModule, TimeModule
from denoiselab.training.optimizer import Optimizer
from denoiselab.training.pictures import DenoisedPanels, PureNoisePanels, SampleGrids, UpscaledPanels
from denoiselab.training.pipeline import Pipeline
from denoiselab.training.resume import load_for_resume
from denoiselab.training.text import TextModule, UpscalerModule
from denoiselab.training.times import Times
from denoiselab.training.tracking import recording, wandb_logger
from denoiselab.training.trainer import check_devices, default_precision, make_trainer, resolve_accelerator

__all__ = [
    "EMA",
    "Checkpoints",
    "ClassModule",
    "Classifier",
    "ClassifierModule",
    "DenoisedPanels",
    "DenoisingQuality",
    "LossCurve",
    "Metrics",
    "NotFinite",
    "OneStepModule",
    "Optimizer",
    "Pipeline",
    "Preempted",
    "PureNoisePanels",
    "SampleGrids",
    "SampleQuality",
    "TextModule",
    "TimeModule",
    "Times",
    "UpscaledPanels",
    "UpscalerModule",
    "check_devices",
    "default_precision",
    "load_for_resume",
    "make_trainer",
    "recording",
    "resolve_accelerator",
    "wandb_logger",
]
