"""Every model on every dataset: what a network trained on one is worth on another.

The table is filled cell by cell. A cell is one evaluation; it is kept with what it was made from (weights,
dataset, patients), and a later call measures only what is missing, failed or changed.
"""

import logging
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError, DataError, ThoraxError
from pipelines.core.files import output_folder, read_json, write_csv, write_json
from pipelines.core.progress import progress_to, show_progress
from pipelines.core.records import FOREGROUND, LABEL_NAMES, PatientRecord
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.image import CONTRASTS
from pipelines.datasets.prepare import DATALIST_NAME, patient_records, read_datalist, select
from pipelines.datasets.readers import find_reader, read_dataset
from pipelines.evaluation.comparison import Model
from pipelines.evaluation.segmentation import VolumePredictor, evaluate

logger = logging.getLogger(__name__)

CONTENT_NAME: Final = "cross.json"
TABLE_NAME: Final = "cross.csv"
PHANTOM_SEED: Final = 1000
"""Seed of the phantom cohorts that models are tested on, apart from those that networks are trained on."""

STRUCTURES: Final = (*(LABEL_NAMES[label] for label in FOREGROUND), "mean")
FAILURES: Final = (ThoraxError, OSError, RuntimeError, ValueError)
"""What one cell may fail with while the others go on: bad data, bad weights, memory."""


@dataclass(frozen=True, slots=True)
class Target:
    """A column of the table.

    Attributes:
        name: Heading.
        reader: Reader of the dataset.
        root: Folder in its layout, or a prepared one, of which the test set is measured.
    """

    name: str
    reader: str
    root: Path


def parse_target(text: str) -> Target:
    """Dataset of `READER=ROOT` or `NAME:READER=ROOT`.

    Raises:
        ConfigError: If it is of another form or there is no such reader.
    """
    label, equals, root = text.partition("=")
    name, colon, reader = label.partition(":")
    reader = reader if colon else name
    if not equals or not root or not name:
        raise ConfigError(f"expected a dataset as READER=ROOT or NAME:READER=ROOT, found {text!r}")
    if not re.fullmatch(r"\w[\w .-]*", name):  # it is a folder's too
        raise ConfigError(f"expected a name of letters, digits, spaces, '-', '_' and '.', found {name!r}")
    return Target(name, find_reader(reader).name, Path(root))


def phantom_targets(folder: Path, *, patients: int) -> list[Target]:
    """Phantom cohorts, one for each contrast and all of the same hearts; those that are there are kept.

    Args:
        folder: Folder that takes a folder for each contrast.
        patients: Patients in each cohort.

    Raises:
        OutputError: If it cannot be written.
    """
    targets = []
    for contrast in CONTRASTS:
        root = folder / f"{contrast}-{patients}"
        # The table of the truth is written last: without it a cohort was cut off.
        if not (root / "truth.csv").is_file():
            shutil.rmtree(root, ignore_errors=True)
            write_phantom_cohort(root, patients=patients, seed=PHANTOM_SEED, cine=False, contrast=contrast)
        targets.append(Target(f"phantom-{contrast}", "acdc", root))
    return targets


