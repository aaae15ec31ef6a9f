"""The pictures of the first page: a generated heart over one beat, and a generated film with its heat map.

`make pictures` writes them. No patient is in them: heart and film are computed, and so are the contours; the
network of the film learns on generated films for a few minutes.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image, ImageChops

from pipelines.core.records import FOREGROUND, LABEL_COLORS, AcdcLabel
from pipelines.datasets.phantom.heart import contraction_curve, draw_heart
from pipelines.datasets.phantom.image import draw_scan, image_frame
from pipelines.datasets.phantom.xray import phantom_xray, write_phantom_xrays
from pipelines.datasets.prepare_xray import prepare_chest_xray
from pipelines.explanation.explain import heat_map, overlay_heat_map
from pipelines.figures.overlay import crop_around_heart
from pipelines.models.xray import Classifier
from pipelines.training.launch import train_network

FRAMES: Final = 20
INDEX_ES: Final = 7
SEED: Final = 4
COLORS: Final = 96
FRAME_MS: Final = 55
FILMS: Final = 160
NETWORK: Final = "efficientnet_lite0"
LEARNING: Final = {"size_px": [112, 112], "max_epochs": 8, "batch_size": 16, "warmup": 5}
"""Of the film's network."""


def film(path: Path) -> None:
    """Write a film with pneumonia and what its network looked at."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom_xrays(folder / "films", patients=FILMS, images=1)
        prepare_chest_xray(folder / "films", folder / "prepared")
        best = train_network(NETWORK, folder / "prepared", folder / "run", **LEARNING)
        classifier = Classifier.load(NETWORK, weights=best, device="cpu", precision="fp32")
        image = phantom_xray(np.random.default_rng(SEED), "bacteria")
        overlay_heat_map(image, heat_map(image, "occlusion", classifier=classifier), path)
    drawn = Image.open(path).convert("RGB")
    drawn.crop(ImageChops.invert(drawn).getbbox()).save(path, optimize=True)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")


def heart(path: Path) -> None:
    """Write the beat, an animated PNG."""
    mpl.use("agg")
    rng = np.random.default_rng(SEED)
    scan = draw_scan(draw_heart("NOR", rng), rng)
    beat = [image_frame(scan, float(one), rng) for one in contraction_curve(FRAMES, INDEX_ES)]
    images, labels = (np.stack(part).transpose(0, 3, 2, 1) for part in zip(*beat, strict=True))
    voxel_ml = float(np.prod(scan.spacing_mm)) / 1000
    curves = {one: (labels == one).sum(axis=(1, 2, 3)) * voxel_ml for one in (AcdcLabel.LV, AcdcLabel.RV)}
    rows, columns, _ = crop_around_heart(labels.max(axis=0), scan.spacing_mm)
    present = np.flatnonzero((labels == AcdcLabel.LV).any(axis=(0, 1, 2)))
    chosen = [int(present[len(present) // 4]), int(present[len(present) // 2])]
    low, high = np.percentile(images[:, rows, columns][..., chosen], (1, 99.5))
    frames = [
        _frame(images[time, rows, columns], labels[time, rows, columns], chosen, (low, high), curves, time)
        for time in range(FRAMES)
    ]
    palette = Image.fromarray(np.concatenate(frames[::5])).quantize(COLORS)
    shown = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=FRAME_MS, loop=0, optimize=True)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")


def _frame(
    image: np.ndarray,
    label: np.ndarray,
    chosen: list[int],
    window: tuple[float, float],
    curves: dict[AcdcLabel, np.ndarray],
    time: int,
) -> np.ndarray:
    """Two slices with contours, and the volumes up to now."""
    figure, axes = plt.subplots(1, 3, figsize=(7.6, 2.5), dpi=100, width_ratios=[1, 1, 1.15])
    for panel, z in zip(axes[:2], chosen, strict=True):
        panel.imshow(image[:, :, z].T, cmap="gray", vmin=window[0], vmax=window[1], interpolation="bilinear")
        for one in FOREGROUND:
            mask = (label[:, :, z] == one).T
            if mask.any():
                panel.contour(mask, [0.5], colors=[LABEL_COLORS[one]], linewidths=1.6)
        panel.set_axis_off()
    for one, volumes in curves.items():
        axes[2].plot(volumes, color=LABEL_COLORS[one], alpha=0.35, linewidth=1.5)
        axes[2].plot(volumes[: time + 1], color=LABEL_COLORS[one], linewidth=2.2, label=one.name)
        axes[2].plot(time, volumes[time], "o", color=LABEL_COLORS[one])
    largest, smallest = curves[AcdcLabel.LV].max(), curves[AcdcLabel.LV].min()
    axes[2].set_title(f"LV ejection fraction {100 * (largest - smallest) / largest:.0f}%", size=10)
    axes[2].set(xlabel="frame", ylabel="mL", xlim=(0, FRAMES - 1), ylim=(0, None))
    axes[2].legend(loc="lower right", fontsize=8, frameon=False)
    axes[2].spines[["top", "right"]].set_visible(False)
    figure.tight_layout(pad=0.4)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3].copy()
    plt.close(figure)
    return pixels


if __name__ == "__main__":
    heart(Path(sys.argv[1]) / "beating-heart.png")
    film(Path(sys.argv[1]) / "film.png")
