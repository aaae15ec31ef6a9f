"""Trainings of a recipe by the bundle's whole workflow, each in a folder that fits its settings."""

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.manifest import MANIFEST_NAME
from pipelines.models.checkpoints import BEST_NAME, LAST_NAME
from pipelines.training.checks.case import Case
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
    if not _is_finished(folder):
        resume = (folder / LAST_NAME).is_file()
        train_network(case.network, case.dataset_dir, folder, resume=resume, overlays=("steps",), **values)
    with (folder / HISTORY_NAME).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), folder / BEST_NAME


def _is_finished(folder: Path) -> bool:
    """Whether a run came to its end, be it early; such a one must not be told to go on."""
    path = folder / MANIFEST_NAME
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8"))["finished"])
