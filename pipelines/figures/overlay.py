"""Figures that computing code writes: one place for size, resolution and style, and overlays of masks."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unicodedata import bidirectional

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from pipelines.core.cardiac import IntArray, Spacing
from pipelines.core.files import atomic_path
from pipelines.core.records import FOREGROUND, LABEL_COLORS, LABEL_NAMES, AcdcLabel

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


TRANSLATE: Final[ContextVar[Callable[[str], str] | None]] = ContextVar("TRANSLATE", default=None)
"""Gives the texts of figures in another language, where one is set."""


@contextmanager
def texts_by(translate: Callable[[str], str]) -> Iterator[None]:
    """Draw the texts of figures as a function gives them, e.g. in another language."""
    token = TRANSLATE.set(translate)
    try:
        yield
    finally:
        TRANSLATE.reset(token)


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all, its texts as `TRANSLATE` gives them; returns its path.

    Raises:
        OutputError: If the file cannot be written.
    """
    FigureCanvasAgg(figure)
    if translate := TRANSLATE.get():
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            names = [one.get_text() for one in axis.get_ticklabels()]
            if isinstance(axis.get_major_locator(), FixedLocator) and "".join(names).strip("0123456789.−"):
                axis.set_ticks(axis.get_ticklocs(), [translate(one) for one in names])
        for text in figure.findobj(Text):
            shown = translate(text.get_text())
            is_rtl = any(bidirectional(letter) in ("R", "AL") for letter in shown)
            text.set_text(f"\u200f{shown}" if is_rtl else shown)  # else a first Latin word turns the line
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    return path


CROP_MARGIN_MM = 15.0
"""Rim of tissue shown around the heart, mm."""

WINDOW_PERCENTILES = (1.0, 99.0)
"""Intensities shown as black and white."""

MAX_COLUMNS = 8
SLICE_INCHES = 2.0
HEADER_INCHES = 0.75

FloatArray = npt.NDArray[np.floating[Any]]


def overlay_figure(
    image: FloatArray,
    mask: IntArray,
    path: Path,
    *,
    truth: IntArray | None = None,
    title: str = "",
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
) -> None:
    """PNG of all slices around the heart with the contours of the structures.

    The prediction is solid and the truth dashed, in LABEL_COLORS. The view is
    cropped to the heart in either mask; without any, it is the whole field.

    Args:
        image: `(X, Y, Z)` grey image, slices on the last axis, any finite range.
        mask: `(X, Y, Z)` predicted label map with values from `AcdcLabel`.
        path: PNG file to write; its folder is made if it does not exist.
        truth: `(X, Y, Z)` true label map, or None.
        title: Text above the slices.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, for the aspect and the margin.

    Raises:
        ValueError: If the image is not 3-D or a mask has another shape.
        OutputError: If the file cannot be written.
    """
    shapes = [array.shape for array in (image, mask, truth) if array is not None]
    if image.ndim != 3 or len(set(shapes)) > 1:
        raise ValueError(f"expected image and masks of one shape (X, Y, Z), found {shapes}")
    crop = crop_around_heart(mask if truth is None else mask + truth, spacing_mm)
    shown = image[crop]
    low, high = np.percentile(shown, WINDOW_PERCENTILES)
    figure, panels = _montage(shown.shape, spacing_mm)
    for index, axes in enumerate(panels):
        axes.imshow(
            shown[:, :, index].T, cmap="gray", vmin=low, vmax=high, aspect=spacing_mm[1] / spacing_mm[0]
        )
        for label in FOREGROUND:
            draw_contour(axes, mask[crop][:, :, index] == label, label, "solid")
            if truth is not None:
                draw_contour(axes, truth[crop][:, :, index] == label, label, "dashed")
        axes.text(0.03, 0.97, f"{index + 1}", transform=axes.transAxes, color="white", size=8, va="top")
    figure.suptitle(title, size=10, y=1 - 0.12 / figure.get_figheight(), va="top")
    _draw_legend(figure, has_truth=truth is not None)
    save_png(figure, path)


