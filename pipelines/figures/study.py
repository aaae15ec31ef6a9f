"""Pictures of one study for its page: ranges, slices at ED and ES, the wall by segment, and a moving cine.

None of them names the patient.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy import ndimage

from pipelines.core.cardiac import Normal
from pipelines.core.files import atomic_path
from pipelines.core.records import FOREGROUND, LABEL_COLORS, AcdcLabel
from pipelines.core.volume import Volume, slices_last
from pipelines.core.wall import Segments, Strain, Wall
from pipelines.figures.overlay import WINDOW_PERCENTILES, crop_around_heart, draw_contour, panels, save_png

Frame = tuple[Volume, Volume]
"""Image and label map `(X, Y, Z)` of one moment, in any order of axes."""

SLICES_SHOWN: Final = 4
CINE_SLICES: Final = 3
CINE_SIDE_PX: Final = 220
"""Height of a slice of the moving cine, pixels."""

FRAME_MS: Final = 50
"""Time that a frame of the moving cine is shown where the cine does not tell, ms."""

MIN_STRAIN_FRAMES: Final = 2
"""Frames with strain that make no curve yet."""

RANGE_MARGIN: Final = 0.6
"""How far beyond a range a value may lie, in widths of the range; what is further off stands there."""

GREYS: Final = 256 - len(FOREGROUND)

RANGE_NAMES: Final = {
    "lv_edv_ml": "LV EDV, mL",
    "lv_esv_ml": "LV ESV, mL",
    "lv_sv_ml": "LV SV, mL",
    "lv_ef_percent": "LV EF, %",
    "rv_edv_ml": "RV EDV, mL",
    "rv_esv_ml": "RV ESV, mL",
    "rv_sv_ml": "RV SV, mL",
    "lv_edv_ml_m2": "LV EDV, mL/m²",
    "lv_esv_ml_m2": "LV ESV, mL/m²",
    "lv_sv_ml_m2": "LV SV, mL/m²",
    "myo_mass_ed_g_m2": "LV mass, g/m²",
    "rv_edv_ml_m2": "RV EDV, mL/m²",
    "rv_esv_ml_m2": "RV ESV, mL/m²",
    "rv_sv_ml_m2": "RV SV, mL/m²",
}
"""Values that have a range, in the order of their bars."""


def draw_study(
    stem: Path,
    ed: Frame,
    es: Frame,
    wall: Wall,
    normal: Mapping[str, Normal],
    cine: Sequence[Frame],
    strain: Sequence[Strain] = (),
) -> dict[str, Path]:
    """Pictures of a study as PNG files `STEM_page_KIND.png`, by their kind.

    Args:
        stem: Folder and beginning of the names.
        ed: Image and label map at end-diastole.
        es: Image and label map at end-systole.
        wall: Figures of the wall.
        normal: Normal ranges by the name of the value.
        cine: All frames, empty if there are only two.
        strain: Strain of each of them against ED.

    Returns:
        `slices`; `strain` where three frames or more have it; `wall` where there are figures by segment;
        `ranges` where there are ranges; `cine`, an animated PNG, where there are frames.

    Raises:
        OutputError: If a file cannot be written.
    """

    def path(kind: str) -> Path:
        return stem.with_name(f"{stem.name}_page_{kind}.png")

    found = {"slices": _draw_slices(ed, es, path("slices"))}
    if any(value is not None for value in wall.ed_mm):
        found["wall"] = _draw_wall(wall, path("wall"))
    if normal:
        found["ranges"] = _draw_ranges(normal, path("ranges"))
    if sum(one.mid_percent is not None for one in strain) > MIN_STRAIN_FRAMES:
        found["strain"] = _draw_strain(strain, path("strain"))
    if cine:
        found["cine"] = _draw_cine(cine, path("cine"))
    return found


def draw_two_curves(pairs: Sequence[tuple[str, Mapping[AcdcLabel, Sequence[float]]]], path: Path) -> Path:
    """LV and RV volumes of two studies over the beat, as a PNG: the first dashed.

    Args:
        pairs: Name and volumes in mL of each frame, of both studies.
        path: File to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure, axes = panels(2, width=3.2, height=2.2)
    for (name, curves), style in zip(pairs, ("--", "-"), strict=True):
        for panel, label in zip(axes, (AcdcLabel.LV, AcdcLabel.RV), strict=True):
            share = np.arange(len(curves[label])) * 100 / max(len(curves[label]), 1)
            panel.plot(share, curves[label], style, color=LABEL_COLORS[label], label=name)
            panel.set(xlabel="% of the beat", ylabel=f"{label.name} (mL)")
            panel.legend(fontsize=7, frameon=False)
    for panel in axes:
        panel.set_ylim(bottom=0)
    return save_png(figure, path)


