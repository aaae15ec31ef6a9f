"""Trainings of a recipe by the bundle's whole workflow, each in a folder that fits its settings."""

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.recipe.case import Case
from pipelines.training.checkpoints import BEST_NAME, LAST_NAME
from pipelines.training.launch import train_network
from pipelines.training.monitor import HISTORY_NAME


def train_or_resume(case: Case, name: str, settings: Mapping[str, Any]) -> tuple[list[dict[str, str]], Path]:
    """Train, or go on with the training of these settings that was interrupted.

    Args:
        case: What is to be trained.
        name: Beginning of the folder's name.
        settings: Settings beyond those of the case, by their id.

    Returns:
        Rows of the history, and the path of the best weights.

    Raises:
        ThoraxError: As for `train_network`.
    """
    values = case.shared() | dict(settings)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
    folder = case.output / f"{name}-{digest}"
    rows = _history(folder)
    # A run that reached its last epoch, or stopped early, must not be told to go on.
    if not (rows and int(rows[-1]["epoch"]) >= int(values["max_epochs"])):
        resume = (folder / LAST_NAME).is_file()
        train_network(case.network, case.dataset_dir, folder, resume=resume, overlays=("steps",), **values)
        rows = _history(folder)
    return rows, folder / BEST_NAME


def _history(folder: Path) -> list[dict[str, str]]:
    path = folder / HISTORY_NAME
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
