"""The record of a training run: its history, read and drawn, its settings and its command."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.core.errors import expecting
from pipelines.core.files import MANIFEST_NAME, read_csv, read_json
from pipelines.core.records import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.datasets.prepare import ALL_PATIENTS
from pipelines.figures.overlay import panels, save_png
from pipelines.models.bundle import BUNDLES
from pipelines.training.handlers import HISTORY_NAME

Series = tuple[list[int], list[float]]
"""Epochs and the values recorded at them."""


def history_figure(history: Path, path: Path) -> None:
    """PNG of losses, scores and learning rate over the epochs of a run.

    Scores are the validation Dice of hearts, or accuracy and AUROC of radiographs.

    Args:
        history: `history.csv` of a run: a row an epoch, empty where nothing was measured.
        path: PNG file to write; its folder is made if it does not exist.

    Raises:
        DataError: If the history is missing, has no epoch, or holds something else.
        OutputError: If the file cannot be written.
    """
    series = read_history(history)
    figure, (losses, dice, rate) = panels(3)
    is_of_xrays = "val_auroc" in series
    loss = "training loss" if is_of_xrays else "training: Dice + cross-entropy"
    _draw(losses, series, "train_loss", loss, "0.4")
    _draw(losses, series, "val_loss", "validation loss", "#d97706")
    _draw(losses, series, "val_dice_loss", "validation: soft Dice loss", "#d97706")
    for part, word, color in (("train", "training", "0.4"), ("val", "validation", "#d97706")):
        for score, title, style in (("accuracy", "accuracy", "-"), ("auroc", "AUROC", ":")):
            _draw(dice, series, f"{part}_{score}", f"{title}, {word}", color, style)
    for label in FOREGROUND:
        _draw(dice, series, f"val_dice_{LABEL_NAMES[label]}", label.name, LABEL_COLORS[label])
    _draw(dice, series, "val_mean_dice", "mean", "black")
    _draw(rate, series, "learning_rate", "learning rate", "0.2")
    losses.set(ylabel="loss", ylim=(0, None))
    dice.set(ylabel="accuracy and AUROC" if is_of_xrays else "validation Dice", ylim=(None, 1))
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
    wanted = f"the history of a training with an epoch at least in {history}"
    with expecting(wanted, advice="name the history.csv in the folder of a run"):
        rows = read_csv(history)
        epochs = [int(row["epoch"]) for row in rows]
        series: dict[str, Series] = {}
        for name in rows[0]:
            points = [(epoch, float(row[name])) for epoch, row in zip(epochs, rows, strict=True) if row[name]]
            series[name] = [epoch for epoch, _ in points], [value for _, value in points]
    return series


def _draw(axes: Axes, series: dict[str, Series], name: str, label: str, color: str, style: str = "-") -> None:
    epochs, values = series.get(name, ([], []))
    if epochs:
        axes.plot(epochs, values, style, color=color, label=label, marker="o", markersize=2.5, linewidth=1.2)


PREPARED = "/path/to/prepared"
"""Stands for the folder of the prepared data in commands that are shown."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A training run.

    Attributes:
        name: Name of its folder when it was trained.
        network: Network that it trained.
        all_patients: Whether it trained on every patient, the test set included.
        fold: Fold that it validated on; None where the data have no folds.
        epochs: Epochs done.
        samples: Slices or images shown in training.
        seconds: Wall time of training and validation, None if it is not recorded.
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
        DataError: If the manifest or the history is missing or damaged, or written by a version that did
            not record network and batch size.
    """
    history = read_history(folder / HISTORY_NAME)
    wanted = f"a training run whose {MANIFEST_NAME} has command, network and batch_size in {folder}"
    with expecting(wanted, advice="add what is missing to the file, or train with this version"):
        manifest: dict[str, Any] = read_json(folder / MANIFEST_NAME)
        words: list[str] = manifest["command"]
        network, batch_size = str(manifest["network"]), int(manifest["batch_size"])
    fold: int | None = manifest.get("fold")
    return RunRecord(
        name=str(manifest.get("name") or folder.resolve().name),
        network=network,
        all_patients=fold == ALL_PATIENTS,
        fold=fold,
        epochs=history["epoch"][0][-1],
        samples=int(history["iteration"][1][-1]) * batch_size,
        seconds=training_seconds(folder) or manifest.get("seconds"),
        precision=str(manifest.get("precision")).removeprefix("torch.").replace("None", "float32"),
        threads=int(manifest["threads"]),
        command=shown_command(words),
        history=history,
    )


def training_seconds(folder: Path) -> float | None:
    """Wall time of training and validation of a run over all its sessions in s, None if not recorded.

    Each event file is one session; its first epoch took about as long as the others. Of a session of a
    single epoch the time is not known.

    Args:
        folder: Folder of the run.
    """
    total = 0.0
    for file in sorted((folder / "tensorboard").glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        names = {"train/loss", "train_loss"} & set(events.Tags()["scalars"])  # the second: earlier versions
        times = [event.wall_time for name in names for event in events.Scalars(name)]
        if len(times) > 1:
            total += (times[-1] - times[0]) * len(times) / (len(times) - 1)
    return total or None


def shown_command(words: list[str]) -> str:
    """A run's command as a reader can give it: no path of the machine it ran on.

    Args:
        words: Program and arguments, as in a manifest.
    """
    program = ["python", "-m", "monai.bundle"] if words[0] == "__main__.py" else [Path(words[0]).name]
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
            shown.append(_EMBEDDED.sub(_without_machine, word))
        elif path.is_relative_to(BUNDLES):  # MONAI's command runs in the bundle's folder
            shown.append(str(Path(*path.relative_to(BUNDLES).parts[1:])))
        elif option in ("", "--data", "--dataset-dir"):
            shown.append(PREPARED)
        else:
            shown.append(f"runs/{path.parent.name}/{path.name}" if path.suffix else f"runs/{path.name}")
        option = ""
    return shlex.join([*program, *shown])


_EMBEDDED = re.compile(r"(?<=[=:])/[^+]*")
"""A path within a word, as in `both=unet:/here/runs/unet/best.pt+vnet` or `acdc=/data/acdc`."""


def _without_machine(found: re.Match[str]) -> str:
    path = Path(found[0])
    return f"runs/{path.parent.name}/{path.name}" if path.suffix else f"/path/to/{path.name}"


def _split(words: list[str]) -> list[str]:
    """Words with `--option=value` taken apart."""
    return [
        part for word in words for part in (word.split("=", maxsplit=1) if word.startswith("--") else [word])
    ]
