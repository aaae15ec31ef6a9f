"""Reader of M&Ms: short-axis cines as 4-D NIfTI and a table with ED and ES.

`ED` and `ES` in the table are numbers of frames counted from 0. Labels are 4-D as well, filled at these
two frames only. `Training/Unlabeled` has none.

References:
    Campello et al., IEEE TMI 40(12), 2021, doi:10.1109/TMI.2021.3090082; layout: https://www.ub.edu/mnms/
"""

import csv
import re
from pathlib import Path
from typing import Final

from pipelines.core.errors import DataError
from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Dataset, PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import read_grid
from pipelines.datasets.gather import check_root, gather
from pipelines.datasets.loading import NiftiSource

VALUES: Final = {1: AcdcLabel.LV, 2: AcdcLabel.MYO, 3: AcdcLabel.RV}
"""Meaning of the label values."""

COLUMNS: Final = ("External code", "ED", "ES")
"""Columns that the table must have."""


def read_mnms(root: Path) -> Dataset:
    """Patients of M&Ms with the frames at ED and ES.

    Args:
        root: Existing folder with one table (CSV) and the folders of patients at any depth.

    Raises:
        DataError: If there is no such folder, no table, or no usable patient.
    """
    check_root("mnms", root)
    table = _read_table(root)
    images = {path.name.removesuffix("_sa.nii.gz"): path for path in sorted(root.rglob("*_sa.nii.gz"))}

    def read(patient: str, image: Path) -> tuple[PatientRecord, list[Problem]]:
        if patient not in table:
            raise DataError(f"expected a row for {patient} in the table of M&Ms, found none")
        return _read_patient(patient, image, table[patient])

    dataset = gather("mnms", root, images, read, expected="files CODE_sa.nii.gz")
    for patient in sorted(table.keys() - images.keys()):
        dataset.problems.append(Problem(patient, root, f"expected {patient}_sa.nii.gz, found no such file"))
    return dataset


def _read_table(root: Path) -> dict[str, dict[str, str]]:
    for path in sorted(root.rglob("*.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                start = stream.readline()
                stream.seek(0)
                # Spreadsheets in many countries write semicolons.
                separator = ";" if start.count(";") > start.count(",") else ","
                rows = list(csv.DictReader(stream, delimiter=separator))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"expected a readable table, found {path}: {error}") from error
        if rows and all(column in rows[0] for column in COLUMNS):
            return {row["External code"]: row for row in rows}
    raise DataError(
        f"expected a CSV with the columns {', '.join(COLUMNS)} below {root}, found none; "
        "copy the table that comes with M&Ms into the folder"
    )


def _read_patient(patient: str, image: Path, row: dict[str, str]) -> tuple[PatientRecord, list[Problem]]:
    shape, spacing_mm = read_grid(image)
    frames = shape[3] if len(shape) == 4 else 1
    beside = image.with_name(f"{patient}_sa_gt.nii.gz")
    label = beside if beside.is_file() else None
    problems = []
    if label is None and "Unlabeled" not in image.parts:
        problems.append(Problem(patient, beside, f"expected the label {beside.name}, found no such file"))
    group = row.get("Pathology") or "unknown"
    volumes = []
    for phase in Phase:
        whole = re.fullmatch(r"(\d+)([.,]0*)?", (row[phase] or "").strip())
        index = int(whole[1]) if whole else -1
        if not 0 <= index < frames:
            reason = f"expected {phase} between frame 0 and {frames - 1}, found {row[phase]!r} in the table"
            problems.append(Problem(patient, image, reason))
            continue
        source = NiftiSource(image, label, VALUES, index)
        volumes.append(
            VolumeRecord(patient, group, phase, index + 1, spacing_mm, image, label, source=source)
        )
    record = PatientRecord(
        patient,
        group,
        tuple(volumes),
        cine=image,
        height_cm=_number(row.get("Height")),
        weight_kg=_number(row.get("Weight")),
        frames=frames,
    )
    return record, problems


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