def curve_figure(
    frames: Sequence[float] | FloatArray,
    lv_ml: Sequence[float] | FloatArray,
    rv_ml: Sequence[float] | FloatArray,
    index_ed: int,
    index_es: int,
    path: Path,
) -> None:
    """PNG of the LV and RV volume in mL over a cine, with ED and ES marked.

    Args:
        frames: Numbers of the T frames.
        lv_ml: LV cavity volume of each frame, mL.
        rv_ml: RV cavity volume of each frame, mL.
        index_ed: Index of the end-diastolic frame, 0-based.
        index_es: Index of the end-systolic frame, 0-based.
        path: PNG file to write; its folder is made if it does not exist.

    Raises:
        OutputError: If the file cannot be written.
    """
    figure, (axes,) = panels(width=6.4, height=3.6)
    for label, volumes_ml in ((AcdcLabel.LV, lv_ml), (AcdcLabel.RV, rv_ml)):
        axes.plot(frames, volumes_ml, color=LABEL_COLORS[label], marker="o", markersize=3, label=label.name)
    for name, index in (("ED", index_ed), ("ES", index_es)):
        axes.axvline(frames[index], color="0.5", linestyle="dotted", linewidth=1)
        axes.annotate(
            f"{name}, LV {lv_ml[index]:.0f} mL",
            (frames[index], lv_ml[index]),
            xytext=(4, -14),
            textcoords="offset points",
            size=8,
        )
    axes.set(xlabel="frame", ylabel="volume (mL)")
    axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    axes.legend(frameon=False)
    save_png(figure, path)


def crop_around_heart(heart: IntArray, spacing_mm: Spacing) -> tuple[slice, slice, slice]:
    """Rows, columns and slices around a heart with a rim of `CROP_MARGIN_MM`; all without a heart.

    Args:
        heart: `(X, Y, Z)`, not zero inside, slices last.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
    """
    if not heart.any():
        return slice(None), slice(None), slice(None)
    bounds = []
    for axis in (0, 1):
        inside = np.flatnonzero(heart.any(axis=(1 - axis, 2)))
        margin = math.ceil(CROP_MARGIN_MM / spacing_mm[axis])
        bounds.append(slice(max(int(inside[0]) - margin, 0), int(inside[-1]) + 1 + margin))
    return bounds[0], bounds[1], slice(None)


def _montage(shape: tuple[int, ...], spacing_mm: Spacing) -> tuple[Figure, list[Axes]]:
    slices = shape[2]
    columns = min(slices, MAX_COLUMNS, math.ceil(math.sqrt(2 * slices)))
    rows = math.ceil(slices / columns)
    panel_height = SLICE_INCHES * (shape[1] * spacing_mm[1]) / (shape[0] * spacing_mm[0])
    width = max(columns * SLICE_INCHES, 4.0)
    height = rows * panel_height + HEADER_INCHES
    figure = Figure(figsize=(width, height), dpi=DPI)
    grid = figure.add_gridspec(
        rows, columns, left=0, right=1, bottom=0, top=1 - HEADER_INCHES / height, wspace=0.02, hspace=0.02
    )
    panels = [figure.add_subplot(grid[divmod(index, columns)]) for index in range(slices)]
    for axes in panels:
        axes.set_axis_off()
    return figure, panels


def draw_contour(axes: Axes, region: npt.NDArray[np.bool_], label: AcdcLabel, style: str) -> None:
    """Outline of a structure in one slice.

    Args:
        axes: Panel with the slice, its first axis to the right.
        region: `(X, Y)` where the structure is.
        label: Structure, which gives the colour.
        style: Line style of Matplotlib.
    """
    if region.any() and not region.all():
        color = LABEL_COLORS[label]
        axes.contour(region.T.astype(float), levels=[0.5], colors=[color], linestyles=style, linewidths=1.1)


def _draw_legend(figure: Figure, *, has_truth: bool) -> None:
    handles = [
        Line2D([], [], color=LABEL_COLORS[label], label=LABEL_NAMES[label].upper()) for label in FOREGROUND
    ]
    if has_truth:
        handles.append(Line2D([], [], color="0.3", label="prediction"))
        handles.append(Line2D([], [], color="0.3", linestyle="dashed", label="truth"))
    figure.legend(
        handles=handles,
        ncols=len(handles),
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - 0.35 / figure.get_figheight()),
        fontsize=8,
        frameon=False,
        borderaxespad=0,
    )


TITLES: Final = (
    "prediction, truth dashed",
    "probability of heart",
    "entropy",
    "disagreement of flips",
    "wrong voxels",
)
MAP_INCHES: Final = 2.4


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
    size = (MAP_INCHES * len(TITLES), (MAP_INCHES + 0.35) * len(slices) + 0.2)
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
