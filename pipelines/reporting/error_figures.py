"""Plots of an error analysis: Dice by position, by factor, and reliability of probabilities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from pipelines.core.labels import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.evaluation.heart_error_tables import CONTINUOUS
from pipelines.evaluation.slice_errors import THIRDS
from pipelines.figures.overlay import save_png

STRUCTURES: Final = {LABEL_NAMES[label]: LABEL_COLORS[label] for label in FOREGROUND}
BAR: Final = 0.26
"""Width of a bar; three stand side by side."""


def level_figure(levels: Sequence[Mapping[str, Any]], path: Path) -> None:
    """PNG of mean Dice with 95% intervals by third of the ventricle, phase and group.

    Args:
        levels: `levels` of `errors.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(3, 2, 4))
    for axes, factor in zip(panels, ("position", "phase", "group"), strict=True):
        rows = [row for row in levels if row["factor"] == factor and row["dice"] is not None]
        names = list(dict.fromkeys(row["level"] for row in rows))
        if factor == "position":
            names = [str(place) for place in THIRDS if str(place) in names]
        for shift, (structure, color) in enumerate(STRUCTURES.items(), start=-1):
            of_it = {row["level"]: row for row in rows if row["structure"] == structure}
            for place, name in enumerate(names):
                if name in of_it:
                    _bar(axes, place + shift * BAR, of_it[name], color)
        axes.set_xticks(range(len(names)), names)
        axes.set_title(factor)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="Dice", ylim=(0, 1))
    handles = [panels[0].bar(0, 0, color=color, label=name.upper()) for name, color in STRUCTURES.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    save_png(figure, path)


def factor_figure(
    volumes: Sequence[Mapping[str, Any]], correlations: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """PNG of each volume's Dice against each continuous factor, with Spearman's correlations.

    Args:
        volumes: `volumes` of `errors.json`.
        correlations: `correlations` of `errors.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(12.0, 4.0), layout="constrained")
    panels = figure.subplots(1, len(CONTINUOUS), sharey=True)
    for axes, (factor, unit) in zip(panels, CONTINUOUS.items(), strict=True):
        for structure, color in STRUCTURES.items():
            pairs = [
                (volume["factors"][factor], volume["dice"][structure])
                for volume in volumes
                if None not in (volume["factors"][factor], volume["dice"][structure])
            ]
            rho = next(
                (
                    row["rho"]
                    for row in correlations
                    if (row["factor"], row["structure"]) == (factor, structure)
                ),
                None,
            )
            label = structure.upper() if rho is None else f"{structure.upper()}, rho {rho:+.2f}"
            values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
            axes.scatter(values[:, 0], values[:, 1], s=16, color=color, alpha=0.75, label=label)
        axes.set(xlabel=f"{factor} ({unit})")
        axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Dice of a volume")
    save_png(figure, path)


def reliability_figure(calibration: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """PNG of how often voxels near the heart are what their probability says, by structure.

    Args:
        calibration: `calibration` of `errors.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, color in STRUCTURES.items():
        found = calibration[name]
        if found["ece"] is None:
            continue
        points = found["curve"]
        x = [point["probability"] for point in points]
        left.plot(
            x,
            [point["share"] for point in points],
            marker="o",
            markersize=4,
            color=color,
            label=f"{name.upper()}, ECE {found['ece']:.3f}",
        )
        right.plot(x, [point["count"] for point in points], marker="o", markersize=4, color=color)
    left.set(xlabel="probability", ylabel="share of voxels that are the structure", aspect="equal")
    right.set(xlabel="probability", ylabel="voxels", yscale="log")
    left.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save_png(figure, path)


def _bar(axes: Any, place: float, row: Mapping[str, Any], color: str) -> None:
    axes.bar(place, row["dice"], BAR * 0.9, color=color)
    if row["interval"]:
        low, high = row["interval"]
        axes.vlines(place, low, high, color="black", linewidth=1)
