"""What a training run left behind, read for the results page."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.core.errors import DataError
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.datasets.prepare import ALL_PATIENTS
from pipelines.models.bundle import BUNDLES, NETWORKS, XRAY_NETWORKS, load_config
from pipelines.training.history import Series, read_history
from pipelines.training.monitor import HISTORY_NAME

ALL_NETWORKS = (*NETWORKS, *XRAY_NETWORKS)

PREPARED = "/path/to/prepared"
"""Stands for the folder of the prepared data in commands that are shown."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A training run.

    Attributes:
        name: Name of its folder.
        network: Network that it trained.
        all_patients: Whether it trained on every patient, the hold-out included.
        fold: Fold that it validated on; None where the data have no folds.
        epochs: Epochs done.
        samples: Slices or images shown in training.
        seconds: Wall time of training and validation, or None if the run does not tell.
        precision: Type of the fast operations.
        threads: CPU threads.
        command: Shell command with placeholders for the paths.
        history: Columns of `history.csv`, as from `read_history`.
    """

    name: str
    network: str
    all_patients: bool
    fold: int | None
    epochs: int
    samples: int
    seconds: float | None
    precision: str
    threads: int
    command: str
    history: dict[str, Series]

    def last(self, column: str) -> float | None:
        """Last value of a column of the history, None if there is none."""
        _, values = self.history.get(column, ([], []))
        return values[-1] if values else None

    def best(self, column: str) -> float | None:
        """Largest value of a column of the history, None if there is none."""
        _, values = self.history.get(column, ([], []))
        return max(values, default=None)


def read_run(folder: Path) -> RunRecord:
    """Record of a run from its manifest, history and TensorBoard events.

    Args:
        folder: Existing folder of the run.

    Raises:
        DataError: If the manifest or the history is missing or damaged, or does not name a network.
    """
    history = read_history(folder / HISTORY_NAME)
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        words: list[str] = manifest["command"]
        fold: int | None = manifest.get("fold")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected a training run with {MANIFEST_NAME}, found {folder}: {error!r}") from error
    network = network_in(" ".join(word for word in words if not Path(word).is_absolute()))
    if network is None:
        known = ", ".join(ALL_NETWORKS)
        raise DataError(f"expected a command with one of {known}, found {words} in {folder}")
    return RunRecord(
        name=folder.name,
        network=network,
        all_patients=fold == ALL_PATIENTS,
        fold=fold,
        epochs=history["epoch"][0][-1],
        samples=int(history["iteration"][1][-1]) * _batch_size(network, words),
        seconds=training_seconds(folder) or manifest.get("seconds"),
        precision=str(manifest["precision"]).removeprefix("torch.").replace("None", "float32"),
        threads=int(manifest["threads"]),
        command=shown_command(words),
        history=history,
    )


def training_seconds(folder: Path) -> float | None:
    """Wall time of training and validation of a run over all its sessions in s, None if it does not tell.

    Each event file is one session; its first epoch took about as long as the others. A session of a
    single epoch does not tell.

    Args:
        folder: Folder of the run.
    """
    total = 0.0
    for file in sorted((folder / "tensorboard").glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        if "train_loss" not in events.Tags()["scalars"]:
            continue
        times = [event.wall_time for event in events.Scalars("train_loss")]
        if len(times) > 1:
            total += (times[-1] - times[0]) * len(times) / (len(times) - 1)
    return total or None


def network_in(text: str) -> str | None:
    """The network that a command or a folder's name speaks of, the longest name first."""
    found = [network for network in ALL_NETWORKS if network in text]
    return max(found, key=len) if found else None


def shown_command(words: list[str]) -> str:
    """A run's command as a reader can give it: no path of the machine it ran on.

    Args:
        words: Program and arguments, as in a manifest.
    """
    program = ["python", "-m", "monai.bundle"] if words[0] == "__main__.py" else words[:1]
    shown: list[str] = []
    option = ""
    for word in _split(words[1:]):
        path = Path(word)
        if word.startswith("--"):
            option = word.replace("_", "-")
            shown.append(word)
            continue
        if option == "--cache-dir":
            shown.pop()
        elif not path.is_absolute():
            shown.append(word)
        elif path.is_relative_to(BUNDLES):  # MONAI's command runs in the bundle's folder
            shown.append(str(Path(*path.relative_to(BUNDLES).parts[1:])))
        elif option in ("", "--dataset-dir"):
            shown.append(PREPARED)
        else:
            shown.append(f"runs/{path.parent.name}/{path.name}" if path.suffix else f"runs/{path.name}")
        option = ""
    return shlex.join([*program, *shown])


def _split(words: list[str]) -> list[str]:
    """Words with `--option=value` taken apart."""
    return [
        part for word in words for part in (word.split("=", maxsplit=1) if word.startswith("--") else [word])
    ]


def _batch_size(network: str, words: list[str]) -> int:
    size = load_config(network, ["train"]).get("batch_size")
    words = _split(words)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--batch_size":
            size = following
        elif word.startswith("batch_size="):
            size = word.partition("=")[2]
    return int(yaml.safe_load(str(size)))
