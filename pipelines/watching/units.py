"""What belongs together and is whole: single files, patients with an `Info.cfg`, DICOM series."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from pipelines.core.errors import DataError
from pipelines.core.volume import LABEL_MAP, is_label_map
from pipelines.datasets.dicom_file import UNREADABLE, group_series, has_image, is_dicom, read_header
from pipelines.datasets.xray_image import SUFFIXES, XRAY_MODALITIES
from pipelines.inference.inputs import DICOM_SUFFIXES, INFO_NAME, NIFTI_SUFFIXES, reason_against
from pipelines.watching.ledger import Ledger, Stamp, printable, stamp, stamps

TEXT_TAGS: Final = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "SeriesDescription",
)


@dataclass(frozen=True, slots=True)
class DicomTags:
    """Where a DICOM file belongs.

    Attributes:
        instance: SOPInstanceUID, or the file's path where it has none.
        series: SeriesInstanceUID, or the folder's path where it has none.
        study: StudyInstanceUID, or the folder's path where it has none.
        modality: As in the file, `""` if it does not say.
        description: SeriesDescription, `""` if there is none.
        instances: NumberOfSeriesRelatedInstances, or None where it is not told.
        is_image: Whether it has pixels.
    """

    instance: str
    series: str
    study: str
    modality: str
    description: str
    instances: int | None
    is_image: bool


def read_tags(path: Path) -> DicomTags:
    """Tags of a DICOM file without its pixels.

    Raises:
        DataError: If it is no DICOM file, is cut off, or NumberOfSeriesRelatedInstances is none.
    """
    header = read_header(path)
    try:
        number = header.get("NumberOfSeriesRelatedInstances")
        instance, series, study, modality, description = (str(header.get(tag) or "") for tag in TEXT_TAGS)
        is_image = has_image(header, path)
        instances = None if number is None else int(number)
    except UNREADABLE as error:
        raise DataError(f"expected tags as in the standard in {path}, found others: {error}") from error
    # An anonymiser may take all UIDs away; files of one folder then belong together.
    file, folder = printable(str(path)), printable(str(path.parent))
    uids = instance or file, series or folder, study or folder
    return DicomTags(*uids, modality, description, instances, is_image)


UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp")
"""Endings by which programs mark what they are still writing."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that nothing has been done with yet.

    Attributes:
        path: Where it is.
        stamp: Its size and time.
        still_s: Seconds for which it has been seen unchanged.
    """

    path: Path
    stamp: Stamp
    still_s: float


@dataclass(slots=True)
class Arrivals:
    """Looks at folders again and again, and remembers since when each new file has not changed.

    The times of files are not trusted for that, since copies may carry those of the original from the
    beginning: a file has to be seen twice.

    Attributes:
        folders: Existing folders, searched with their sub-folders; hidden files are passed over.
        ledger: Knows the files that have been dealt with.
        leave_out: Folder that is not searched, without links in it: that of the results.
        clock: Seconds that never go back.
    """

    folders: Sequence[Path]
    ledger: Ledger
    leave_out: Path
    clock: Callable[[], float] = time.monotonic
    _since: dict[Path, tuple[Stamp, float]] = field(default_factory=dict, init=False)

    def look(self) -> list[Arrival]:
        """New files in the order of their paths; only these are held in memory."""
        now = self.clock()
        since: dict[Path, tuple[Stamp, float]] = {}
        for folder in self.folders:
            for path in self._files(folder):
                found = stamp(path)
                if found is None or self.ledger.knows(path, found):
                    continue
                before = self._since.get(path)
                since[path] = before if before is not None and before[0] == found else (found, now)
        self._since = since
        return [Arrival(path, found, now - first) for path, (found, first) in sorted(since.items())]

    def _files(self, top: Path) -> Iterator[Path]:
        for folder, subfolders, names in os.walk(top):
            subfolders[:] = [
                name
                for name in subfolders
                if not name.startswith(".") and (Path(folder) / name).resolve() != self.leave_out
            ]
            for name in names:
                if not name.startswith((".", "~")) and not name.lower().endswith(UNFINISHED):
                    yield Path(folder) / name


PICTURE_SUFFIXES: Final = tuple(suffix for suffix in SUFFIXES if suffix not in DICOM_SUFFIXES)

HEART_MODALITIES: Final = ("MR", "")

UNWANTED_SERIES: Final = "another series:"
"""How the reason begins why a series is passed over that `--series` does not name."""

PATIENCE: Final = 10
"""A series that lacks instances, and an empty file, get this many times the usual wait."""


class Kind(StrEnum):
    """What is to be done with an input."""

    HEART = "heart"
    XRAY = "xray"


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that make one study.

    Attributes:
        kind: What is to be done with it.
        name: For people, from the file, folder or patient.
        origin: What stays the same when more of it arrives: a path, or the UID of a DICOM series.
        files: All files of it, in the order of their paths.
        dicom_study: UID of the DICOM study, or None.
        problem: Why it cannot be used, `""` if nothing is known against it.
    """

    kind: Kind
    name: str
    origin: str
    files: tuple[Path, ...]
    dicom_study: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long nothing may have changed.

    Attributes:
        file_s: A single file, seconds.
        group_s: Files that belong together: a DICOM study, a folder with an `Info.cfg`, seconds.
    """

    file_s: float
    group_s: float


@dataclass(slots=True)
class Units:
    """Sorts new files into studies; what is no input is passed over in the ledger.

    Attributes:
        ledger: Knows the files that have been dealt with, and learns of those passed over.
        waits: How long nothing may have changed.
        series: Only DICOM series of hearts whose description this is found in, None for all.
        whole: Folder whose files are complete as soon as they are there.
        waiting: Files that `ready` held back when it was last called, since more may come.
    """

    ledger: Ledger
    waits: Waits
    series: re.Pattern[str] | None = None
    whole: Path | None = None
    waiting: int = field(default=0, init=False)
    _tags: dict[Path, DicomTags | None] = field(default_factory=dict, init=False)

    def ready(self, arrivals: Sequence[Arrival]) -> Iterator[Unit]:
        """Studies that are whole, single files first.

        Args:
            arrivals: All new files.
        """
        # What has changed since the last look is still for no time, and is read anew.
        same = [one.path for one in arrivals if one.still_s > 0]
        self._tags = {path: self._tags[path] for path in same if path in self._tags}
        self.waiting = 0
        dicom: list[Arrival] = []
        patients: dict[Path, list[Arrival]] = defaultdict(list)
        for one in arrivals:
            name = one.path.name
            if self._still_s(one) < self.waits.file_s * (1 if one.stamp.size else PATIENCE):
                self.waiting += 1
                continue
            if is_label_map(one.path):
                self.ledger.ignore_files({one.path: one.stamp}, LABEL_MAP)
            elif name.lower().endswith(NIFTI_SUFFIXES):
                if (one.path.parent / INFO_NAME).is_file():
                    patients[one.path.parent].append(one)
                else:
                    yield _single(Kind.HEART, one.path)
            elif name.lower().endswith(PICTURE_SUFFIXES):
                yield _single(Kind.XRAY, one.path)
            elif name.lower().endswith(DICOM_SUFFIXES) or is_dicom(one.path):
                dicom.append(one)
            elif name != INFO_NAME:
                self.ledger.ignore_files({one.path: one.stamp}, reason_against(one.path))
        for folder, found in patients.items():
            beside = (self._still_s(one) for one in arrivals if one.path.parent == folder)
            if min(beside) >= self.waits.group_s:
                yield _patient(folder, found)
            else:
                self.waiting += len(found)
        yield from self._dicom(dicom)

    def _still_s(self, one: Arrival) -> float:
        is_whole = self.whole is not None and one.path.is_relative_to(self.whole)
        return float("inf") if is_whole else one.still_s

    def _dicom(self, arrivals: list[Arrival]) -> Iterator[Unit]:
        studies: dict[str, list[Arrival]] = defaultdict(list)
        for one in arrivals:
            tags = self._read(one.path)
            if tags is None:
                yield _single(Kind.HEART, one.path)
            elif reason := self._reason_against(tags):
                self.ledger.ignore_files({one.path: one.stamp}, reason, tags.study)
            elif tags.modality in XRAY_MODALITIES:
                yield Unit(Kind.XRAY, printable(one.path.stem), tags.instance, (one.path,), tags.study)
            else:
                studies[tags.study].append(one)
        for uid, new in studies.items():
            quiet_s = min(map(self._still_s, new))
            if quiet_s >= self.waits.group_s:
                yield from self._series_of(uid, new, quiet_s)
            else:
                self.waiting += len(new)

    def _reason_against(self, tags: DicomTags) -> str:
        if tags.modality not in (*HEART_MODALITIES, *XRAY_MODALITIES):
            return f"DICOM of modality {tags.modality}"
        if not tags.is_image:
            return "DICOM without an image"
        is_heart = tags.modality in HEART_MODALITIES
        if is_heart and self.series is not None and not self.series.search(tags.description):
            return f"{UNWANTED_SERIES} {tags.description!r}"
        return ""

    def _series_of(self, uid: str, new: list[Arrival], quiet_s: float) -> Iterator[Unit]:
        """Series of one study with files that are new, together with their files that are known."""
        arrived = {one.path: one for one in new}
        known = [
            path for path in stamps(self.ledger.files_of(uid)) if path not in arrived and self._is_heart(path)
        ]
        found, problems = group_series([*arrived, *known])
        for problem in problems:
            if problem.path in arrived:
                yield replace(_single(Kind.HEART, problem.path), dicom_study=uid, problem=problem.reason)
        for series in found:
            if arrived.keys().isdisjoint(series.files):
                continue
            tags = [one for one in map(self._read, series.files) if one is not None]
            missing = _missing(tags)
            if missing and quiet_s < PATIENCE * self.waits.group_s:
                self.waiting += len(series.files)
                continue
            origin = min(one.series for one in tags)
            if sum(other.uids == series.uids for other in found) > 1:
                origin += f" of {printable(series.patient)}"  # an anonymiser gave two patients one UID
            name = printable(series.files[0].parent.name)
            yield Unit(Kind.HEART, name, origin, series.files, uid, missing)

    def _is_heart(self, path: Path) -> bool:
        tags = self._read(path)
        return tags is not None and tags.modality in HEART_MODALITIES and not self._reason_against(tags)

    def _read(self, path: Path) -> DicomTags | None:
        if path not in self._tags:
            try:
                self._tags[path] = read_tags(path)
            except DataError:
                self._tags[path] = None
        return self._tags[path]


def _single(kind: Kind, path: Path) -> Unit:
    name = re.sub(r"\.nii(\.gz)?$|\.[^.]*$", "", path.name, flags=re.IGNORECASE)
    return Unit(kind, printable(name), printable(str(path)), (path,))


def _patient(folder: Path, found: list[Arrival]) -> Unit:
    """All images of a folder with an `Info.cfg`, those that are known too."""
    images = {one.path for one in found} | {
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(NIFTI_SUFFIXES)
        and not path.name.startswith(".")
        and path.is_file()
        and not is_label_map(path)
    }
    files = (*sorted(images), folder / INFO_NAME)
    return Unit(Kind.HEART, printable(folder.name), printable(str(folder)), files)


def _missing(tags: list[DicomTags]) -> str:
    """What a series lacks, where its files tell how many there are; else `""`."""
    instances = {one.series: {other.instance for other in tags if other.series == one.series} for one in tags}
    for one in tags:
        if one.instances is not None and len(instances[one.series]) < one.instances:
            return (
                f"expected {one.instances} instances in series {one.series}, "
                f"found {len(instances[one.series])}; copy the missing ones"
            )
    return ""
