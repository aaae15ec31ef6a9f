"""The studies of a cohort: from a manifest, or found below a folder."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from pipelines.core.errors import DataError, cause
from pipelines.core.records import Problem
from pipelines.inference.inputs import Study, StudyKind, UniqueNames, find_studies

MANIFEST_SUFFIXES: Final = (".csv", ".parquet")

PATH_COLUMNS: Final = ("paths", "path")
"""Columns that may hold the files of a study; the first that is there counts."""

SEPARATOR: Final = ";"
"""Between several paths in one cell."""


@dataclass(frozen=True, slots=True)
class CohortStudy:
    """Where a study lies; nothing of it has been read.

    Attributes:
        name: Unique in the cohort, safe for file names.
        patient: Identifier as the source gives it.
        paths: NIfTI or DICOM files, or folders of them.
    """

    name: str
    patient: str
    paths: tuple[str, ...]

    def as_json(self) -> str:
        """The study as text, to be sent to another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "CohortStudy":
        """The study that `as_json` wrote."""
        content = json.loads(text)
        return cls(content["name"], content["patient"], tuple(content["paths"]))


def list_studies(source: Path) -> tuple[list[CohortStudy], list[Problem]]:
    """Studies of a manifest, or those below a folder.

    A manifest is a table with a row a study and the column `paths` (or `path`): files or a
    folder, several with `;` between them or, in Parquet, as a list. They may be relative to the
    manifest's folder. `study` and `patient` name it; without them it is called after its first
    path. Nothing in a manifest is opened here, so that a missing file is that study's failure.

    Args:
        source: Existing CSV or Parquet file, or a folder or file as for `thorax segment`.

    Returns:
        Studies with unique names, and files below a folder that cannot be used.

    Raises:
        DataError: If there is no such source, it names no study, or a name or path is missing or doubled.
    """
    if source.suffix.lower() in MANIFEST_SUFFIXES and source.is_file():
        return _listed(source), []
    found, problems = find_studies([source])
    names, owners = UniqueNames(), _owners(found)
    studies = [
        CohortStudy(
            names.unique(study.patient if study.kind is StudyKind.PHASES else study.name),
            study.patient,
            tuple(str(path) for path in _shortest(study, owners)),
        )
        for study in found
    ]
    return studies, problems


def _owners(studies: Sequence[Study]) -> dict[Path, set[str]]:
    """Names of the studies with a file below each folder."""
    owners: dict[Path, set[str]] = {}
    for study in studies:
        for folder in {path.resolve().parent for image in study.images for path in image.files}:
            for place in (folder, *folder.parents):
                owners.setdefault(place, set()).add(study.name)
    return owners


def _shortest(study: Study, owners: Mapping[Path, set[str]]) -> list[Path]:
    """The files of a study, or the folder of a DICOM series that has no other: a series has hundreds."""
    folder = study.images[0].path.resolve()
    if study.kind is StudyKind.DICOM and owners.get(folder) == {study.name}:
        return [folder]
    return [path.resolve() for image in study.images for path in image.files]


def _listed(manifest: Path) -> list[CohortStudy]:
    table = _read_table(manifest)
    column = next((name for name in PATH_COLUMNS if name in table.columns), None)
    if column is None:
        raise DataError(f"expected a column 'paths' in {manifest}, found {', '.join(table.columns)}")
    folder, names, given = manifest.resolve().parent, UniqueNames(), set()
    studies = []
    for number, row in enumerate(table.to_dict("records"), start=1):
        paths = tuple(str(folder / path) for path in _paths(row[column]))
        if not paths:
            raise DataError(f"expected files in column '{column}' of {manifest}, found none in row {number}")
        wanted = _text(row.get("study"))
        if wanted in given:
            raise DataError(f"expected each study once in {manifest}, found {wanted} again in row {number}")
        if wanted:
            given.add(wanted)
        name = names.unique(wanted or _stem(paths[0]))
        if wanted and name != wanted:
            raise DataError(
                f"expected study names of letters, digits, dots and dashes that differ not only in case in "
                f"{manifest}, found {wanted!r} in row {number}; rename it"
            )
        studies.append(CohortStudy(name, _text(row.get("patient")) or name, paths))
    if not studies:
        raise DataError(f"expected a row for each study in {manifest}, found none")
    return studies


def _read_table(manifest: Path) -> pd.DataFrame:
    try:
        if manifest.suffix.lower() == ".parquet":
            return pd.read_parquet(manifest)
        with manifest.open(encoding="utf-8-sig") as stream:
            start = stream.readline()
        # Spreadsheets in many countries write semicolons; a comma in the first line has precedence.
        separator = ";" if ";" in start and "," not in start else ","
        return pd.read_csv(manifest, dtype=str, keep_default_na=False, sep=separator, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas and pyarrow raise kinds of ValueError
        raise DataError(f"expected a table of studies in {manifest}, found {cause(error)}") from error


def _paths(cell: Any) -> list[str]:
    if isinstance(cell, str):
        return [part.strip() for part in cell.split(SEPARATOR) if part.strip()]
    return [str(part) for part in cell] if isinstance(cell, Iterable) else []


def _text(cell: Any) -> str:
    return "" if cell is None or cell != cell else str(cell)  # NaN is not itself


def _stem(path: str) -> str:
    name = Path(path).name
    return name.removesuffix(".gz").removesuffix(".nii").removesuffix(".dcm")
