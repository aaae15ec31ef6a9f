"""Reader of folders of chest radiographs with `NORMAL/` and `PNEUMONIA/` below them.

References:
    Kermany, Zhang, Goldbaum, Mendeley Data v3, 2018, doi:10.17632/rscbjbr9sj.3.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pipelines.core.errors import DataError
from pipelines.core.records import Problem
from pipelines.datasets.xray_image import SUFFIXES

PNEUMONIA_NAME: Final = re.compile(r"(?P<patient>person\d+)_(?P<agent>bacteria|virus)_\d+")
NORMAL_NAME: Final = re.compile(r"(?P<patient>(?:NORMAL2-)?IM-\d+)-\d+")


class Finding(StrEnum):
    """What a radiograph is filed under; the order is that of the classes 0 and 1."""

    NORMAL = "NORMAL"
    PNEUMONIA = "PNEUMONIA"


def decide(probability: float, threshold: float) -> Finding:
    """What a probability of pneumonia means at a threshold: from it on, pneumonia."""
    return Finding.PNEUMONIA if probability >= threshold else Finding.NORMAL


@dataclass(frozen=True, slots=True)
class XrayRecord:
    """One chest radiograph.

    Attributes:
        patient: Identifier from the file name, e.g. `"person123"`; the file's stem where the name tells none.
        finding: Folder it lies in.
        agent: `"bacteria"` or `"virus"` from the file name, `""` where it tells none.
        image: Path of the image file.
    """

    patient: str
    finding: Finding
    agent: str
    image: Path


@dataclass(frozen=True, slots=True)
class ChestXrayDataset:
    """What a folder of radiographs holds.

    Attributes:
        records: Images by path.
        problems: Files put aside, and names that tell no patient (these are kept).
    """

    records: list[XrayRecord]
    problems: list[Problem]


def read_chest_xray(root: Path) -> ChestXrayDataset:
    """Images of all folders `NORMAL` and `PNEUMONIA` below a folder; pixels are not read.

    Args:
        root: Existing folder: a release with `train`, `test` and `val`, or any folder
            with folders of these names at any depth.

    Returns:
        Images and problems. An image whose name tells no patient is a patient of its own.

    Raises:
        DataError: If there is no such folder, or images of one finding only.
    """
    if not root.is_dir():
        raise DataError(f"expected a folder with NORMAL and PNEUMONIA below it, found nothing at {root}")
    records: list[XrayRecord] = []
    problems: list[Problem] = []
    for finding in Finding:
        for folder in sorted(path for path in root.rglob(finding.value) if path.is_dir()):
            for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
                if path.suffix.lower() not in SUFFIXES:
                    reason = f"expected a name that ends in {', '.join(SUFFIXES)}, found {path.name}"
                    problems.append(Problem(path.stem, path, reason))
                    continue
                record = read_name(path, finding)
                if record.patient == path.stem:
                    reason = (
                        f"expected a patient in the name, found {path.name}; kept as a patient of its own"
                    )
                    problems.append(Problem(path.stem, path, reason))
                records.append(record)
    counts = {finding: sum(record.finding is finding for record in records) for finding in Finding}
    if not all(counts.values()):
        found = ", ".join(f"{count} in {finding}" for finding, count in counts.items())
        raise DataError(f"expected images in NORMAL and in PNEUMONIA below {root}, found {found}")
    return ChestXrayDataset(records, problems)


def read_name(path: Path, finding: Finding) -> XrayRecord:
    """Record of an image from its name and the folder it is filed under."""
    match = PNEUMONIA_NAME.match(path.name) or NORMAL_NAME.match(path.name)
    if match is None:
        return XrayRecord(path.stem, finding, "", path)
    return XrayRecord(match["patient"], finding, match.groupdict().get("agent") or "", path)
