"""Learning from the accepted labels of a studies folder; what is better is published there."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import only_one, output_folder, write_json
from pipelines.core.progress import Progress
from pipelines.core.volume import Volume
from pipelines.evaluation.segmentation import MEAN, STRUCTURES, mean_dice
from pipelines.models.bundle import ACDC_BUNDLE, device_settings, load_config
from pipelines.models.predictor import Predictor
from pipelines.server.history import LabelStore
from pipelines.server.images import WORK_FOLDER, StudyImages
from pipelines.server.published import PublishedWeights
from pipelines.server.training_data import (
    SPLIT_NAME,
    VALIDATION_FOLD,
    divide,
    labelled_patients,
    write_training_data,
)
from pipelines.training.launch import train_network

TRAINING_FOLDER: Final = "training"
STATUS_NAME: Final = "status.json"
LOCK_NAME: Final = "running"

DEFAULT_EPOCHS: Final = 20
DEFAULT_BATCH: Final = 6

MOST_EPOCHS: Final = 200
MOST_BATCH: Final = 32

VALIDATIONS: Final = 10
"""Validations of a training, at most about as many."""

RATE_SHARE: Final = 0.1
"""Peak learning rate as a share of the network's own, which is for weights that know nothing yet."""


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What a training on accepted labels led to.

    Attributes:
        before: Dice by structure of the served weights on the validation patients; None where none has it.
        after: The same of the new weights.
        version: Number under which the new weights are served, None if they were not better.
        patients: Labelled patients on each side.
    """

    before: dict[str, float | None]
    after: dict[str, float | None]
    version: int | None
    patients: dict[str, list[str]]


def fine_tune(
    studies: Path,
    network: str,
    *,
    epochs: int = DEFAULT_EPOCHS,
    batch_size: int = DEFAULT_BATCH,
    device: str = "auto",
    bundle: Path = ACDC_BUNDLE,
    progress: Progress | None = None,
) -> FineTuned:
    """Go on with the served weights of a network on the accepted labels, and publish what is better.

    Patients are divided once and keep their side. The new weights are served from then on if their mean
    Dice on the validation patients is higher than that of the served ones; nothing in the bundle changes.

    Args:
        studies: Studies folder with accepted labels.
        network: Network of the bundle.
        epochs: How often each training slice is shown, 1 to `MOST_EPOCHS`.
        batch_size: Slices at a time, 1 to `MOST_BATCH`.
        device: `"auto"` or a torch device.
        bundle: Root folder of the bundle.
        progress: Called after each batch.

    Raises:
        ConfigError: If a value is out of bounds, another training of the folder runs, or weights are missing.
        DataError: If there are labels of fewer than two patients.
        OutputError: If the folder cannot be written to.
    """
    for name, value, most in (("epochs", epochs, MOST_EPOCHS), ("batch size", batch_size, MOST_BATCH)):
        if not 1 <= value <= most:
            raise ConfigError(f"expected a number of {name} from 1 to {most}, found {value}")
    work = output_folder(studies / WORK_FOLDER / TRAINING_FOLDER)
    labels = LabelStore(studies)
    images = StudyImages(studies, _no_phases)
    images.scan(unfold=False)
    patients = labelled_patients(images.all(), labels)
    with only_one(work / LOCK_NAME, "training of this folder"):
        sides = divide(patients, work / SPLIT_NAME)
        job = work / network
        shutil.rmtree(job / "run", ignore_errors=True)
        shutil.rmtree(job / "data", ignore_errors=True)
        items = write_training_data(patients, sides, labels, output_folder(job))
        validation = [item for item in items if item["part"] == VALIDATION_FOLD]
        published = PublishedWeights(studies)
        base = published.current(network)
        served = published.path(network, base) or bundle / "models" / network / "model.pt"

        def dice_of(weights: Path) -> dict[str, float | None]:
            return mean_dice(
                Predictor.load(network, bundle=bundle, weights=weights, device=device), validation
            )

        before = dice_of(served)
        status = _Status(job / STATUS_NAME, epochs, before)
        weights = train_network(
            network,
            job,
            job / "run",
            progress=progress,
            on_epoch=status.tell,
            bundle=bundle,
            initial_weights=str(served.resolve()),
            fold=VALIDATION_FOLD,
            max_epochs=epochs,
            val_interval=max(1, epochs // VALIDATIONS),
            batch_size=batch_size,
            learning_rate=RATE_SHARE * load_config(network, bundle=bundle)["learning_rate"],
            cache_dir=str((job / "run" / "cache").resolve()),
            **device_settings(device, "auto"),
        )
        after = dice_of(weights)
        found = {
            side: sorted(name for name in sides if sides[name] == side) for side in ("training", "validation")
        }
        version = None
        if (after[MEAN] or 0.0) > (before[MEAN] or 0.0):
            record = {"from": base, "epochs": epochs, "batch_size": batch_size, "patients": found}
            version = published.publish(network, weights, record | {"dice": after, "dice_before": before})
        status.end(after, version)
        shutil.rmtree(job / "run", ignore_errors=True)
        shutil.rmtree(job / "data", ignore_errors=True)
    return FineTuned(before, after, version, found)


class _Status:
    """Tells in a file how far a training is, in the words of MONAI Label's `train_stats`."""

    def __init__(self, path: Path, epochs: int, before: Mapping[str, float | None]) -> None:
        self._path = path
        self._start = time.perf_counter()
        self._stats: dict[str, Any] = {
            "best_metric": before[MEAN] or 0.0,
            "epoch": 0,
            "total_epochs": epochs,
            "dice_before": dict(before),
            "dice": {},
            "published": None,
        }
        write_json(path, self._stats)

    def tell(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch is over, with the scores of the last validation, if there was one."""
        self._stats["epoch"] = epoch
        if "val_mean_dice" in metrics:
            self._stats["dice"] = {name: metrics[f"val_dice_{name}"] for name in STRUCTURES}
            self._stats["best_metric"] = max(self._stats["best_metric"], float(metrics["val_mean_dice"]))
        write_json(self._path, self._stats)

    def end(self, after: Mapping[str, float | None], version: int | None) -> None:
        """The training is over; `version` is what was published, if anything."""
        self._stats |= {"dice": dict(after), "published": version}
        self._stats["best_metric"] = max(after[MEAN] or 0.0, self._stats["dice_before"][MEAN] or 0.0)
        self._stats["total_time"] = round(time.perf_counter() - self._start, 1)
        write_json(self._path, self._stats)


def _no_phases(cine: Volume) -> tuple[int, int]:
    raise DataError("expected frames of cines that the server has found, found a new cine; serve it first")
