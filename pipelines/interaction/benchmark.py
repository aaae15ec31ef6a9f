"""How much a user gains by clicks and scribbles, measured with a simulated one on labelled volumes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.core.progress import Progress
from pipelines.core.records import PatientRecord, VolumeRecord
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_pair
from pipelines.evaluation.evaluate import VolumePredictor
from pipelines.evaluation.metrics import dice_coefficient
from pipelines.interaction.clicks import Mask
from pipelines.interaction.corrector import Correction, Corrector
from pipelines.interaction.curves import Row, summarise_clicks
from pipelines.interaction.scribbles import refine_by_scribbles, rim_scribbles
from pipelines.interaction.user import click_on_errors

CONTENT_NAME: Final = "interaction.json"
COLUMNS: Final = (
    "patient",
    "group",
    "phase",
    "mode",
    "slice",
    "clicks",
    *(f"dice_{LABEL_NAMES[label]}" for label in FOREGROUND),
    "dice_mean",
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
    progress: Progress | None = None,
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
        progress: Called with volumes done, volumes in all and the volume's name.
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
    for done, record in enumerate(volumes, start=1):
        image, truth = _read(record)
        start = time.perf_counter()
        correction = corrector.open(image)
        opening.append(time.perf_counter() - start)
        mask = automatic.predict(image).mask.astype(np.uint8)
        about = {"patient": record.patient, "group": record.group, "phase": str(record.phase)}
        rows += [about | row for row in _on_volume(correction, mask, truth, clicks)]
        rows += [about | row for row in _on_slices(correction, mask, truth, slice_clicks)]
        rows.append(about | _by_scribbles(image, truth))
        if progress is not None:
            progress(done, len(volumes), f"{record.patient} {record.phase}")
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


def _read(record: VolumeRecord) -> tuple[Volume, Mask]:
    image, label = load_pair(record)
    return image, label.array


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
