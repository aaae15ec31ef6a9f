"""What a dataset of hearts holds, measured volume by volume."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.core.errors import DataError
from pipelines.core.indices import indices_from_volumes
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.plausibility import check_indices
from pipelines.core.progress import Progress
from pipelines.core.records import Dataset, PatientRecord, Problem, VolumeRecord
from pipelines.core.volume import check_same_grid, slices_last
from pipelines.datasets.checks import check_patient
from pipelines.datasets.duplicates import near_duplicates, pixel_hash, thumbnail
from pipelines.datasets.loading import load_image, load_label
from pipelines.exploration.image_measures import ImageMeasures, file_orientation, measure_image
from pipelines.exploration.label_measures import LabelMeasures, measure_label

NEARLY_SAME_HEARTS: Final = 0.95
"""Correlation of two volumes' thumbnails from which they are near duplicates.

Among 80 patients of ACDC, different images of two patients reach 0.60.
"""

THUMBNAIL_SLICES: Final = (0.25, 0.5, 0.75)
"""Slices that stand for a volume, as shares of the stack."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MeasuredVolume:
    """One volume and what was measured of it.

    Attributes:
        record: Patient, group, phase and where the voxels are.
        section: Section of the split, `""` without one.
        frames: Frames of the cine, or None.
        label_state: `"read"`, `"missing"`, `"unusable"`, or `"held out"` where nobody looked at it.
        image: Measures of the image.
        label: Measures of the label; None unless it was read.
        digest: Hash of the grey values; equal for exact copies.
        thumbnail: Three small slices, flat, with mean 0 and length 1.
    """

    record: VolumeRecord
    section: str
    frames: int | None
    label_state: str
    image: ImageMeasures
    label: LabelMeasures | None
    digest: str
    thumbnail: npt.NDArray[np.float32]

    @property
    def name(self) -> str:
        """Patient and phase, e.g. `"patient001 ED"`."""
        return f"{self.record.patient} {self.record.phase}"

    def row(self) -> dict[str, Any]:
        """The row of `survey.csv`."""
        label = self.label
        known = label.volume_ml if label else {}
        return {
            "patient": self.record.patient,
            "group": self.record.group,
            "phase": self.record.phase.value,
            "section": self.section,
            "label": self.label_state,
            "frame": self.record.frame,
            "frames": self.frames,
            **asdict(self.image),
            **{f"{LABEL_NAMES[key]}_voxels": label.voxels[key] if label else None for key in AcdcLabel},
            **{f"{LABEL_NAMES[key]}_ml": known.get(key) for key in FOREGROUND},
            **{name: getattr(label, name, None) for name in ("snr_blood", "snr_pool", "cnr")},
            "label_findings": "; ".join(label.findings) if label else "",
        }


@dataclass(frozen=True, slots=True)
class HeartSurvey:
    """Volumes of a dataset.

    Attributes:
        volumes: Those whose image could be read.
        problems: What `thorax prepare` would put aside, and images that cannot be read.
        odd_patients: What is odd about the phases of a patient, a sentence each.
        copies: Pairs of indices into `volumes`, the second an exact copy of the first.
        near: Pairs of indices of volumes of two patients that are nearly the same, without the copies.
        most_alike: Largest correlation of two patients' thumbnails, copies apart; None with one patient.
    """

    volumes: list[MeasuredVolume]
    problems: list[Problem]
    odd_patients: list[tuple[str, str]]
    copies: list[tuple[int, int]]
    near: list[tuple[int, int]]
    most_alike: float | None

    def frame(self) -> pd.DataFrame:
        """A row per volume, with the columns of `survey.csv`; what is not known is NaN."""
        table = pd.DataFrame([volume.row() for volume in self.volumes])
        numbers = [column for column in table if column in NUMBERS]
        table[numbers] = table[numbers].astype(float)
        return table


NUMBERS: Final = frozenset(
    {field.name for field in fields(ImageMeasures) if field.type not in (str, bool)}
    | {"frames", "snr_blood", "snr_pool", "cnr"}
    | {f"{name}_voxels" for name in LABEL_NAMES.values()}
    | {f"{LABEL_NAMES[label]}_ml" for label in FOREGROUND}
)
"""Columns that hold numbers or nothing."""


