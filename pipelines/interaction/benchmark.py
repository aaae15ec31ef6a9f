"""The simulated user, and the benchmark of corrections by clicks."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import track
from pipelines.core.records import FOREGROUND, LABEL_NAMES, AcdcLabel, PatientRecord
from pipelines.core.volume import Volume, read_label, read_volume, slices_last
from pipelines.datasets.loading import load_pair
from pipelines.evaluation.segmentation import MEAN, STRUCTURES, VolumePredictor, dice_coefficient
from pipelines.interaction.clicks import Click, Mask, largest_error, refine_by_scribbles, rim_scribbles
from pipelines.interaction.corrector import Correction, Corrector
from pipelines.models.heart import Member, Predictor, Transform


@dataclass(frozen=True, slots=True)
class Step:
    """What one click did.

    Attributes:
        click: Where the user clicked, and the label given.
        mask: `(X, Y, Z)` label map after it.
        seconds: Time from the click to the mask.
    """

    click: Click
    mask: Mask
    seconds: float


def click_on_errors(
    correction: Correction, mask: Mask, truth: Mask, count: int, *, only_slice: int | None = None
) -> Iterator[Step]:
    """Click up to `count` times in the middle of the largest error; ends before if none is left.

    Args:
        correction: Volume to correct.
        mask: `(X, Y, Z)` label map to start from, in the file's order of axes.
        truth: `(X, Y, Z)`, what it should be.
        count: Largest number of clicks.
        only_slice: Index of the one slice to correct; by default the whole volume.
    """
    settled: list[Click] = []
    for _ in range(count):
        click = worst_click(mask, truth, correction.axis, only_slice=only_slice)
        if click is None:
            return
        start = time.perf_counter()
        mask = correction.correct(mask, [click], settled=settled, one_slice=only_slice is not None)
        seconds = time.perf_counter() - start
        settled.append(click)
        yield Step(click, mask, seconds)


def worst_click(mask: Mask, truth: Mask, axis: int, *, only_slice: int | None = None) -> Click | None:
    """Click in the middle of the largest wrong region of a slice, None if all is right.

    Args:
        mask: `(X, Y, Z)` label map.
        truth: `(X, Y, Z)`, what it should be.
        axis: Axis across the slices.
        only_slice: Index of the one slice to look at; by default all.
    """
    present, wanted = (np.moveaxis(array, axis, 2) for array in (mask, truth))
    first = 0
    if only_slice is not None:
        first = only_slice
        present, wanted = (array[:, :, first : first + 1] for array in (present, wanted))
    found = largest_error(present, wanted)
    if found is None:
        return None
    i, j, k = np.insert([found.i, found.j], axis, found.k + first).tolist()
    return Click(i, j, k, found.label)


class ClickedVolumes:
    """What a MONAI evaluator does with each volume: a user corrects the automatic mask.

    Args:
        network: Correcting network as it is in training.
        automatic: Gives the masks to be corrected; each volume is segmented once and remembered.
        preprocessing: As of `Member`.
        to_label_map: As of `Member`.
        device: Where the network runs.
        dtype: Type of the fast operations, None for float32.
        clicks: Clicks on each volume.
    """

    def __init__(
        self,
        network: nn.Module,
        automatic: Predictor,
        *,
        preprocessing: Transform,
        to_label_map: Transform,
        device: torch.device,
        dtype: torch.dtype | None,
        clicks: int,
    ) -> None:
        self.network, self.automatic, self.clicks = network, automatic, clicks
        self._settings: dict[str, Any] = {
            "preprocessing": preprocessing,
            "to_label_map": to_label_map,
            "device": device,
            "dtype": dtype,
        }
        self._masks: dict[str, Mask] = {}
        self._corrector: Corrector | None = None

    def __call__(self, engine: Engine, batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        """`pred` and `label` of the one volume of a batch, each `(4, X, Y, Z)` one-hot.

        Args:
            engine: Evaluator.
            batch: `image` and `label`, each a list of one path.
        """
        if self._corrector is None or engine.state.iteration == 1:
            self._corrector = Corrector(Member(self.network, None, **self._settings))
        image, label = batch["image"][0], batch["label"][0]
        volume, truth = read_volume(Path(image)), read_label(Path(label)).array
        if image not in self._masks:
            self._masks[image] = self.automatic.predict(volume).mask
        mask = self._masks[image]
        for step in click_on_errors(self._corrector.open(volume), mask, truth, self.clicks):
            mask = step.mask
        return [{"pred": _one_hot(mask), "label": _one_hot(truth)}]


def _one_hot(mask: Mask) -> Tensor:
    return torch.from_numpy(np.stack([mask == label for label in AcdcLabel])).float()


Row = dict[str, Any]
"""A state of a mask: its mode, clicks so far, Dice by structure, seconds of the last click."""

GOALS: Final = {"lv": 0.95, "myo": 0.90}
"""Dice that a structure shall reach, for the number of clicks to it."""

NAMES: Final = (*STRUCTURES, MEAN)

LOWERED: Final = 1e-9
"""Loss of mean Dice that counts as lowered: any but rounding."""


def summarise_clicks(rows: Sequence[Mapping[str, Any]], *, clicks: int, slice_clicks: int) -> dict[str, Any]:
    """Figures of `volume`, `one_slice` and `scribbles`.

    Args:
        rows: As in `clicks.csv`, the clicks of a volume or slice in order.
        clicks: Largest number of clicks on a volume.
        slice_clicks: Largest number of clicks on a slice.

    Returns:
        Of `volume` and `one_slice`: `dice` by structure after 0, 1, ... clicks; `lowered`, the share
        whose mean Dice each click lowers; `clicks_to` the goals; `seconds` a click. Where all was
        right before the last click, the mask stands for those that were not needed. Of `scribbles`:
        `dice`, and `seconds` a slice. A structure that is absent does not count; None if none does.
    """
    return {
        "volume": _curve([row for row in rows if row["mode"] == "volume"], clicks),
        "one_slice": _curve([row for row in rows if row["mode"] == "one_slice"], slice_clicks),
        "scribbles": _single([row for row in rows if row["mode"] == "scribbles"]),
    }


def _curve(rows: Sequence[Mapping[str, Any]], clicks: int) -> dict[str, Any]:
    cases: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        cases[row["patient"], row["phase"], row.get("slice")].append(row)
    dice = {name: _table(list(cases.values()), f"dice_{name}", clicks) for name in NAMES}
    steps = np.diff(dice["mean"], axis=1)
    taken = np.array([[len(case) > number for number in range(1, clicks + 1)] for case in cases.values()])
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    return {
        "cases": len(cases),
        "dice": {name: [_mean(column) for column in table.T] for name, table in dice.items()},
        "lowered": [float(np.mean(column < -LOWERED)) for column in steps.T],
        "lowered_of_all_clicks": float(np.mean(steps[taken] < -LOWERED)) if taken.any() else None,
        "clicks_to": {name: _clicks_to(dice[name], goal) | {"dice": goal} for name, goal in GOALS.items()},
        "seconds": {
            "median": float(np.median(seconds)) if seconds else None,
            "p95": float(np.percentile(seconds, 95)) if seconds else None,
        },
    }


def _table(cases: Sequence[Sequence[Mapping[str, Any]]], column: str, clicks: int) -> np.ndarray[Any, Any]:
    """`(cases, clicks + 1)` float64, NaN where a structure is absent; the last state is repeated."""
    table = np.full((len(cases), clicks + 1), np.nan)
    for line, case in zip(table, cases, strict=True):
        values = [row[column] for row in case]
        values += [values[-1]] * (clicks + 1 - len(values))
        line[:] = [np.nan if value is None else value for value in values]
    return table


def _clicks_to(table: np.ndarray[Any, Any], goal: float) -> dict[str, Any]:
    """Share of the cases that reach a goal, and the median number of clicks, of all that have the structure.

    The median is None if fewer than half reach it.
    """
    present = table[np.isfinite(table).all(axis=1)]
    if not len(present):
        return {"median": None, "reached": None}
    reached = present >= goal
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), np.inf)
    median = float(np.median(first))
    return {"median": median if np.isfinite(median) else None, "reached": float(np.isfinite(first).mean())}


def _single(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {name: np.array([row[f"dice_{name}"] for row in rows], dtype=float) for name in NAMES}
    return {
        "dice": {name: _mean(values) for name, values in found.items()},
        "seconds": float(np.median([row["seconds"] for row in rows])),
    }


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


CONTENT_NAME: Final = "interaction.json"
COLUMNS: Final = (
    "patient",
    "group",
    "phase",
    "mode",
    "slice",
    "clicks",
    *(f"dice_{name}" for name in NAMES),
    "seconds",
)
"""Of `clicks.csv`: mode is `volume`, `one_slice` or `scribbles`; slice is empty but for `one_slice`."""


def interact_benchmark(
    output: Path,
    corrector: Corrector,
    automatic: VolumePredictor,
    records: Sequence[PatientRecord],
    *,
    clicks: int = 10,
    slice_clicks: int = 5,
    **details: Any,
) -> dict[str, Any]:
    """Click on automatic masks of labelled volumes where they are most wrong, and measure each step.

    Three users: one clicks anywhere in the volume; one mends each slice by itself, the others untouched;
    one draws strokes along the rims of all structures on an empty mask.

    Args:
        output: Folder for `interaction.json` and `clicks.csv`, a row for each state of a mask;
            made if it does not exist.
        corrector: Corrects masks by clicks.
        automatic: Gives the masks to begin with.
        records: Patients; their labelled volumes are taken.
        clicks: Largest number of clicks on a volume.
        slice_clicks: Largest number of clicks on a slice that is mended by itself.
        **details: Further entries of `interaction.json`.

    Returns:
        The content of `interaction.json`: see `summarise_clicks`.

    Raises:
        DataError: If no volume has a label, or one cannot be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    volumes = [volume for patient in records for volume in patient.volumes if volume.label is not None]
    if not volumes:
        raise DataError(f"expected labelled volumes, found none in {len(records)} patients")
    rows: list[Row] = []
    opening: list[float] = []
    for record in track(volumes, lambda one: f"{one.patient} {one.phase}"):
        image, label = load_pair(record)
        truth = label.array
        start = time.perf_counter()
        correction = corrector.open(image)
        opening.append(time.perf_counter() - start)
        mask = automatic.predict(image).mask.astype(np.uint8)
        about = {"patient": record.patient, "group": record.group, "phase": str(record.phase)}
        rows += [about | row for row in _on_volume(correction, mask, truth, clicks)]
        rows += [about | row for row in _on_slices(correction, mask, truth, slice_clicks)]
        rows.append(about | _by_scribbles(image, truth))
    content = {
        "patients": sorted({record.patient for record in volumes}),
        "volumes": len(volumes),
        "threads": torch.get_num_threads(),
        "open_seconds": float(np.median(opening)),
        **details,
        **summarise_clicks(rows, clicks=clicks, slice_clicks=slice_clicks),
    }
    write_csv(output / "clicks.csv", COLUMNS, rows)
    write_json(output / CONTENT_NAME, content)
    return content


