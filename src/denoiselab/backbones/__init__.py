"""Backbones: what there is to denoise with. Each ends in a Denoiser.

Checkpoints of this project are loaded here; DeepFloyd IF in `backbones.deepfloyd`, its prompts in
`backbones.embeddings`, its miniature in `backbones.tiny_if`. `load_backbone` finds the right one.
"""

from denoiselab.backbones.checkpoint import CheckpointBackbone, load_denoiser
from denoiselab.backbones.sources import load_backbone

__all__ = ["CheckpointBackbone", "load_backbone", "load_denoiser"]
