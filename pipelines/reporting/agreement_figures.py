"""Bland-Altman and correlation plots of the indices, with what human observers differ by."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluation.observer_limits import published_limits
from pipelines.figures.overlay import save_png

INDEX_TITLES: Final = {
    "edv_lv_ml": ("LV EDV", "mL"),
    "esv_lv_ml": ("LV ESV", "mL"),
    "ef_lv": ("LV EF", "%"),
    "mass_g": ("myocardial mass", "g"),
    "edv_rv_ml": ("RV EDV", "mL"),
    "esv_rv_ml": ("RV ESV", "mL"),
    "ef_rv": ("RV EF", "%"),
}
"""Name and unit of each index, in the order of tables and plots."""

GROUP_COLORS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#7f7f7f")
OBSERVER_COLORS: Final = ("#555555", "#c44e52")

RIM: Final = 0.08
"""Room above and below what was measured, as a share of its extent."""


def agreement_figure(agreement: Mapping[str, Mapping[str, Any]], names: Sequence[str], path: Path) -> None:
    """PNG with a row an index: Bland-Altman at the left, measured against true at the right.

    Dashed lines are the 95% limits of agreement, shaded bands the confidence intervals of bias
    and limits, dotted lines published limits between human observers.

    Args:
        agreement: `agreement` of `errors.json`.
        names: Indices to draw, in order.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(9.5, 3.1 * len(names)), layout="constrained")
    rows = figure.subplots(len(names), 2, squeeze=False, width_ratios=(1.6, 1))
    groups = sorted({group for name in names for group in agreement[name]["groups"]})
    for (left, right), name in zip(rows, names, strict=True):
        found = agreement[name]
        pairs = [
            (measured, true, _color(group, groups))
            for measured, true, group in zip(found["measured"], found["truth"], found["groups"], strict=True)
            if measured is not None and true is not None
        ]
        title, unit = INDEX_TITLES[name]
        _bland_altman(left, pairs, found["figures"], name)
        _against_truth(right, pairs, found["figures"])
        left.set(
            xlabel=f"{title}, mean of measured and true ({unit})",
            ylabel=f"measured – true ({unit})",
        )
        right.set(xlabel=f"true {title} ({unit})", ylabel=f"measured ({unit})")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
    handles = [rows[0][0].plot([], [], "o", color=_color(group, groups), label=group)[0] for group in groups]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    save_png(figure, path)


def _bland_altman(
    axes: Axes, pairs: Sequence[tuple[float, float, str]], figures: Mapping[str, Any] | None, name: str
) -> None:
    axes.axhline(0, color="0.8", linewidth=1)
    axes.scatter(
        [(measured + true) / 2 for measured, true, _ in pairs],
        [measured - true for measured, true, _ in pairs],
        c=[color for _, _, color in pairs],
        s=22,
        zorder=3,
    )
    for limits, color in zip(published_limits(name), OBSERVER_COLORS, strict=False):
        label = f"between people: {limits.low:.0f} to {limits.high:.0f}, {limits.source.name}"
        for end in (limits.low, limits.high):
            axes.axhline(end, color=color, linestyle="dotted", linewidth=1.4, label=label)
            label = ""
    errors = [measured - true for measured, true, _ in pairs] + [0.0]
    if figures:
        errors += [*figures["lower_interval"], *figures["upper_interval"]]
    # Some published limits are so wide that nothing else could be seen: the legend tells them.
    rim = RIM * (max(errors) - min(errors)) or 1.0
    axes.set_ylim(min(errors) - rim, max(errors) + rim)
    if figures:
        for key, style in (("bias", "solid"), ("lower", "dashed"), ("upper", "dashed")):
            axes.axhline(figures[key], color="black", linestyle=style, linewidth=1)
            axes.axhspan(*figures[f"{key}_interval"], color="tab:blue", alpha=0.12, linewidth=0)
            axes.annotate(
                f"{round(figures[key], 1) + 0.0:+.1f}",
                (1.0, figures[key]),
                xycoords=("axes fraction", "data"),
                size=7,
                va="bottom",
                ha="right",
            )
    if published_limits(name):
        axes.legend(fontsize=6.5, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=2)


def _against_truth(
    axes: Axes, pairs: Sequence[tuple[float, float, str]], figures: Mapping[str, Any] | None
) -> None:
    values = [value for measured, true, _ in pairs for value in (measured, true)]
    ends = (min(values), max(values)) if values else (0.0, 1.0)
    axes.plot(ends, ends, color="0.7", linewidth=1)
    measured, true, colors = zip(*pairs, strict=True) if pairs else ((), (), ())
    axes.scatter(true, measured, c=colors, s=22, zorder=3)
    if figures and figures["pearson"] is not None and figures["icc"] is not None:
        text = f"r = {figures['pearson']:.3f}\nICC = {figures['icc']:.3f}"
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", size=8)


def _color(group: str, groups: Sequence[str]) -> str:
    return GROUP_COLORS[groups.index(group) % len(GROUP_COLORS)]
