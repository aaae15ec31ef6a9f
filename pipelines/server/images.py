"""The images of a studies folder as a labelling client gets them: one volume of one phase each."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from pipelines.core.errors import DataError, ThoraxError
from pipelines.core.files import read_json, write_json
from pipelines.core.records import Phase, Problem
from pipelines.core.volume import Volume, write_image
from pipelines.datasets.dicom import read_series
from pipelines.datasets.duplicates import check_coverage
from pipelines.inference.inputs import (
    INFO_NAME,
    Study,
    StudyImage,
    StudyKind,
    files_below,
    look_for_studies,
    phase_frames,
)
from pipelines.server.admission import check_dicom, check_study, check_within, claimed_shape
from pipelines.server.measurements import note_warnings
from pipelines.server.worker import PARSER

logger = logging.getLogger(__name__)

WORK_FOLDER: Final = ".thorax"
"""Folder in the studies folder for what the server derives; hidden, so that it is no study."""

PhaseFinder = Callable[[Volume], tuple[int, int]]
"""Finds ED and ES of a cine `(X, Y, Z, T)`: 0-based frames."""


@dataclass(frozen=True, slots=True)
class ServedImage:
    """One volume that clients can ask for.

    Attributes:
        id: Name that clients use; letters, digits, `.`, `_` and `-` only.
        patient: Identifier as the source gives it.
        path: Existing NIfTI file `(X, Y, Z)`.
        phase: Moment of the cardiac cycle, or None where it is unknown.
        frame: Number in the cine, 1-based, or None where unknown.
        partner: Id of the same patient's other phase, or None.
        cine: The cine that it is a frame of, or None where there is none.
        dicom: Files of the DICOM series that it is of, empty for others.
    """

    id: str
    patient: str
    path: Path
    phase: Phase | None = None
    frame: int | None = None
    partner: str | None = None
    cine: StudyImage | None = None
    dicom: tuple[Path, ...] = ()


class StudyImages:
    """Images of a folder by id. An id, once given to a file, stays with it.

    Args:
        root: Existing folder with NIfTI files, DICOM series or ACDC patients.
        find_phases: Finds ED and ES in a cine that no `Info.cfg` explains.
    """

    def __init__(self, root: Path, find_phases: PhaseFinder) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.passed_over: list[Problem] = []
        self._find_phases = find_phases
        self._lock = threading.Lock()
        self._images: dict[str, ServedImage] = {}
        self._names_path = root / WORK_FOLDER / "names.json"
        self._names: dict[str, str] = {}
        if self._names_path.is_file():
            self._names = read_json(self._names_path)
        self._taken = {name.lower() for name in self._names.values()}
        self._names_saved = True
        self._failed: dict[str, int] = {}
        self._stamp: frozenset[tuple[str, int, int]] | None = None

    def get(self, image_id: str) -> ServedImage | None:
        """The image with this id, or None; an id is looked up and never made into a path."""
        return self._images.get(image_id)

    def all(self) -> list[ServedImage]:
        """All images, those of a patient one after the other, ED first."""
        return list(self._images.values())

    def scan(self, *, unfold: bool = True) -> None:
        """Look at the folder again.

        Args:
            unfold: Whether cines are split into ED and ES and DICOM series converted, which takes
                an inference a frame at the first time; without it they are left for the next scan.
        """
        looked = look_for_studies([self.root], check=partial(check_study, root=self.root))
        problems = looked.problems
        found: dict[str, ServedImage] = {}
        later: list[Study] = []
        for study in looked.studies:
            try:
                images = self._plain(study)
            except DataError as error:
                problems.append(Problem(study.patient, study.images[0].path, str(error)))
                continue
            if images is None:
                later.append(study)
            else:
                found |= {image.id: image for image in images}
        for study in later:
            found |= {image.id: image for image in self._unfolded(study) or ()}
        self._publish(found, problems)
        self.passed_over = looked.passed_over
        for study in later if unfold else ():
            if self._unfolded(study) is not None:
                continue
            try:
                found |= {image.id: image for image in self._unfold(study)}
            except ThoraxError as error:
                self._failed[self._key(study.images[0].path)] = study.images[0].path.stat().st_mtime_ns
                problems.append(Problem(study.patient, study.images[0].path, str(error)))
            self._publish(found, problems)

    def refresh(self) -> None:
        """Look at the folder again if a file in it came, went or changed since this was last called."""
        stamp = frozenset(
            (str(place), (status := place.stat()).st_mtime_ns, status.st_size)
            for place in files_below([self.root], partial(check_within, root=self.root))
            if place.suffix != ".json" and not place.is_relative_to(self.root / "labels")  # its own
        )
        if stamp != self._stamp:
            self.scan()
            self._stamp = stamp

    def _publish(self, found: dict[str, ServedImage], problems: list[Problem]) -> None:
        self._save_names()
        self._images = dict(found)
        self.problems = list(problems)

    def _plain(self, study: Study) -> list[ServedImage] | None:
        """The images of a study that can be sent as they are, None if it has to be unfolded first."""
        if study.kind is StudyKind.DICOM or any(_frames(image.path) > 1 for image in study.images):
            return None
        ids = [self._name(self._key(image.path), image.name) for image in study.images]
        images = [
            ServedImage(name, study.patient, image.path, image.phase, image.frame)
            for name, image in zip(ids, study.images, strict=True)
        ]
        return _paired(images)

    def _unfolded(self, study: Study) -> list[ServedImage] | None:
        """What was derived from a study before, an empty list if that failed, None if it is new."""
        key = self._key(study.images[0].path)
        if self._failed.get(key) == study.images[0].path.stat().st_mtime_ns:
            return []
        images = []
        for phase in (None, *Phase):
            name = self._names.get(f"{key}:{phase or ''}")
            if name and (path := self._derived_path(name)).is_file():
                note = path.with_name(f"{name}.json")
                frame = int(read_json(note)["frame"]) if note.is_file() else None
                images.append(_derived(study, name, path, phase, frame))
        return _paired(images) or None

    def _unfold(self, study: Study) -> list[ServedImage]:
        image = study.images[0]
        volume = load_image(image)
        for warning in volume.warnings:
            logger.warning("%s: %s", image.path, warning)
        check_coverage(volume)  # before the network looks at each frame
        if volume.array.ndim == 3:
            return [self._derive(study, image, volume)]
        indices = self._known_frames(image, volume.array.shape[3]) or self._find_phases(volume)
        return _paired(
            [
                self._derive(study, image, volume.frame(index), phase, index + 1)
                for phase, index in zip(Phase, indices, strict=True)
            ]
        )

    def _known_frames(self, image: StudyImage, frames: int) -> tuple[int, int] | None:
        """ED and ES, 0-based, as the `Info.cfg` beside a cine tells them."""
        info = image.path.parent / INFO_NAME
        if not info.is_file():
            return None
        check_study(info, self.root)
        known = phase_frames(info)
        if len(known) < len(Phase) or max(known.values()) > frames:
            return None
        return known[Phase.ED] - 1, known[Phase.ES] - 1

    def _derive(
        self,
        study: Study,
        image: StudyImage,
        volume: Volume,
        phase: Phase | None = None,
        frame: int | None = None,
    ) -> ServedImage:
        wanted = f"{image.name}_{phase}" if phase else image.name
        name = self._name(f"{self._key(image.path)}:{phase or ''}", wanted)
        self._save_names()
        path = self._derived_path(name)
        note_warnings(path, volume.warnings)
        if frame is not None:
            write_json(path.with_name(f"{name}.json"), {"frame": frame})
        write_image(path, volume)
        return _derived(study, name, path, phase, frame)

    def _derived_path(self, name: str) -> Path:
        return self.root / WORK_FOLDER / "images" / f"{name}.nii.gz"

    def _key(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def _name(self, key: str, wanted: str) -> str:
        with self._lock:
            if key not in self._names:
                # Ids travel in URLs and headers; the patient's own name is told beside them.
                safe = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted).strip("._") or "image"
                name, number = safe, 1
                while name.lower() in self._taken:
                    number += 1
                    name = f"{safe}_{number}"
                self._names[key] = name
                self._taken.add(name.lower())
                self._names_saved = False
            return self._names[key]

    def _save_names(self) -> None:
        """Write the names that were given since the last time, before anybody hears of them."""
        with self._lock:
            if not self._names_saved:
                write_json(self._names_path, self._names)
                self._names_saved = True


def load_image(image: StudyImage) -> Volume:
    """Volume of an image among the studies, `(X, Y, Z)` or `(X, Y, Z, T)`, with warnings of its reader.

    Raises:
        DataError: If it cannot be read, or claims more than is admitted.
    """
    if image.path.is_file():
        claimed_shape(image.path)
        return image.load()
    check_dicom(image.files)
    volume: Volume = PARSER.call(read_series, image.files)
    return volume


def _paired(images: list[ServedImage]) -> list[ServedImage]:
    """ED and ES with each other's ids."""
    by_phase = {image.phase: image.id for image in images}
    other = {Phase.ED: Phase.ES, Phase.ES: Phase.ED}
    return [
        replace(image, partner=by_phase.get(other[image.phase])) if image.phase else image for image in images
    ]


def _derived(study: Study, name: str, path: Path, phase: Phase | None, frame: int | None) -> ServedImage:
    """An image that was made from the one of a study, a cine or a DICOM series."""
    source = study.images[0]
    dicom = source.files if study.kind is StudyKind.DICOM else ()
    return ServedImage(name, study.patient, path, phase, frame, None, source if phase else None, dicom)


def _frames(path: Path) -> int:
    """Number of frames of a NIfTI file by its header."""
    shape = claimed_shape(path)
    if len(shape) not in (3, 4):
        raise DataError(f"expected a 3-D volume or a 4-D cine, found shape {shape} in {path}")
    return int(shape[3]) if len(shape) == 4 else 1
