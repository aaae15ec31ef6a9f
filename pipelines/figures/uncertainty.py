"""Maps of one slice: contours, probability, entropy, disagreement of flips, and the errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipelines.core.indices import IntArray, Spacing
from pipelines.core.labels import FOREGROUND
from pipelines.figures.overlay import (
    WINDOW_PERCENTILES,
    crop_around_heart,
    draw_contour,
)
from pipelines.figures.style import save_png

TITLES: Final = (
    "prediction, truth dashed",
    "probability of heart",
    "entropy",
    "disagreement of flips",
    "wrong voxels",
)
PANEL_INCHES: Final = 2.4


@dataclass(frozen=True, slots=True)
class SliceMaps:
    """Maps of one slice of a volume, all slices last `(X, Y, Z)`.

    Attributes:
        title: What it is of.
        index: Slice to draw, 0-based.
        image: Intensities.
        mask: Predicted label map.
        truth: True label map, background where nobody annotated.
        heart: Probability of any structure.
        entropy: Share of the largest entropy, 0 to 1.
        disagreement: Share of flipped copies against the majority, 0 to 0.75.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
    """

    title: str
    index: int
    image: npt.NDArray[np.floating[Any]]
    mask: IntArray
    truth: IntArray
    heart: npt.NDArray[np.float32]
    entropy: npt.NDArray[np.float32]
    disagreement: npt.NDArray[np.float32]
    spacing_mm: Spacing


def uncertainty_figure(slices: Sequence[SliceMaps], path: Path) -> None:
    """PNG with a row a slice: image with contours, and the maps of `TITLES`.

    Args:
        slices: Slices to draw, at least one.
        path: PNG to write.

    Raises:
        ValueError: If there is no slice.
        OutputError: If it cannot be written.
    """
    if not slices:
        raise ValueError("expected at least one slice to draw, found none")
    size = (PANEL_INCHES * len(TITLES), (PANEL_INCHES + 0.35) * len(slices) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(slices), len(TITLES), squeeze=False)
    for row, maps in zip(rows, slices, strict=True):
        heart = (maps.mask > 0) | (maps.truth > 0)
        crop = crop_around_heart(heart.astype(np.uint8), maps.spacing_mm)[:2]
        image = maps.image[:, :, maps.index][crop]
        mask, truth = maps.mask[:, :, maps.index][crop], maps.truth[:, :, maps.index][crop]
        low, high = np.percentile(image, WINDOW_PERCENTILES)
        aspect = maps.spacing_mm[1] / maps.spacing_mm[0]
        for axes in row:
            axes.imshow(image.T, cmap="gray", vmin=low, vmax=high, aspect=aspect)
            axes.set_axis_off()
        for label in FOREGROUND:
            draw_contour(row[0], mask == label, label, "solid")
            draw_contour(row[0], truth == label, label, "dashed")
        wrong = (mask != truth).astype(np.float32)
        drawn = [field[:, :, maps.index][crop] for field in (maps.heart, maps.entropy, maps.disagreement)]
        for axes, field, top in zip(row[1:], [*drawn, wrong], (1.0, 1.0, 0.75, 1.0), strict=True):
            axes.imshow(
                np.ma.masked_less(field.T, 0.02), cmap="inferno", vmin=0, vmax=top, alpha=0.75, aspect=aspect
            )
        row[0].set_title(f"{maps.title}, slice {maps.index + 1}\n{TITLES[0]}", fontsize=8, loc="left")
        for axes, title in zip(row[1:], TITLES[1:], strict=True):
            axes.set_title(title, fontsize=8)
    save_png(figure, path)
