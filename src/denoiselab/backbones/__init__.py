"""Backbones: what there is to denoise with. Each ends in a Denoiser."""

from denoiselab.backbones.checkpoint import load_denoiser

__all__ = ["load_denoiser"]
