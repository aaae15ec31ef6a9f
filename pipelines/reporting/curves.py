"""Learning curves of training runs."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pipelines.files import atomic_path
from pipelines.labels import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.reporting.run_record import RunRecord


def curves_figure(runs: Sequence[RunRecord], path: Path) -> None:
    """Draw losses and Dice of runs, a column each, over epochs.

    The upper row has the training loss (Dice plus cross-entropy, all heads) and
    the validation Dice loss, the lower one the validation Dice of each structure.

    Args:
        runs: At least one run.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(3.6 * len(runs), 5.6), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False, sharey="row", sharex="col")
    for column, run in enumerate(runs):
        losses, dice = axes[0][column], axes[1][column]
        losses.set_title(f"{run.network}: {run.name}", fontsize=10)
        for name, label in (("train_loss", "training loss"), ("val_dice_loss", "validation Dice loss")):
            if name in run.history:
                losses.plot(*run.history[name], label=label)
        losses.set_yscale("log")
        losses.axhline(0.1, color="0.6", linestyle=":", linewidth=1)
        for structure in FOREGROUND:
            series = run.history.get(f"val_dice_{LABEL_NAMES[structure]}")
            if series:
                dice.plot(*series, color=LABEL_COLORS[structure], label=structure.name, marker=".")
        dice.set_ylim(0.5, 1)
        dice.set_xlabel("epoch")
        for axis in (losses, dice):
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("loss")
    axes[1][0].set_ylabel("validation Dice")
    for row in axes:
        if row[0].has_data() and row[0].get_legend_handles_labels()[0]:
            row[0].legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
