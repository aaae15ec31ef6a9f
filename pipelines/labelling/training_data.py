"""The accepted labels of a studies folder as data to learn from, divided by patient."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from pipelines.datasets.nifti import read_label, read_volume, slices_last, write_image, write_label
from pipelines.datasets.prepare import fingerprint, write_datalist
from pipelines.errors import DataError
from pipelines.files import write_json
from pipelines.inference.member import field_affine
from pipelines.labelling.history import LabelStore
from pipelines.labelling.images import ServedImage

Side = Literal["training", "validation"]

SPLIT_NAME: Final = "split.json"

VALIDATION_SHARE: Final = 0.2
"""Share of the labelled patients that weights are compared on; at least one."""

TRAINING_FOLD: Final = 1
VALIDATION_FOLD: Final = 0


def labelled_patients(images: Iterable[ServedImage], labels: LabelStore) -> dict[str, list[ServedImage]]:
    """Images with an accepted label, by patient.

    Raises:
        DataError: If they are of fewer than two patients.
    """
    found: dict[str, list[ServedImage]] = defaultdict(list)
    for image in images:
        if labels.has(image.id):
            found[image.patient].append(image)
    if len(found) < 2:
        raise DataError(
            "expected accepted labels of at least 2 patients, one to learn from and one to compare on, "
            f"found {len(found)}; label another patient first"
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
    sides: dict[str, Side] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
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
            volume = read_volume(image.path)
            label = read_label(labels.path(image.id))
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
