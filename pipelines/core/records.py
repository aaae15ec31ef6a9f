"""Labels of the heart, and records: what a dataset gives about a patient and a volume."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from pipelines.core.volume import Volume


class AcdcLabel(IntEnum):
    """Voxel values of a short-axis label map.

    References:
        Bernard et al., IEEE TMI 37(11), 2018, doi:10.1109/TMI.2018.2837502.
    """

    BACKGROUND = 0
    RV = 1
    MYO = 2
    LV = 3


FOREGROUND: Final = (AcdcLabel.RV, AcdcLabel.MYO, AcdcLabel.LV)
"""The structures that are measured, in label order."""

UNLABELLED: Final = 255
"""Value of voxels that nobody annotated, e.g. slices without contours; no figure counts them."""

LABEL_NAMES: Final = {label: label.name.lower() for label in AcdcLabel}
"""Lower-case names as in bundle metadata and result files: background, rv, myo, lv."""

LABEL_COLORS: Final = {
    AcdcLabel.RV: "#3b82f6",
    AcdcLabel.MYO: "#22c55e",
    AcdcLabel.LV: "#ef4444",
}
"""sRGB colours of overlays and charts."""

MYOCARDIAL_DENSITY_G_PER_ML: Final = 1.05
"""Density that turns myocardial volume into mass, g/mL (SCMR, doi:10.1186/s12968-020-00610-6)."""


class Phase(StrEnum):
    """Moment of the cardiac cycle."""

    ED = "ED"
    ES = "ES"


class VolumeSource(Protocol):
    """Where the voxels of a volume come from, if not from one plain NIfTI file each."""

    def read_image(self) -> "Volume":
        """Image `(X, Y, Z)` of one frame, float32."""

    def read_label(self) -> "Volume | None":
        """Label map `(X, Y, Z)` with values from `AcdcLabel` or `UNLABELLED`, None if there is none."""


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """One short-axis volume of one patient at one phase.

    Attributes:
        patient: Identifier, unique in the dataset, e.g. `"patient001"`.
        group: Disease group, e.g. `"DCM"`; `"unknown"` where the dataset tells none.
        phase: End-diastole or end-systole.
        frame: Number of the frame in the cine, 1-based as in `Info.cfg`.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the file's axis order.
        image: Path of the image: a NIfTI file, or what `source` reads.
        label: Path of the label: a NIfTI file, or what `source` reads; None if there is none.
        structures: Structures that the label tells of; of the others nobody knows where they are.
        source: Reads image and label where they are not plain NIfTI files with ACDC's values; None
            where they are. Use `loading.load_image` and `load_label`, which know both.
    """

    patient: str
    group: str
    phase: Phase
    frame: int
    spacing_mm: tuple[float, float, float]
    image: Path
    label: Path | None
    structures: tuple[AcdcLabel, ...] = FOREGROUND
    source: VolumeSource | None = None


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """One patient: the volumes at ED and ES, and the whole cine where present.

    Attributes:
        patient: Identifier, unique in the dataset.
        group: Disease group, `"unknown"` where the dataset tells none.
        volumes: The volumes found, ED first.
        cine: Path of the 4-D cine (NIfTI), or None if there is none.
        height_cm: Body height in cm, or None.
        weight_kg: Body weight in kg, or None.
        frames: Number of frames in the cine, or None.
    """

    patient: str
    group: str
    volumes: tuple[VolumeRecord, ...]
    cine: Path | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something skipped, and why.

    Attributes:
        patient: Patient it belongs to.
        path: File or folder it was found in.
        reason: What was expected and what was found.
    """

    patient: str
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a dataset's folder holds.

    Attributes:
        patients: Patients with at least one usable volume, by name.
        problems: What was skipped, and why.
    """

    patients: list[PatientRecord]
    problems: list[Problem]

    @property
    def volumes(self) -> list[VolumeRecord]:
        """All volumes, ED before ES, patient by patient."""
        return [volume for patient in self.patients for volume in patient.volumes]
