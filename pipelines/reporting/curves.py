"""Learning curves of training runs."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.core.files import atomic_path
from pipelines.core.labels import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.training.run_record import RunRecord


def curves_figure(runs: Sequence[RunRecord], path: Path) -> None:
    """Draw losses and Dice of runs, a column for each network, over epochs.

    Runs of one network follow each other, with a line where the next begins. The upper
    row has the training loss (Dice plus cross-entropy, all heads) and the
    validation Dice loss, the lower one the validation Dice of each structure.

    Args:
        runs: At least one run; those of a network in the order they were done.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    networks = list(dict.fromkeys(run.network for run in runs))
    figure = Figure(figsize=(4.6 * len(networks), 5.6), layout="constrained")
    axes = figure.subplots(2, len(networks), squeeze=False, sharey="row", sharex="col")
    for network, losses, dice in zip(networks, axes[0], axes[1], strict=True):
        chain = [run for run in runs if run.network == network]
        losses.set_title(f"{network}: {', '.join(run.name for run in chain)}", fontsize=10)
        first = 0
        for run in chain:
            _draw_run(run, first, losses, dice)
            first += run.epochs
            if run is not chain[-1]:
                for axis in (losses, dice):
                    axis.axvline(first + 0.5, color="0.7", linewidth=1)
        losses.set_yscale("log")
        losses.axhline(0.1, color="0.6", linestyle=":", linewidth=1)
        dice.set_ylim(0.5, 1)
        dice.set_xlabel("epoch")
        for axis in (losses, dice):
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("loss")
    axes[1][0].set_ylabel("validation Dice")
    for row in axes:
        if row[0].get_legend_handles_labels()[0]:
            row[0].legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_run(run: RunRecord, first: int, losses: Axes, dice: Axes) -> None:
    """Draw a run whose epochs follow `first` earlier ones; only the first run of a column has labels."""
    curves = [
        (losses, "train_loss", "training loss", "C0"),
        (losses, "val_dice_loss", "validation Dice loss", "C1"),
    ]
    curves += [
        (dice, f"val_dice_{LABEL_NAMES[structure]}", structure.name, LABEL_COLORS[structure])
        for structure in FOREGROUND
    ]
    for axis, name, label, color in curves:
        if name in run.history:
            epochs, values = run.history[name]
            axis.plot(
                [first + epoch for epoch in epochs],
                values,
                color=color,
                label=label if first == 0 else None,
                marker="." if name.startswith("val") else None,
            )
