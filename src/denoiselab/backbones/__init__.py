"""Backbones: what there is to denoise with. Each ends in a Denoiser.

Checkpoints of this project are loaded here; DeepFloyd IF in `backbones.deepfloyd`, its prompts in
`backbones.embeddings`, its miniature in `backbones.tiny_if`.
"""

from denoiselab.backbones.checkpoint import load_denoiser

__all__ = ["load_denoiser"]