def _on_volume(correction: Correction, mask: Mask, truth: Mask, clicks: int) -> Iterator[Row]:
    yield {"mode": "volume", "clicks": 0, **_dice(mask, truth)}
    for number, step in enumerate(click_on_errors(correction, mask, truth, clicks), start=1):
        dice = _dice(step.mask, truth)
        yield {"mode": "volume", "clicks": number, **dice, "seconds": step.seconds}


def _on_slices(correction: Correction, mask: Mask, truth: Mask, clicks: int) -> Iterator[Row]:
    """Each slice that either mask has a structure in, from the automatic mask."""
    axis = correction.axis
    for z in range(mask.shape[axis]):
        before, wanted = mask.take([z], axis), truth.take([z], axis)
        if not before.any() and not wanted.any():
            continue
        yield {"mode": "one_slice", "slice": z, "clicks": 0, **_dice(before, wanted)}
        steps = click_on_errors(correction, mask, truth, clicks, only_slice=z)
        for number, step in enumerate(steps, start=1):
            dice = _dice(step.mask.take([z], axis), wanted)
            yield {"mode": "one_slice", "slice": z, "clicks": number, **dice, "seconds": step.seconds}


def _by_scribbles(image: Volume, truth: Mask) -> Row:
    stack, undo = slices_last(image)
    true_stack = slices_last(replace(image, array=truth))[0].array
    strokes = undo(rim_scribbles(true_stack, stack.spacing_mm))
    start = time.perf_counter()
    mask = refine_by_scribbles(image, np.zeros_like(truth), strokes)
    seconds = (time.perf_counter() - start) / max(1, int(true_stack.any(axis=(0, 1)).sum()))
    return {"mode": "scribbles", "clicks": None, **_dice(mask, truth), "seconds": seconds}


def _dice(mask: Mask, truth: Mask) -> Row:
    """Dice of each structure, None where neither mask has it, and their mean."""
    row: Row = {
        f"dice_{LABEL_NAMES[label]}": dice_coefficient(mask == label, truth == label) for label in FOREGROUND
    }
    values = [value for value in row.values() if value is not None]
    return row | {"dice_mean": float(np.mean(values)) if values else None}
