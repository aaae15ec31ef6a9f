"""Learning from the accepted labels of a studies folder: data, fine-tuning, and trainings as processes."""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import exclusive_lock, is_locked, output_folder, read_json, write_json
from pipelines.core.volume import Volume, read_label, read_volume, slices_last, write_image, write_label
from pipelines.datasets.prepare import fingerprint, write_datalist
from pipelines.evaluation.segmentation import MEAN, STRUCTURES, mean_dice
from pipelines.models.bundle import ACDC_BUNDLE, device_settings, load_config
from pipelines.models.heart import Predictor, field_affine
from pipelines.server.history import LabelStore
from pipelines.server.images import WORK_FOLDER, ServedImage, StudyImages
from pipelines.server.predictors import PublishedWeights
from pipelines.server.work_queue import job_time
from pipelines.training.launch import train_network

logger = logging.getLogger(__name__)

Side = Literal["training", "validation"]

SPLIT_NAME: Final = "split.json"

VALIDATION_SHARE: Final = 0.2
"""Share of the labelled patients that weights are compared on; at least one."""

TRAINING_FOLD: Final = 1
VALIDATION_FOLD: Final = 0


def labelled_patients(images: Iterable[ServedImage], labels: LabelStore) -> dict[str, list[ServedImage]]:
    """Images with an accepted label that can be a heart, by patient.

    Raises:
        DataError: If they are of fewer than two patients.
    """
    found: dict[str, list[ServedImage]] = defaultdict(list)
    doubtful = []
    for image in images:
        if labels.can_teach(image.id):
            found[image.patient].append(image)
        elif labels.has(image.id):
            doubtful.append(image.id)
    if doubtful:
        logger.warning("labels that cannot be a heart are not learned from: %s", ", ".join(doubtful))
    if len(found) < 2:
        left_out = f" beside {len(doubtful)} labels that cannot be a heart" if doubtful else ""
        raise DataError(
            "expected accepted labels of at least 2 patients, one to learn from and one to compare on, "
            f"found {len(found)}{left_out}; label another patient first"
        )
    return dict(found)


def divide(patients: Iterable[str], path: Path) -> dict[str, Side]:
    """Side of each patient, which it keeps in every later training.

    Weights are compared on patients that no earlier version learned from.

    Args:
        patients: At least two names.
        path: JSON file that keeps the sides; made if it does not exist.

    Raises:
        DataError: If all of them have been put on one side before.
        OutputError: If the file cannot be written.
    """
    sides: dict[str, Side] = read_json(path) if path.is_file() else {}
    # Names may be in the order of diseases, their hashes are not.
    names = sorted(patients, key=lambda name: hashlib.sha256(name.encode()).digest())
    wanted = max(1, round(VALIDATION_SHARE * len(names)))
    for name in names:
        if name not in sides:
            taken = sum(sides.get(other) == "validation" for other in names)
            sides[name] = "validation" if taken < wanted else "training"
    found = {name: sides[name] for name in names}
    if len(set(found.values())) < 2:
        raise DataError(
            f"expected labelled patients to learn from and to compare on, found all on the side of "
            f"{found[names[0]]}; label another patient first"
        )
    write_json(path, sides)
    return found


def write_training_data(
    patients: Mapping[str, list[ServedImage]], sides: Mapping[str, Side], labels: LabelStore, folder: Path
) -> list[dict[str, Any]]:
    """Copy the labelled volumes, slices last, and list them for training.

    What is corrected while a training runs does not change what it learns from.

    Args:
        patients: As from `labelled_patients`.
        sides: As from `divide`.
        labels: The accepted labels.
        folder: Folder for the copies and `datalist.json`; made if it does not exist.

    Returns:
        The items of the datalist.

    Raises:
        DataError: If a file was damaged by others.
        OutputError: If a copy cannot be written.
    """
    items = []
    for patient, images in patients.items():
        part = VALIDATION_FOLD if sides[patient] == "validation" else TRAINING_FOLD
        for image in images:
            volume, label = read_volume(image.path), read_label(labels.path(image.id))
            stack, _ = slices_last(volume)
            mask, _ = slices_last(replace(volume, array=label.array))
            affine = field_affine(stack)
            image_path = folder / "data" / f"{image.id}.nii.gz"
            label_path = folder / "data" / f"{image.id}_seg.nii.gz"
            write_image(image_path, replace(stack, affine=affine, is_oriented=True))
            write_label(label_path, mask.array, affine)
            items.append(
                {
                    "image": str(image_path.resolve()),
                    "label": str(label_path.resolve()),
                    "patient": patient,
                    "spacing_mm": stack.spacing_mm,
                    "part": part,
                    "fingerprint": fingerprint(image_path, label_path),
                }
            )
    write_datalist(folder, folder / "data", items)
    return items


