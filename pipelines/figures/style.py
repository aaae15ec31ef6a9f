"""How figures look and how they are written: one place for size, resolution and style."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.core.files import atomic_path

DPI: Final = 110

STYLE: Final = {"axes.spines.top": False, "axes.spines.right": False}
"""Settings of Matplotlib that all panels have."""

PANEL_INCHES: Final = (3.6, 3.2)
"""Width and height of a panel where a figure gives no other."""


def panels(
    columns: int = 1,
    rows: int = 1,
    *,
    width: float = PANEL_INCHES[0],
    height: float = PANEL_INCHES[1],
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure and its panels, row by row.

    Args:
        columns: Panels side by side.
        rows: Panels below each other.
        width: Of a panel, in inches.
        height: Of a panel, in inches.
        **options: For `Figure.subplots`, e.g. `sharey`.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(np.ravel(grid))


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; returns its path.

    Raises:
        OutputError: If the file cannot be written.
    """
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    return path
