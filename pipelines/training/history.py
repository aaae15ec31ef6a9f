"""How one training went: its recorded figures, read and drawn over the epochs."""

import csv
from pathlib import Path

from matplotlib.axes import Axes

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.figures.style import panels, save_png

Series = tuple[list[int], list[float]]
"""Epochs and the values recorded at them."""


def history_figure(history: Path, path: Path) -> None:
    """PNG of losses, validation Dice and learning rate over the epochs of a run.

    Args:
        history: `history.csv` of a run: a row an epoch, empty where nothing was measured.
        path: PNG file to write; its folder is made if it does not exist.

    Raises:
        DataError: If the history is missing, has no epoch, or holds something else.
        OutputError: If the file cannot be written.
    """
    series = read_history(history)
    figure, (losses, dice, rate) = panels(3)
    _draw(losses, series, "train_loss", "training: Dice + cross-entropy", "0.4")
    _draw(losses, series, "val_dice_loss", "validation: soft Dice loss", "#d97706")
    for label in FOREGROUND:
        _draw(dice, series, f"val_dice_{LABEL_NAMES[label]}", label.name, LABEL_COLORS[label])
    _draw(dice, series, "val_mean_dice", "mean", "black")
    _draw(rate, series, "learning_rate", "learning rate", "0.2")
    losses.set(ylabel="loss", ylim=(0, None))
    dice.set(ylabel="validation Dice", ylim=(None, 1))
    rate.set(ylabel="learning rate", ylim=(0, None))
    for axes in (losses, dice, rate):
        axes.set_xlabel("epoch")
        if axes is not rate and axes.lines:
            axes.legend(frameon=False, fontsize=8)
    save_png(figure, path)


def read_history(history: Path) -> dict[str, Series]:
    """Epochs and values of each column of a run's `history.csv`; empty cells are left out.

    Args:
        history: The file, which must exist.

    Raises:
        DataError: If it is missing, has no epoch, or holds something else than numbers.
    """
    try:
        with history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        epochs = [int(row["epoch"]) for row in rows]
        series: dict[str, Series] = {}
        for name in rows[0]:
            points = [(epoch, float(row[name])) for epoch, row in zip(epochs, rows, strict=True) if row[name]]
            series[name] = [epoch for epoch, _ in points], [value for _, value in points]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"expected the history of a training with an epoch at least, found {history}: {error!r}; "
            "name the history.csv in the folder of a run"
        ) from error
    return series


def _draw(axes: Axes, series: dict[str, Series], name: str, label: str, color: str) -> None:
    epochs, values = series.get(name, ([], []))
    if epochs:
        axes.plot(epochs, values, color=color, label=label, marker="o", markersize=2.5, linewidth=1.2)