def _draw_strain(strain: Sequence[Strain], path: Path) -> Path:
    """Strain of contours over the beat, in percent."""
    figure, (axes,) = panels(width=4.2, height=1.6)
    frames = range(1, len(strain) + 1)
    for name, color in (("endo", "#dc2626"), ("mid", "#7c3aed"), ("epi", "#2563eb"), ("radial", "#15803d")):
        values = [getattr(one, f"{name}_percent") for one in strain]
        axes.plot(frames, [np.nan if one is None else one for one in values], color=color, label=name)
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="frame", ylabel="%")
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    return save_png(figure, path)


def _draw_ranges(normal: Mapping[str, Normal], path: Path) -> Path:
    """Bars of the normal ranges, all as wide, with each value: by body surface where that is known."""
    shown = [name for name in RANGE_NAMES if name in normal and f"{name}_m2" not in normal]
    figure, (axes,) = panels(width=4.2, height=0.2 + 0.17 * len(shown))
    for place, name in enumerate(shown):
        one = normal[name]
        axes.barh(place, 1, left=0, height=0.5, color="#86efac")
        color = "#b91c1c" if one.is_outside else "#166534"
        share = np.clip((one.value - one.low) / (one.high - one.low), -RANGE_MARGIN, 1 + RANGE_MARGIN)
        axes.plot(share, place, "o", color=color, markersize=5)
        text = f"{one.value:.0f} ({one.low:.0f}–{one.high:.0f})"
        axes.text(1.1 + RANGE_MARGIN, place, text, va="center", size=7, color=color)
        axes.text(-0.1 - RANGE_MARGIN, place, RANGE_NAMES[name], va="center", ha="right", size=7)
    axes.set(xlim=(-RANGE_MARGIN - 0.03, 1 + RANGE_MARGIN + 0.03))
    axes.set_axis_off()
    axes.invert_yaxis()
    return save_png(figure, path)


def _draw_slices(ed: Frame, es: Frame, path: Path) -> Path:
    """ED above ES in four slices from base to apex, with contours."""
    stacks = [(slices_last(image)[0], slices_last(label)[0].array) for image, label in (ed, es)]
    spacing = stacks[0][0].spacing_mm
    rows, columns, _ = crop_around_heart(np.maximum(stacks[0][1], stacks[1][1]), spacing)
    chosen = _chosen_slices(stacks[0][1], SLICES_SHOWN)
    figure, axes = panels(len(chosen), 2, width=1.6, height=1.6)
    for place, panel in enumerate(axes):
        phase, z = divmod(place, len(chosen))
        image, label = (
            array[rows, columns, chosen[z]] for array in (stacks[phase][0].array, stacks[phase][1])
        )
        low, high = np.percentile(image, WINDOW_PERCENTILES)
        panel.imshow(image.T, cmap="gray", vmin=low, vmax=high, aspect=spacing[1] / spacing[0])
        for one in FOREGROUND:
            draw_contour(panel, label == one, one, "solid")
        panel.text(
            0.03,
            0.97,
            f"{('ED', 'ES')[phase]} {chosen[z] + 1}",
            transform=panel.transAxes,
            color="white",
            size=8,
            va="top",
        )
        panel.set_axis_off()
    return save_png(figure, path)


