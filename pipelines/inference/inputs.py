"""What there is to segment: NIfTI files, DICOM series and ACDC patients below given paths."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from pipelines.core.cardiac import PatientFacts
from pipelines.core.errors import DataError
from pipelines.core.files import plain
from pipelines.core.records import Phase, Problem
from pipelines.core.volume import LABEL_MAP, Volume, is_label_map, read_volume
from pipelines.datasets.dicom import read_series
from pipelines.datasets.dicom_file import Series, group_series, is_dicom, read_facts
from pipelines.datasets.nifti_releases import info_facts, read_info

NIFTI_SUFFIXES = (".nii.gz", ".nii")
DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
PAIR_SUFFIXES = (".hdr", ".img")
MAX_NAME = 180
"""Bytes of the longest name of a study: file systems allow 255, and endings come to it."""
INFO_NAME = "Info.cfg"
"""Names the phases of the frames beside it, as in ACDC."""


class StudyKind(StrEnum):
    """How a study is stored."""

    NIFTI = "nifti"
    DICOM = "dicom"
    PHASES = "phases"


Check = Callable[[Path], None]
"""Raises `DataError` for a file, or a link to a folder, that must not be opened."""


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One image of a study, not yet read.

    Attributes:
        name: Unique among all images of a run, safe for file names.
        path: NIfTI file, or folder of the DICOM series.
        load: Reads `(X, Y, Z)` or `(X, Y, Z, T)`; raises `DataError` for bad input.
        phase: Moment of the cardiac cycle, or None where it is unknown.
        frame: Number in the cine, 1-based as in `Info.cfg`, or None where unknown.
        files: All files that it is read from.
    """

    name: str
    path: Path
    load: Callable[[], Volume] = field(compare=False)
    phase: Phase | None = None
    frame: int | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Study:
    """The images of one patient that are measured together.

    Attributes:
        name: Unique among all studies of a run, safe for file names.
        patient: Identifier as the source gives it.
        kind: How it is stored.
        images: One cine or volume, or the volumes at ED and ES with known phases.
        read_facts: Reads what its files tell of the patient; raises `DataError` for bad input.
    """

    name: str
    patient: str
    kind: StudyKind
    images: tuple[StudyImage, ...]
    read_facts: Callable[[], PatientFacts] = field(default=PatientFacts, compare=False)


@dataclass(frozen=True, slots=True)
class FoundStudies:
    """What there is below some paths.

    Attributes:
        studies: With unique names, in the order met.
        problems: Files or folders that cannot be used, with the reason.
        passed_over: Files below folders that are no images, with the reason; hidden ones are left out.
    """

    studies: list[Study]
    problems: list[Problem]
    passed_over: list[Problem]


def find_studies(inputs: Sequence[Path]) -> FoundStudies:
    """Studies below the given paths and what cannot be used; see `look_for_studies`.

    Args:
        inputs: As for `look_for_studies`.

    Raises:
        DataError: If a path does not exist, or no image is found in all of them.
    """
    found = look_for_studies(inputs)
    if not found.studies:
        against = (*found.problems, *found.passed_over)
        reasons = "; ".join(f"{problem.path}: {problem.reason}" for problem in against[:3])
        places = ", ".join(str(path) for path in inputs) or "no input"
        raise DataError(
            f"expected NIfTI files or DICOM series, found none in {places}" + f" ({reasons})" * bool(reasons)
        )
    return found


