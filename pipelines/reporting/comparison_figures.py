"""Models side by side: Dice of each patient, differences between models, ranks over resamples."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.core.files import atomic_path

DPI: Final = 110
PLOT_NAME: Final = "comparison.png"


def write_plot(content: dict[str, Any], path: Path) -> None:
    """Draw mean Dice by patient, its paired differences with intervals, and shares of ranks.

    Args:
        content: Content of `comparison.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    models, pairs = list(content["models"]), _of_mean_dice(content["pairs"])
    height = 1.6 + 0.3 * max(len(pairs), len(models), 6)
    figure = Figure(figsize=(14.0, height), layout="constrained")
    patients, differences, ranks = figure.subplots(1, 3)
    _draw_patients(patients, content["values"])
    _draw_differences(differences, pairs)
    found = _of_mean_dice(content["ranks"])
    if found:
        _draw_ranks(ranks, models, found[0])
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def _of_mean_dice(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if (row["figure"], row["structure"]) == ("dice", "mean")]


def _draw_patients(axes: Axes, values: dict[str, list[float | None]]) -> None:
    """A line a patient through the models, so that pairs are seen, over boxes of quartiles."""
    table = np.array([[np.nan if value is None else value for value in row] for row in values.values()])
    places = np.arange(len(table))
    defined = [row[np.isfinite(row)] for row in table]
    axes.boxplot(defined, positions=places, widths=0.5, showfliers=False, medianprops={"color": "black"})
    axes.plot(places, table, color="tab:blue", alpha=0.35, linewidth=0.8, marker="o", markersize=3)
    axes.set_xticks(places, list(values), rotation=25, ha="right", fontsize=8)
    axes.set(ylabel="mean Dice of a patient", title=f"{table.shape[1]} patients, a line each")


def _draw_differences(axes: Axes, pairs: list[dict[str, Any]]) -> None:
    axes.axvline(0, color="0.7", linewidth=1)
    names = []
    for row, pair in enumerate(pairs):
        names.append(f"{pair['second']} – {pair['first']}")
        if pair["difference"] is None:
            continue
        is_clear = pair["p_holm"] is not None and pair["p_holm"] < 0.05
        color = "tab:red" if is_clear else "0.35"
        low, high = pair["interval"] or [pair["difference"]] * 2
        axes.plot([low, high], [row, row], color=color, linewidth=2)
        axes.plot(pair["difference"], row, "o", color=color, markersize=5)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="difference of mean Dice, 95% interval", title="red: Holm-corrected p < 0.05")


def _draw_ranks(axes: Axes, models: list[str], found: dict[str, Any]) -> None:
    shares = np.array(found["shares"])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        if shares[row, column] >= 0.005:
            color = "white" if shares[row, column] > 0.6 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(models)), [str(rank) for rank in range(1, len(models) + 1)])
    axes.set_yticks(range(len(models)), models, fontsize=8)
    axes.set(xlabel="rank by mean Dice", title="percent of bootstrap resamples")