TRAINING_FOLDER: Final = "training"
STATUS_NAME: Final = "status.json"
LOCK_NAME: Final = "running"

DEFAULT_EPOCHS: Final = 20
DEFAULT_BATCH: Final = 6

MAX_EPOCHS: Final = 200
MAX_BATCH: Final = 32

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
) -> FineTuned:
    """Go on with the served weights of a network on the accepted labels, and publish what is better.

    Patients are divided once and keep their side. The new weights are served from then on if their mean
    Dice on the validation patients is higher than that of the served ones; nothing in the bundle changes.

    Args:
        studies: Studies folder with accepted labels.
        network: Network of the bundle.
        epochs: How often each training slice is shown, 1 to `MAX_EPOCHS`.
        batch_size: Slices at a time, 1 to `MAX_BATCH`.
        device: `"auto"` or a torch device.
        bundle: Root folder of the bundle.

    Raises:
        ConfigError: If a value is out of bounds, another training of the folder runs, or weights are missing.
        DataError: If there are labels of fewer than two patients.
        OutputError: If the folder cannot be written to.
    """
    for name, value, most in (("epochs", epochs, MAX_EPOCHS), ("batch size", batch_size, MAX_BATCH)):
        if not 1 <= value <= most:
            raise ConfigError(f"expected a number of {name} from 1 to {most}, found {value}")
    work = output_folder(studies / WORK_FOLDER / TRAINING_FOLDER)
    labels = LabelStore(studies)
    images = StudyImages(studies, _no_phases)
    images.scan(unfold=False)
    patients = labelled_patients(images.all(), labels)
    with exclusive_lock(work / LOCK_NAME, "training of this folder"):
        sides = divide(patients, work / SPLIT_NAME)
        job = work / network
        _clear(job)
        items = write_training_data(patients, sides, labels, output_folder(job))
        validation = [item for item in items if item["part"] == VALIDATION_FOLD]
        published = PublishedWeights(studies)
        base = published.current(network)
        served = published.path(network, base) or bundle / "models" / network / "model.pt"

        def dice_of(weights: Path) -> dict[str, float | None]:
            predictor = Predictor.load(network, bundle=bundle, weights=weights, device=device)
            return mean_dice(predictor, validation)

        before = dice_of(served)
        started, best = time.perf_counter(), before[MEAN] or 0.0
        stats: dict[str, Any] = {"best_metric": best, "epoch": 0, "total_epochs": epochs}
        stats |= {"dice_before": before, "dice": {}, "published": None}
        write_json(job / STATUS_NAME, stats)  # in the words of MONAI Label's `train_stats`

        def record_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
            stats["epoch"] = epoch
            if "val_mean_dice" in metrics:
                stats["dice"] = {name: metrics[f"val_dice_{name}"] for name in STRUCTURES}
                stats["best_metric"] = max(stats["best_metric"], float(metrics["val_mean_dice"]))
            write_json(job / STATUS_NAME, stats)

        weights = train_network(
            network,
            job,
            job / "run",
            on_epoch=record_epoch,
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
        found = {side: sorted(name for name in sides if sides[name] == side) for side in get_args(Side)}
        version = None
        if (after[MEAN] or 0.0) > (before[MEAN] or 0.0):
            record = {"from": base, "epochs": epochs, "batch_size": batch_size, "patients": found}
            version = published.publish(network, weights, record | {"dice": after, "dice_before": before})
        stats |= {"dice": after, "published": version, "best_metric": max(after[MEAN] or 0.0, best)}
        stats["total_time"] = round(time.perf_counter() - started, 1)
        write_json(job / STATUS_NAME, stats)
        _clear(job)
    return FineTuned(before, after, version, found)


def _clear(job: Path) -> None:
    for name in ("run", "data"):
        shutil.rmtree(job / name, ignore_errors=True)


def _no_phases(cine: Volume) -> tuple[int, int]:
    raise DataError("expected frames of cines that the server has found, found a new cine; serve it first")


COMMAND: Final = (
    sys.executable,
    "-c",
    "from pipelines.server.server_watch import end_with_server; end_with_server(); "
    "from pipelines.cli.main import main; main()",
    "fine-tune",
)

LOG_NAME: Final = "training.log"
NICENESS: Final = 10
STOP_S: Final = 5.0
"""Time that a training has to end by itself before it is killed, s."""

DETAIL_LINES: Final = 20


class Trainings:
    """Starts and stops trainings on the accepted labels of a studies folder.

    Args:
        studies: Studies folder.
        networks: Networks that can be trained.
        device: `"auto"` or a torch device.
    """

    def __init__(self, studies: Path, networks: tuple[str, ...], *, device: str = "auto") -> None:
        self.networks = networks
        self._studies = studies
        self._device = device
        self._folder = studies / WORK_FOLDER / TRAINING_FOLDER
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._task: dict[str, Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a training runs that this server has started."""
        return self._process is not None and self._process.poll() is None

    def start(self, network: str, *, epochs: int, batch_size: int) -> dict[str, Any] | None:
        """Start a training.

        Args:
            network: One of `networks`.
            epochs: How often each slice is shown.
            batch_size: Slices at a time.

        Returns:
            What `status` tells, or None if one runs already, of whatever server.

        Raises:
            OutputError: If the studies folder cannot be written to.
        """
        with self._lock:
            if self.is_running or is_locked(self._folder / LOCK_NAME):
                return None
            (self._folder / network / STATUS_NAME).unlink(missing_ok=True)
            options = "--epochs", str(epochs), "--batch-size", str(batch_size), "--device", self._device
            with (output_folder(self._folder) / LOG_NAME).open("wb") as log:
                self._process = subprocess.Popen(
                    [*COMMAND, str(self._studies), network, *options],
                    stdin=subprocess.PIPE,  # ends when this process does; see `end_with_server`
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
            self._task = {
                "id": str(uuid.uuid4()),
                "status": "RUNNING",
                "model": network,
                "request": {"model": network, "max_epochs": epochs, "batch_size": batch_size},
                "start_ts": job_time(),
            }
        return self.status()

    def status(self) -> dict[str, Any] | None:
        """The latest training in MONAI Label's words, None if there was none.

        Returns:
            `status` is RUNNING, DONE, STOPPED or ERROR; `details` are the last lines of its log, of which
            the last one is `result` too.
        """
        with self._lock:
            if self._task is None or self._process is None:
                return None
            code = self._process.poll()
            if code is not None and self._task["status"] == "RUNNING":
                self._task |= {"status": "DONE" if code == 0 else "ERROR", "end_ts": job_time()}
            text = (self._folder / LOG_NAME).read_text(encoding="utf-8", errors="replace")
            lines = [line.strip() for line in text.splitlines() if line.strip()][-DETAIL_LINES:]
            details = lines or [f"training of {self._task['model']}: {self._task['status']}"]
            return self._task | {"details": details, "result": details[-1]}

    def stop(self) -> None:
        """End the training that runs, if one does; what is served stays."""
        with self._lock:
            if self._process is not None and self._task is not None and self.is_running:
                self._process.terminate()
                try:
                    self._process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
                self._task |= {"status": "STOPPED", "end_ts": job_time()}

    def stats(self, network: str) -> dict[str, Any]:
        """How far the latest training of a network is or went, `{}` if there was none.

        Returns:
            `best_metric`, mean Dice on the validation patients; `epoch`; `total_epochs`; `dice_before` and
            `dice` by structure, of the served and the new weights; once it is over `total_time` in s and
            `published`, the number of the new version or None.
        """
        path = self._folder / network / STATUS_NAME
        try:
            return dict(read_json(path))
        except FileNotFoundError:
            return {}

    def latest_first(self, stats: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Statistics by network, those of the latest training first: the module shows no others."""
        latest = self._task["model"] if self._task else None
        return dict(sorted(stats.items(), key=lambda item: item[0] != latest))


class FineTuning(TrainTask):
    """Training of one network on the accepted labels, as MONAI Label's task.

    Args:
        network: Name of the network.
        trainings: Where it is started.
    """

    def __init__(self, network: str, trainings: Trainings) -> None:
        super().__init__(f"Go on with the weights of {network} on the accepted labels")
        self.network = network
        self._trainings = trainings

    def config(self) -> dict[str, int]:
        """What a client may choose, with its defaults."""
        return {"max_epochs": DEFAULT_EPOCHS, "batch_size": DEFAULT_BATCH}

    def stats(self) -> dict[str, Any]:
        """See `Trainings.stats`."""
        return self._trainings.stats(self.network)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Start it with `max_epochs` and `batch_size`; None if a training runs already."""
        return self._trainings.start(
            self.network, epochs=request["max_epochs"], batch_size=request["batch_size"]
        )