def cross_evaluate(
    models: Sequence[Model], targets: Sequence[Target], output: Path, load: Callable[[Model], VolumePredictor]
) -> dict[str, Any]:
    """Measure every model on every dataset; a cell that fails is told, and the rest goes on.

    Args:
        models: Rows, with names of their own.
        targets: Columns, with names of their own.
        output: Folder for `cross.json`, `cross.csv` and `cells/MODEL/DATASET`; made if it does not exist.
        load: Makes the predictor of a model; called once a model, and not if all its cells are there.

    Returns:
        The content of `cross.json`: `models`, `datasets` and `cells`, each with Dice and 95% intervals
        by structure, `hd95_mm`, `ef_lv_mae`, `patients`, `volumes`, `seconds` (wall time of the cell),
        `put_aside`, and `error`, None if the cell was measured.

    Raises:
        ConfigError: If there is no model or dataset, or names are not unique.
        DataError: If every cell failed.
        OutputError: If the results cannot be written.
    """
    _check_names(models, targets)
    output_folder(output)
    cells: list[dict[str, Any]] = []
    total = len(models) * len(targets)
    for model in models:
        predictor: VolumePredictor | None = None
        for target in targets:
            show_progress(len(cells), total, f"{model.name} on {target.name}")
            folder = output / "cells" / model.name / target.name
            cell = {"model": model.name, "dataset": target.name}
            try:
                patients = _patients(target)
                made_from = _made_from(model, target, patients)
                kept = _kept(folder, made_from)
                if kept is None:
                    predictor = predictor or load(model)
                    kept = _measure(folder, predictor, target, patients, made_from)
                cells.append(cell | kept)
            except FAILURES as error:
                logger.warning("%s on %s failed: %s", model.name, target.name, error)
                cells.append(cell | {"error": f"{type(error).__name__}: {error}"})
    content = {
        "models": [{"name": model.name} | model.description() for model in models],
        "datasets": [asdict(target) for target in targets],
        "cells": cells,
    }
    write_json(output / CONTENT_NAME, content)
    rows = [_row(cell) for cell in cells]
    write_csv(output / TABLE_NAME, dict.fromkeys(key for row in rows for key in row), rows)
    if all(cell["error"] for cell in cells):
        raise DataError(f"expected a cell that can be measured, found none of {total}: {cells[-1]['error']}")
    return content


def _check_names(models: Sequence[Model], targets: Sequence[Target]) -> None:
    for what, names in (
        ("models", [model.name for model in models]),
        ("datasets", [target.name for target in targets]),
    ):
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"expected {what}, each with a name of its own, found {names}; "
                "name them as NAME=WEIGHTS or NAME:READER=ROOT"
            )


def _patients(target: Target) -> list[PatientRecord]:
    if (target.root / DATALIST_NAME).is_file():
        return patient_records(select(read_datalist(target.root), "test", 0))
    return read_dataset(target.reader, target.root).patients


def _made_from(model: Model, target: Target, patients: Sequence[PatientRecord]) -> dict[str, Any]:
    """What a cell depends on; a cell made from anything else is measured again."""
    images = [volume.image for patient in patients for volume in patient.volumes]
    return {
        **model.description(),
        "reader": target.reader,
        "root": str(target.root.resolve()),
        "patients": [patient.patient for patient in patients],
        "bytes": sum(path.stat().st_size for path in images if path.is_file()),
    }


def _kept(folder: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    try:
        found = read_json(folder / "cell.json")
    except (OSError, ValueError):
        return None
    cell: dict[str, Any] | None = found["cell"] if found.get("made_from") == made_from else None
    return cell


@progress_to(None)
def _measure(
    folder: Path,
    predictor: VolumePredictor,
    target: Target,
    patients: Sequence[PatientRecord],
    made_from: dict[str, Any],
) -> dict[str, Any]:
    start = time.perf_counter()
    metrics = evaluate(target.root, folder, predictor, records=patients, reader=target.reader, overlays=False)
    summary, intervals = metrics["summary"], metrics["intervals"]
    cell = {
        "dice": {name: summary["dice"][name] for name in STRUCTURES},
        "interval": {name: intervals["dice"][name] for name in STRUCTURES},
        "hd95_mm": summary["hd95_mm"]["mean"],
        "ef_lv_mae": summary["ef_lv"]["mae"],
        "patients": summary["patients"],
        "volumes": summary["volumes"],
        "put_aside": len(metrics["problems"]),
        "seconds": time.perf_counter() - start,
        "error": None,
    }
    write_json(folder / "cell.json", {"made_from": made_from, "cell": cell})
    return cell


def _row(cell: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"model": cell["model"], "dataset": cell["dataset"]}
    for name in STRUCTURES:
        low, high = (cell.get("interval") or {}).get(name) or (None, None)
        row |= {f"dice_{name}": (cell.get("dice") or {}).get(name), f"low_{name}": low, f"high_{name}": high}
    return row | {
        key: cell.get(key)
        for key in ("hd95_mm", "ef_lv_mae", "patients", "volumes", "put_aside", "seconds", "error")
    }