def look_for_studies(inputs: Sequence[Path], *, check: Check | None = None) -> FoundStudies:
    """Studies below the given paths, in the order given, what cannot be used and what is no image.

    A folder is searched with its sub-folders; label maps, files of other kinds and
    hidden ones are passed over. Files beside an ACDC `Info.cfg` form one
    study: the 4-D cine if it is among them, else the ED and ES frames. Images are
    not read here, but for a slice that tells a label map.

    Args:
        inputs: Existing NIfTI files, DICOM files, or folders of them in any mixture.
        check: Called for each file and each link to a folder before it is opened.

    Raises:
        DataError: If a path does not exist.
    """
    for path in inputs:
        if not path.exists():
            raise DataError(f"expected a NIfTI file, a DICOM series or a folder, found nothing at {path}")
    nifti: dict[Path, list[Path]] = {}
    dicom: list[Path] = []
    problems: list[Problem] = []
    passed_over: list[Problem] = []
    first: dict[Path, Path] = {}  # of paths that name one file
    for path in files_below(inputs, check, problems):
        first.setdefault(path.resolve(), path)
    for path in first.values():
        if path not in inputs and is_label_map(path):
            passed_over.append(Problem(path.stem, path, f"passed over: {LABEL_MAP}"))
        elif path.name.lower().endswith(NIFTI_SUFFIXES):
            nifti.setdefault(path.parent, []).append(path)
        elif path.suffix.lower() in DICOM_SUFFIXES or is_dicom(path):
            dicom.append(path)
        elif path in inputs:
            problems.append(Problem(path.stem, path, reason_against(path)))
        elif path.name != INFO_NAME:
            passed_over.append(Problem(path.stem, path, f"passed over: {reason_against(path)}"))
    names: set[str] = set()
    studies: list[Study] = []
    for folder, paths in nifti.items():
        found, faults = _nifti_studies(folder, paths, names, check)
        studies += found
        problems += faults
    series, unreadable = group_series(dicom)
    studies += [_dicom_study(one, names) for one in series]
    problems += unreadable
    return FoundStudies(studies, problems, passed_over)


def phase_frames(path: Path) -> dict[Phase, int]:
    """1-based frame numbers of ED and ES in an `Info.cfg`; one of them may be absent.

    Args:
        path: Existing `Info.cfg` of an ACDC patient.

    Raises:
        DataError: If it cannot be read, names neither phase, or a frame is no number from 1.
    """
    info = read_info(path)
    frames: dict[Phase, int] = {}
    for phase in Phase:
        if phase in info:
            match = re.fullmatch(r"(\d+)(\.0*)?", info[phase])
            if match is None or int(match[1]) < 1:
                raise DataError(
                    f"expected a frame number from 1 for {phase} in {path}, found {info[phase]!r}"
                )
            frames[phase] = int(match[1])
    if not frames:
        raise DataError(f"expected ED and ES in {path}, found {sorted(info)}")
    return frames


def unique_name(wanted: str, taken: set[str]) -> str:
    """`wanted` as far as files may be called so, with a number if it is taken even where case is ignored.

    Args:
        wanted: Letters and digits of any script stay; a long one is cut.
        taken: Names given before, in lower case; gets this one.
    """
    safe = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", wanted)).strip("._") or "study"
    safe = safe.encode()[:MAX_NAME].decode(errors="ignore")
    name, number = safe, 1
    while name.lower() in taken:
        number += 1
        name = f"{safe}_{number}"
    taken.add(name.lower())
    return name


def require_images(inputs: Sequence[Path]) -> None:
    """Fail if there is nothing to segment, before anything heavy is imported; stops at the first image.

    Raises:
        DataError: As `find_studies`.
    """
    suffixes = (*NIFTI_SUFFIXES, *DICOM_SUFFIXES)
    if not any(
        (path.name.lower().endswith(suffixes) or is_dicom(path))
        and (path in inputs or not is_label_map(path))
        for path in files_below(inputs)
    ):
        find_studies(inputs)


