"""From a folder of chest radiographs to a checked datalist with its split."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import output_folder, write_json
from pipelines.core.progress import progress_to, show_progress
from pipelines.core.records import Problem
from pipelines.datasets.duplicates import joined, near_duplicates, pixel_hash, thumbnail
from pipelines.datasets.prepare import (
    DATALIST_NAME,
    Section,
    fingerprint,
    is_datalist,
    read_datalist,
    split_by_fraction,
    split_hash,
)
from pipelines.datasets.xray_image import MAX_COLOUR, Finding, XrayRecord, read_chest_xray, read_xray

SplitBy = Literal["patient", "image"]

FRACTIONS: Final = {"test": 0.1, "validation": 0.1, "training": 0.8}


@dataclass(frozen=True, slots=True)
class XrayPreparation:
    """What `prepare_chest_xray` found.

    Attributes:
        datalist: Path of the file written.
        patients: Number of usable patients.
        images: Number of usable images.
        near_duplicates: Number of pairs of images that are nearly the same, both kept.
        problems: What was skipped, and why, and names that tell no patient.
    """

    datalist: Path
    patients: int
    images: int
    near_duplicates: int
    problems: list[Problem]


def prepare_chest_xray(
    root: Path, output: Path, *, split: SplitBy = "patient", seed: int = 0, source: str = ""
) -> XrayPreparation:
    """Check every radiograph of a folder and write the datalist with its split.

    The folders `train`, `test` and `val` of a release are merged. Of exact copies
    the first is kept; patients whose images are nearly the same stay together.

    Args:
        root: Existing folder with `NORMAL` and `PNEUMONIA` at any depth.
        output: Folder to write to; made if it does not exist.
        split: `"patient"`, or `"image"` for the plain random split of much
            published work, which has the same patients in training and test.
        seed: Seed of the split.
        source: Origin and licence of the films, as reports name them.

    Raises:
        DataError: If a finding has no usable image, or too few patients to split.
        OutputError: If `output` cannot be written.
    """
    output_folder(output)
    dataset = read_chest_xray(root)
    problems = list(dataset.problems)
    records: list[XrayRecord] = []
    thumbnails: list[npt.NDArray[np.float32]] = []
    sizes: list[tuple[int, int]] = []
    hashes: list[str] = []
    seen: dict[str, XrayRecord] = {}
    for index, record in enumerate(dataset.records):
        show_progress(index, len(dataset.records), record.image.name)
        try:
            pixels = _usable_pixels(record.image)
            digest = pixel_hash(pixels)
            first = seen.setdefault(digest, record)
            if first is not record:
                is_same = first.finding is record.finding
                doubt = "" if is_same else f" under {first.finding}: one of the two is wrong"
                raise DataError(
                    f"expected each image once, found {record.image} to be the same as {first.image}{doubt}"
                )
        except DataError as error:
            problems.append(Problem(record.patient, record.image, str(error)))
            continue
        records.append(record)
        thumbnails.append(thumbnail(pixels))
        sizes.append((pixels.shape[1], pixels.shape[0]))
        hashes.append(digest)
    for finding in Finding:
        patients = {record.patient for record in records if record.finding is finding}
        if len(patients) < len(FRACTIONS):
            raise DataError(
                f"expected at least {len(FRACTIONS)} patients under {finding} to train, validate and test, "
                f"found {len(patients)} below {root}"
            )
    pairs = near_duplicates(thumbnails)
    together = joined([record.patient for record in records], pairs)
    units = [together[record.patient] if split == "patient" else str(record.image) for record in records]
    parts = split_by_fraction(_strata(units, records), FRACTIONS, seed=seed)
    images = [
        _item(record, size, parts[unit], digest)
        for record, size, unit, digest in zip(records, sizes, units, hashes, strict=True)
    ]
    path = output / DATALIST_NAME
    fingerprints = "".join(item["fingerprint"] for item in images)
    content = {
        "format": 1,
        "task": "chest_xray",
        "root": root.resolve(),
        "source": source,
        "split": split,
        "leaks_patients": split != "patient",
        "seed": seed,
        "split_hash": split_hash(parts),
        "fingerprint": hashlib.sha256(fingerprints.encode()).hexdigest()[:16],
        "images": images,
        "near_duplicates": [[images[i]["image"], images[j]["image"]] for i, j in pairs],
        "put_aside": [asdict(problem) for problem in problems],
    }
    write_json(path, content)
    return XrayPreparation(path, len({r.patient for r in records}), len(records), len(pairs), problems)


@progress_to(None)
def load_or_prepare(dataset_dir: str | Path, output: str | Path, *, seed: int = 0) -> dict[str, Any]:
    """Datalist of a prepared folder, or of a raw one, which is prepared first.

    Args:
        dataset_dir: Folder with a `datalist.json`, or with `NORMAL` and `PNEUMONIA` below it.
        output: Folder that takes the datalist of a raw folder; it is made again on each call.
        seed: Seed of the split of a raw folder.

    Raises:
        DataError: As for `prepare_chest_xray`, and if a datalist cannot be read.
    """
    folder = Path(dataset_dir)
    if not (folder / DATALIST_NAME).is_file():
        folder = prepare_chest_xray(folder, Path(output), seed=seed).datalist.parent
    return read_datalist(folder, kind="images")


def select(datalist: Mapping[str, Any], section: Section) -> list[dict[str, Any]]:
    """Items `{"image", "label", "patient", ...}` of one section of a datalist.

    Raises:
        DataError: If the section is empty.
    """
    items = [item for item in datalist["images"] if item["part"] == section]
    if not items:
        raise DataError(f"expected images in the {section} section, found none; prepare the data again")
    return items


def section_records(root: Path, section: Section, fold: int = 0) -> list[XrayRecord] | None:
    """Images of a section, if `root` is a datalist or has one; None if it is a dataset's folder.

    Args:
        root: Datalist, folder of one, or folder of a dataset.
        section: Which images.
        fold: Always 0: a datalist of radiographs has one validation section.

    Raises:
        ConfigError: If there is no such fold.
        DataError: As for `read_datalist` and `select`.
    """
    if fold != 0:
        raise ConfigError(f"expected fold 0, the only one of radiographs, found {fold}; leave it out")
    if not is_datalist(root):
        return None
    return xray_records(select(read_datalist(root, kind="images"), section))


def xray_records(items: Sequence[Mapping[str, Any]]) -> list[XrayRecord]:
    """Images that items of a datalist describe."""
    return [
        XrayRecord(item["patient"], Finding(item["finding"]), item["agent"], Path(item["image"]))
        for item in items
    ]


def class_weights(items: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """`(2,)` float32 weights of the loss, inverse to the counts of the classes, with mean 1.

    Raises:
        DataError: If a class has no image.
    """
    counts = np.bincount([item["label"] for item in items], minlength=len(Finding))
    if not counts.all():
        raise DataError(f"expected training images of both classes, found {counts.tolist()}")
    shares = 1 / counts
    return torch.tensor(shares / shares.mean(), dtype=torch.float32)


def _usable_pixels(path: Path) -> npt.NDArray[np.float32]:
    image = read_xray(path)
    if image.colourfulness > MAX_COLOUR:
        raise DataError(f"expected a grey radiograph, found a colour picture in {path}")
    if float(np.ptp(image.pixels)) == 0:
        raise DataError(f"expected a radiograph, found one grey value everywhere in {path}")
    return image.pixels


def _strata(units: Sequence[str], records: Sequence[XrayRecord]) -> dict[str, str]:
    """Stratum of each unit of the split: its finding and agent; of several, the last by name."""
    found: dict[str, list[str]] = defaultdict(list)
    for unit, record in zip(units, records, strict=True):
        found[unit].append(f"{record.finding} {record.agent}")
    return {unit: max(strata) for unit, strata in found.items()}


def _item(record: XrayRecord, size: tuple[int, int], part: str, digest: str) -> Mapping[str, Any]:
    return {
        "image": str(record.image.resolve()),
        "patient": record.patient,
        "finding": record.finding.value,
        "label": list(Finding).index(record.finding),
        "agent": record.agent,
        "width_px": size[0],
        "height_px": size[1],
        "part": part,
        "fingerprint": fingerprint(record.image),
        "content_hash": digest,
    }