def survey_hearts(
    dataset: Dataset, *, sections: Mapping[str, str] | None = None, progress: Progress | None = None
) -> HeartSurvey:
    """Read and measure every volume of a dataset.

    Labels of the section `"test"` are not opened. A patient who cannot be read is among the
    problems, and the rest goes on.

    Args:
        dataset: As a reader yields it.
        sections: Section of the split by patient; patients that it lacks have none.
        progress: Called with patients done, patients in all and the patient's name.

    Raises:
        DataError: If no image can be read.
    """
    sections = sections or {}
    volumes: list[MeasuredVolume] = []
    problems = list(dataset.problems)
    for done, patient in enumerate(dataset.patients, start=1):
        measured, faults = _measure_patient(patient, sections.get(patient.patient, ""))
        volumes += measured
        problems += faults
        if progress is not None:
            progress(done, len(dataset.patients), patient.patient)
    if not volumes:
        reason = problems[-1].reason if problems else "no patient"
        raise DataError(f"expected an image that can be read, found none: {reason}")
    copies = _copies(volumes)
    near, most_alike = _alike(volumes, set(copies))
    return HeartSurvey(volumes, problems, _odd_patients(volumes), copies, near, most_alike)


def _measure_patient(patient: PatientRecord, section: str) -> tuple[list[MeasuredVolume], list[Problem]]:
    is_held_out = section == "test"
    problems: list[Problem] = []
    # What `thorax prepare` checks are pairs of plain NIfTI files.
    if not is_held_out and any(record.label and not record.source for record in patient.volumes):
        problems = check_patient(patient)[1]
    volumes = []
    for record in patient.volumes:
        try:
            volume, fault = _measure(record, section, patient.frames)
            volumes.append(volume)
        except DataError as error:
            fault = str(error)
        if fault and not any(problem.path == record.image for problem in problems):
            problems.append(Problem(patient.patient, record.image, fault))
    for problem in problems:
        logger.info("%s: %s", problem.patient, problem.reason)
    return volumes, problems


def _measure(record: VolumeRecord, section: str, frames: int | None) -> tuple[MeasuredVolume, str]:
    """The measured volume, and why its label could not be used, `""` if it was."""
    stored = load_image(record)
    volume = slices_last(stored)[0]
    image = measure_image(volume, file_orientation(stored))
    label, state, fault = None, "held out" if section == "test" else "missing", ""
    if record.label is not None and section != "test":
        try:
            loaded = load_label(record)
            if loaded is not None:
                check_same_grid(stored, loaded)
                mask = slices_last(loaded)[0].array
                label = measure_label(
                    volume.array, mask, volume.spacing_mm, image.noise_sd, structures=record.structures
                )
                state = "read"
        except DataError as error:
            state, fault = "unusable", str(error)
    top = image.intensity_max - image.intensity_min
    pixels = ((volume.array - image.intensity_min) / top).astype(np.float32)
    return (
        MeasuredVolume(
            record=record,
            section=section,
            frames=frames,
            label_state=state,
            image=image,
            label=label,
            digest=pixel_hash(pixels),
            thumbnail=_thumbnail(pixels),
        ),
        fault,
    )


def _thumbnail(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    bright = np.minimum(pixels / max(float(np.percentile(pixels, 99)), 1e-6), 1.0).astype(np.float32)
    chosen = [round(share * (pixels.shape[2] - 1)) for share in THUMBNAIL_SLICES]
    slices = [thumbnail(np.ascontiguousarray(bright[:, :, index])) for index in chosen]
    return np.concatenate(slices) / np.float32(np.sqrt(len(slices)))


def _copies(volumes: list[MeasuredVolume]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [
        (first[volume.digest], index)
        for index, volume in enumerate(volumes)
        if first.setdefault(volume.digest, index) != index
    ]


def _alike(
    volumes: list[MeasuredVolume], copies: set[tuple[int, int]]
) -> tuple[list[tuple[int, int]], float | None]:
    """Near duplicates between patients, and the largest correlation of two patients' volumes."""
    patients = np.array([volume.record.patient for volume in volumes])
    repeated = {second for _, second in copies}
    stack = np.array([volume.thumbnail for volume in volumes])
    near = [
        (i, j)
        for i, j in near_duplicates(list(stack), least=NEARLY_SAME_HEARTS)
        if patients[i] != patients[j] and not repeated.intersection((i, j))
    ]
    distinct = [index for index in range(len(volumes)) if index not in repeated]
    others = patients[distinct][:, None] != patients[distinct][None]
    alike = (stack[distinct] @ stack[distinct].T)[others]
    return near, float(alike.max()) if alike.size else None


def _odd_patients(volumes: list[MeasuredVolume]) -> list[tuple[str, str]]:
    by_patient: dict[str, dict[str, Mapping[AcdcLabel, float]]] = {}
    for volume in volumes:
        if volume.label:
            by_patient.setdefault(volume.record.patient, {})[volume.record.phase] = volume.label.volume_ml
    return [
        (patient, text)
        for patient, phases in by_patient.items()
        for text in check_indices(indices_from_volumes(phases.get("ED"), phases.get("ES")))
    ]
