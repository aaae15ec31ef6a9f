"""Figures of a heart survey that show measured values and no patient."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from pipelines.core.labels import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.exploration.findings import SECTIONS
from pipelines.exploration.heart import FEATURE_BY_NAME, compared
from pipelines.figures.style import panels

WORDS: Final = {name: feature.words for name, feature in FEATURE_BY_NAME.items()}
COLUMNS: Final = 3
PANEL_INCHES: Final = (3.6, 2.7)
FEW_DECADES: Final = 100
"""Range of a logarithmic axis up to which 2 and 5 are marked too."""

PHASE_COLORS: Final = {"ED": "#1f77b4", "ES": "#ff7f0e"}


def survey_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """Figures by title; those for which there is nothing to show are left out.

    Args:
        frame: As `HeartSurvey.frame` gives it.
    """
    figures = {"Grid and field of view": _panels(frame, _ACQUISITION, _histogram)}
    figures["Acquisition by group"] = _panels(frame, _BY_GROUP, _by_group)
    figures["Intensity and noise"] = _intensity(frame)
    if frame.lv_ml.notna().any() or frame.rv_ml.notna().any():
        figures["Volumes by group and phase"] = _panels(frame, _VOLUMES, _by_group)
        figures["Class balance"] = _classes(frame)
    if frame.section.nunique() > 1:
        features = [feature.name for feature in compared(frame, labels=False)]
        figures["Sections of the split"] = _panels(frame, features, _cumulative)
    return figures


_ACQUISITION: Final = (
    "pixel_x_mm", "slice_distance_mm", "slices", "field_x_mm", "field_y_mm", "coverage_mm",
)  # fmt: skip
_BY_GROUP: Final = ("pixel_x_mm", "slice_distance_mm", "slices", "field_x_mm", "snr_image", "cnr")
_VOLUMES: Final = tuple(f"{LABEL_NAMES[label]}_ml" for label in FOREGROUND)


def _panels(frame: pd.DataFrame, names: Any, draw: Callable[[Axes, pd.DataFrame, str], None]) -> Figure:
    shown = [name for name in names if frame[name].notna().any()]
    size = {"width": PANEL_INCHES[0], "height": PANEL_INCHES[1]}
    figure, grid = panels(COLUMNS, -(-len(shown) // COLUMNS), **size)
    for axes, name in zip(grid, shown, strict=False):
        draw(axes, frame, name)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    if labels:
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9
        )
    return figure


def _histogram(axes: Axes, frame: pd.DataFrame, name: str) -> None:
    values = frame.groupby("patient")[name].first().dropna()
    if name == "slices":
        low, high = int(values.min()), int(values.max())
        axes.hist(values, bins=np.arange(low, high + 2) - 0.5, rwidth=0.8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    else:
        axes.hist(values, bins=20)
    axes.set(xlabel=WORDS[name], ylabel="patients")


def _by_group(axes: Axes, frame: pd.DataFrame, name: str) -> None:
    groups = sorted(frame.group.unique())
    for offset, (phase, color) in zip((-0.18, 0.18), PHASE_COLORS.items(), strict=True):
        members = frame[frame.phase == phase]
        for place, group in enumerate(groups):
            values = members[members.group == group][name].dropna()
            if len(values) == 0:
                continue
            jitter = 0.12 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5)
            axes.plot(
                place + offset + jitter, values, ".", color=color, alpha=0.55, markersize=5,
                label=phase if place == 0 else None,
            )  # fmt: skip
            axes.plot(
                [place + offset - 0.13, place + offset + 0.13], [values.median()] * 2, "k-", linewidth=1.5
            )
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.set_ylabel(WORDS[name], fontsize=9)
    if name in ("snr_image", "cnr"):
        _log(axes.yaxis, frame[name])


def _intensity(frame: pd.DataFrame) -> Figure:
    figure, (scale, snr, blood) = panels(COLUMNS)
    bright = frame.pivot_table(index="patient", columns="phase", values="intensity_p99")
    if set(PHASE_COLORS) <= set(bright):
        scale.plot(bright.ED, bright.ES, ".")
        ends = [bright.min().min(), bright.max().max()]
        scale.plot(ends, ends, color="0.6", linewidth=1)
        scale.set(xscale="log", yscale="log", xlabel="ED", ylabel="ES")
        scale.set_title("99th percentile of intensity", fontsize=9)
    else:
        scale.hist(frame.intensity_p99, bins=20)
        scale.set(xlabel=WORDS["intensity_p99"], ylabel="volumes")
    for axes, name in ((snr, "snr_image"), (blood, "cnr")):
        order = frame.groupby("patient")[name].mean().dropna().sort_values().index
        for phase, color in PHASE_COLORS.items():
            values = frame[frame.phase == phase].set_index("patient")[name].reindex(order)
            axes.plot(range(len(order)), values, ".", color=color, markersize=4, label=phase)
        axes.set(xlabel="patients, by their mean", ylabel=WORDS[name])
        if len(order):
            _log(axes.yaxis, frame[name])
            axes.legend(frameon=False, fontsize=8)
        else:
            axes.set_axis_off()
    return figure


def _classes(frame: pd.DataFrame) -> Figure:
    figure, (axes,) = panels(width=PANEL_INCHES[0] * COLUMNS, height=3.0)
    read = frame[frame.label == "read"]
    cells = sorted({(row.group, row.phase) for row in read.itertuples()})
    for offset, label in zip((-0.25, 0.0, 0.25), FOREGROUND, strict=True):
        shares = []
        for group, phase in cells:
            part = read[(read.group == group) & (read.phase == phase)]
            total = part[[f"{name}_voxels" for name in LABEL_NAMES.values()]].sum().sum()
            shares.append(100 * part[f"{LABEL_NAMES[label]}_voxels"].sum() / total)
        axes.bar(
            np.arange(len(cells)) + offset, shares, width=0.23, color=LABEL_COLORS[label], label=label.name
        )
    axes.set_xticks(range(len(cells)), [f"{group} {phase}" for group, phase in cells], fontsize=8)
    axes.set_ylabel("% of all voxels")
    axes.legend(frameon=False, fontsize=8, ncols=3)
    return figure


def _cumulative(axes: Axes, frame: pd.DataFrame, name: str) -> None:
    feature = FEATURE_BY_NAME[name]
    for section in SECTIONS:
        values = frame[frame.section == section].groupby("patient")[name].mean().dropna()
        if len(values):
            axes.ecdf(values, label=f"{section} ({len(values)})")
    axes.set_xlabel(feature.words, fontsize=9)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of patients", fontsize=9)
    if feature.on_log:
        _log(axes.xaxis, frame[name])


def _log(axis: Axis, values: pd.Series) -> None:
    """A logarithmic axis with plain numbers, if the values allow one."""
    if values.min() > 0:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if values.max() < FEW_DECADES * values.min() else (1,))
        )
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
