"""Pictures of a run: grids, panels, curves and animations, each written whole or not at all."""

from denoiselab.figures.animations import animation
from denoiselab.figures.curves import loss_curve, loss_curves
from denoiselab.figures.grids import grid, panel, save_grid, stack
from denoiselab.figures.quality import Curve, quality_figure
from denoiselab.figures.study import study_figure, study_table

__all__ = [
    "Curve",
    "animation",
    "grid",
    "loss_curve",
    "loss_curves",
    "panel",
    "quality_figure",
    "save_grid",
    "stack",
    "study_figure",
    "study_table",
]
