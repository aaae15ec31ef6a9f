"""What the trials of a search showed: read from their folders, and written as table and settings."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.errors import ConfigError
from pipelines.core.files import write_csv, write_text
from pipelines.training.monitor import HISTORY_NAME

BEST_SETTINGS_NAME: Final = "best.yaml"
TABLE_NAME: Final = "trials.csv"
TRIALS_NAME: Final = "trials"
"""Folder with the run of each trial."""

SETTINGS_NAME: Final = "settings.yaml"
"""File in the run of a trial with what was drawn for it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one trial showed.

    Attributes:
        name: Its name, also that of its folder.
        settings: What was drawn for it.
        epochs: Epochs that it ran.
        scores: On validation by name, in the epoch in which the first was largest.
    """

    name: str
    settings: Mapping[str, Any]
    epochs: int
    scores: Mapping[str, float]

    @property
    def score(self) -> float:
        """What trials are compared by."""
        return next(iter(self.scores.values()))


def read_trials(output: Path, names: Sequence[str] = ("auroc", "accuracy")) -> list[Trial]:
    """Trials of a search that finished an epoch, the best first.

    Args:
        output: Folder of the search.
        names: Scores to read; the first is compared by.

    Raises:
        ConfigError: If there is none.
    """
    trials = []
    for folder in sorted((output / TRIALS_NAME).glob("*")):
        path = folder / HISTORY_NAME
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        best = max(rows, key=lambda row: float(row[f"val_{names[0]}"]))
        settings = yaml.safe_load((folder / SETTINGS_NAME).read_text(encoding="utf-8"))
        scores = {name: float(best[f"val_{name}"]) for name in names}
        trials.append(Trial(folder.name, settings, len(rows), scores))
    if not trials:
        raise ConfigError(f"expected a trial that finished an epoch in {output}, found none; see its errors")
    return sorted(trials, key=lambda trial: trial.score, reverse=True)


def write_trials(output: Path, trials: Sequence[Trial], shared: Mapping[str, Any]) -> None:
    """Write `trials.csv`, `best.yaml` and TensorBoard's HParams.

    Args:
        output: Folder of the search.
        trials: At least one, the best first.
        shared: Settings that all trials shared.

    Raises:
        OutputError: If a file cannot be written.
    """
    names = list(trials[0].settings)
    rows = [
        {"trial": trial.name, "epochs": trial.epochs} | dict(trial.scores) | dict(trial.settings)
        for trial in trials
    ]
    write_csv(output / TABLE_NAME, ["trial", "epochs", *trials[0].scores, *names], rows)
    best = trials[0]
    metric = next(iter(best.scores))
    header = f"# Trial {best.name}: {metric} {best.score:.4f} on validation within {best.epochs} epochs.\n"
    write_text(output / BEST_SETTINGS_NAME, header + yaml.safe_dump({**shared, **best.settings}))
    for trial in trials:
        with SummaryWriter(str(output / "tensorboard" / trial.name)) as writer:
            values = {
                name: value if isinstance(value, int | float | bool) else str(value)
                for name, value in trial.settings.items()
            }
            writer.add_hparams(values, dict(trial.scores), run_name=".")
