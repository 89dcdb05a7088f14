"""Pictures of a run: grids, panels, loss curves and animations, each written whole or not at all."""

from denoiselab.figures.animations import animation
from denoiselab.figures.curves import loss_curve, loss_curves
from denoiselab.figures.grids import grid, panel, save_grid, stack

__all__ = ["animation", "grid", "loss_curve", "loss_curves", "panel", "save_grid", "stack"]