def _chosen_slices(label: npt.NDArray[np.uint8], count: int) -> list[int]:
    """Slices spread evenly over those with LV, all of them if they are fewer."""
    present = np.flatnonzero((label == AcdcLabel.LV).any(axis=(0, 1)))
    if not len(present):
        present = np.arange(label.shape[2])
    places = (np.arange(count) + 0.5) * len(present) / count
    return sorted({int(present[int(place)]) for place in places})


def _draw_wall(wall: Wall, path: Path) -> Path:
    """Bull's-eyes of thickness at ED, thickening and motion, seen from the apex with the septum left."""
    figure, axes = panels(3, width=2.2, height=2.2, subplot_kw={"projection": "polar"})
    for panel, title, values, low, high in (
        (axes[0], "thickness at ED (mm)", wall.ed_mm, 4.0, 16.0),
        (axes[1], "thickening (%)", wall.thickening_percent, 0.0, 100.0),
        (axes[2], "motion (mm)", wall.motion_mm, 0.0, 12.0),
    ):
        _draw_bullseye(panel, values, Normalize(low, high, clip=True))
        panel.set_title(title, size=8)
    return save_png(figure, path)


def _draw_bullseye(axes: Axes, values: Segments, scale: Normalize) -> None:
    colors = colormaps["viridis"]
    for number, value in enumerate(values, start=1):
        ring = (number - 1) // 6
        parts = 4 if ring == 2 else 6
        middle = np.pi / 2 + 2 * np.pi / parts * (number - 1 - 6 * ring)
        color = (0.85, 0.85, 0.85) if value is None else colors(scale(value))
        axes.bar(middle, 1.0, width=2 * np.pi / parts, bottom=2 - ring, color=color, edgecolor="white")
        dark = value is None or float(np.dot(color[:3], (0.3, 0.6, 0.1))) > 0.5
        axes.text(
            middle,
            2.5 - ring,
            "–" if value is None else str(round(value)),
            ha="center",
            va="center",
            size=7,
            color="black" if dark else "white",
        )
    axes.set_axis_off()


def _draw_cine(cine: Sequence[Frame], path: Path) -> Path:
    """Three slices side by side over the beat, with contours, as an animated PNG of one palette."""
    stacks = [(slices_last(image)[0], slices_last(label)[0].array) for image, label in cine]
    first = stacks[0][0]
    every = np.max([label for _, label in stacks], axis=0)
    rows, columns, _ = crop_around_heart(every, first.spacing_mm)
    chosen = _chosen_slices(every, CINE_SLICES)
    low, high = np.percentile(
        [image.array[rows, columns][:, :, chosen] for image, _ in stacks], WINDOW_PERCENTILES
    )
    height = every[rows, columns].shape[1]
    zoom = CINE_SIDE_PX / height
    zooms = (zoom * first.spacing_mm[0] / first.spacing_mm[1], zoom)
    greys = [round(255 * level / (GREYS - 1)) for level in range(GREYS) for _ in range(3)]
    palette = greys + [round(255 * part) for label in FOREGROUND for part in to_rgb(LABEL_COLORS[label])]
    frames = []
    for image, label in stacks:
        tiles = []
        for z in chosen:
            grey = np.clip((image.array[rows, columns, z] - low) / max(high - low, 1e-6), 0, 1) * (GREYS - 1)
            tile = ndimage.zoom(grey, zooms, order=1).astype(np.uint8)
            for place, one in enumerate(FOREGROUND):
                region = (
                    ndimage.zoom((label[rows, columns, z] == one).astype(np.float32), zooms, order=1) > 0.5
                )
                tile[region & ~ndimage.binary_erosion(region)] = GREYS + place
            tiles.append(tile)
        frame = Image.fromarray(np.concatenate(tiles).T.copy(), mode="P")
        frame.putpalette(palette)
        frames.append(frame)
    frame_ms = round(1000 * first.frame_s) if first.frame_s and first.frame_s < 1 else FRAME_MS
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary, format="PNG", save_all=True, append_images=frames[1:], duration=frame_ms, loop=0
        )
    return path
