"""Bars that are a picture in a page and a chart of its own in slides."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.core.files import atomic_path
from pipelines.reporting.report.parts import BarChart

DPI = 130
MOST_UPRIGHT = 3
"""Series whose numbers stand upright side by side."""


def bar_chart(
    path: Path,
    categories: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
    *,
    caption: str,
    alt: str,
) -> BarChart:
    """Bars from 0 to 1 by category, a colour each series; the numbers stand on them.

    Args:
        path: PNG to write.
        categories: Names along the axis, in Latin letters: Matplotlib does not join those of other scripts.
        series: Values of each series by its name, in `[0, 1]`, one a category; None where there is none.
        caption: Text below the picture.
        alt: What is to be seen.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(6.4, 2.6), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.8 / len(series)
    is_crowded = len(series) > MOST_UPRIGHT
    for index, (name, values) in enumerate(series):
        heights = [0.0 if value is None else value for value in values]
        positions = np.arange(len(categories)) + (index - (len(series) - 1) / 2) * width
        bars = axes.bar(positions, heights, width * 0.9, label=name)
        texts = ["" if value is None else f"{value:.3f}" for value in values]
        axes.bar_label(bars, labels=texts, fontsize=8, padding=2, rotation=90 if is_crowded else 0)
    axes.set_xticks(range(len(categories)), list(categories))
    axes.set_ylim(0, 1.25 if is_crowded else 1.08)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    return BarChart(path, alt, caption, list(categories), [(name, list(values)) for name, values in series])