def files_below(
    inputs: Sequence[Path], check: Check | None = None, problems: list[Problem] | None = None
) -> Iterator[Path]:
    """Files that were given, and those below folders that may be opened, without hidden ones.

    Args:
        inputs: Existing files and folders.
        check: Called for each file and each link to a folder below a folder, before it is opened.
        problems: Gets pipes, devices, and what `check` refuses.
    """

    def may_open(path: Path) -> bool:
        try:
            if not (path.is_file() or path.is_dir()):
                raise DataError(f"expected a regular file, found a pipe, a device or a broken link at {path}")
            if check is not None:
                check(path)
        except DataError as error:
            if problems is not None:
                problems.append(Problem(path.name, path, str(error)))
            return False
        return True

    for path in inputs:
        if path.is_file():
            yield path
            continue
        seen: set[Path] = set()
        for folder, subfolders, files in os.walk(path, followlinks=True):
            real = Path(folder).resolve()
            subfolders[:] = [
                name
                for name in (sorted(subfolders) if real not in seen else ())
                if not name.startswith(".")
                and (not (Path(folder) / name).is_symlink() or may_open(Path(folder) / name))
            ]
            seen.add(real)
            yield from (
                Path(folder) / name
                for name in sorted(files)
                if not name.startswith(".") and may_open(Path(folder) / name)
            )


def reason_against(path: Path) -> str:
    """Why a file is not taken as an image."""
    if path.suffix.lower() in PAIR_SUFFIXES:
        return (
            "expected one NIfTI file, found half of a pair of .hdr and .img; convert the pair to .nii.gz, as "
            "nibabel does: nib.save(nib.load('a.hdr'), 'a.nii.gz')"
        )
    return "expected a NIfTI or DICOM file, found neither; convert images to .nii.gz and unpack archives"


def _nifti_studies(
    folder: Path, paths: list[Path], names: set[str], check: Check | None
) -> tuple[list[Study], list[Problem]]:
    """Studies of one folder's files; those that `Info.cfg` does not explain stay single."""
    info, patient = folder / INFO_NAME, plain(folder.resolve().name)
    if not info.is_file():
        return [_single(path, names) for path in paths], []
    cine = next((path for path in paths if _stem(path.name).endswith("_4d")), None)
    if cine is not None:
        return [replace(_single(cine, names, patient), read_facts=partial(info_facts, folder))], []
    try:
        if check is not None:
            check(info)
        frames = phase_frames(info)
    except DataError as error:
        return [_single(path, names) for path in paths], [Problem(patient, info, str(error))]
    numbered = ((re.search(r"_frame(\d+)$", _stem(path.name)), path) for path in paths)
    by_frame = {int(match[1]): path for match, path in numbered if match}
    problems = [
        Problem(
            patient, info, f"expected the file of frame {frame} ({phase}), found no such file in {folder}"
        )
        for phase, frame in frames.items()
        if frame not in by_frame and not any(folder.glob(f"*_frame{frame:02d}.nii*"))
    ]
    images = tuple(
        StudyImage(
            unique_name(_stem(by_frame[frame].name), names),
            by_frame[frame],
            partial(read_volume, by_frame[frame]),
            phase,
            frame,
            (by_frame[frame],),
        )
        for phase, frame in frames.items()
        if frame in by_frame
    )
    if not images:
        return [_single(path, names) for path in paths], problems
    facts = partial(info_facts, folder)
    return [Study(images[0].name, patient, StudyKind.PHASES, images, facts)], problems


def _single(path: Path, names: set[str], patient: str | None = None) -> Study:
    name = unique_name(_stem(path.name), names)
    patient = patient or plain(unicodedata.normalize("NFC", _stem(path.name)))
    image = StudyImage(name, path, partial(read_volume, path), files=(path,))
    return Study(name, patient, StudyKind.NIFTI, (image,))


def _dicom_study(series: Series, names: set[str]) -> Study:
    folder = Path(os.path.commonpath([path.resolve().parent for path in series.files]))
    name = unique_name(folder.name, names)
    image = StudyImage(name, folder, partial(read_series, series.files), files=tuple(series.files))
    facts = partial(read_facts, series.files[0])
    return Study(name, series.patient or name, StudyKind.DICOM, (image,), facts)


def _stem(name: str) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", name, flags=re.IGNORECASE)
