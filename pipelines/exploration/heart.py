"""What a dataset of hearts holds: features of images and of label maps, measured volume by volume."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage
from skimage.filters import threshold_otsu

from pipelines.core.cardiac import IntArray, Spacing, indices_from_volumes, structure_volumes_ml
from pipelines.core.errors import DataError
from pipelines.core.plausibility import NAMES, STRAY_SHARE, check_indices, check_mask
from pipelines.core.progress import track
from pipelines.core.records import (
    FOREGROUND,
    LABEL_NAMES,
    AcdcLabel,
    Dataset,
    PatientRecord,
    Problem,
    VolumeRecord,
)
from pipelines.core.volume import Volume, check_same_grid, slices_last
from pipelines.datasets.duplicates import near_duplicates, pixel_hash, thumbnail
from pipelines.datasets.loading import load_image, load_label
from pipelines.datasets.prepare import check_patient

MAD_OF_NORMAL: Final = 0.6745
"""Median absolute deviation of a normal distribution with SD 1."""

MEAN_DEVIATION_OF_NORMAL: Final = 0.7979
"""Mean absolute deviation of a normal distribution with SD 1."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the survey that tables and tests use.

    Attributes:
        name: Column of the survey.
        words: What it is, with its unit.
        digits: Digits after the point that make sense.
        on_log: It spreads over factors, so that outliers and distances are told on its logarithm.
        of_label: It needs the label, and is never used to compare sections.
        follows: It follows from others, and is neither searched for outliers nor compared by itself.
    """

    name: str
    words: str
    digits: int = 1
    on_log: bool = False
    of_label: bool = False
    follows: bool = False

    def shown(self, value: float) -> str:
        """A value with the digits that make sense."""
        return f"{value:.{self.digits}f}"

    def scaled(self, values: pd.Series) -> pd.Series:
        """Values on the scale that comparisons use; not positive ones on a log scale are NaN."""
        numbers = values.astype(float)
        return numbers.where(numbers > 0).map(np.log) if self.on_log else numbers


FEATURES: Final = (
    Feature("columns_px", "columns, pixels", 0, follows=True),
    Feature("rows_px", "rows, pixels", 0, follows=True),
    Feature("slices", "slices", 0),
    Feature("frames", "frames of the cine", 0),
    Feature("pixel_x_mm", "pixel spacing, mm", 2),
    Feature("slice_distance_mm", "slice distance, mm"),
    Feature("field_x_mm", "field of view along columns, mm", 0),
    Feature("field_y_mm", "field of view along rows, mm", 0),
    Feature("coverage_mm", "slices times distance, mm", 0),
    Feature("intensity_median", "median intensity", 0, on_log=True),
    Feature("intensity_p99", "99th percentile of intensity", 0, on_log=True),
    Feature("noise_sd", "SD of noise, intensity", 2, on_log=True, follows=True),
    Feature("snr_image", "SNR of tissue", 1, on_log=True),
    Feature("snr_blood", "SNR of LV blood", 1, on_log=True, of_label=True),
    Feature("snr_pool", "LV blood, mean over SD", 1, on_log=True, of_label=True),
    Feature("cnr", "CNR of LV blood and myocardium", 1, on_log=True, of_label=True),
    Feature("rv_ml", "RV, mL", 0, of_label=True),
    Feature("myo_ml", "myocardium, mL", 0, of_label=True),
    Feature("lv_ml", "LV, mL", 0, of_label=True),
)
"""Features in the order of the tables; those that a dataset does not tell are left out there."""

FEATURE_BY_NAME: Final = {feature.name: feature for feature in FEATURES}


def reported_features(frame: pd.DataFrame) -> list[Feature]:
    """Features that at least one volume of a survey has."""
    return [feature for feature in FEATURES if frame[feature.name].notna().any()]


def compared(frame: pd.DataFrame, *, labels: bool = True) -> list[Feature]:
    """Those of them that do not follow from others; without `labels` those of images alone."""
    return [
        feature
        for feature in reported_features(frame)
        if not feature.follows and (labels or not feature.of_label)
    ]


def robust_z(values: pd.Series) -> pd.Series:
    """Robust z-scores: distance from the median in SDs, as the median absolute deviation tells them.

    Where more than half of the values are the same, the mean absolute deviation stands in.

    Args:
        values: Numbers, NaN allowed.

    Returns:
        A score for each; 0 if all are the same, NaN for NaN.

    References:
        Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC, 1993, ISBN 978-0-87389-247-6.
    """
    distance = values - values.median()
    spread = distance.abs().median() / MAD_OF_NORMAL or distance.abs().mean() / MEAN_DEVIATION_OF_NORMAL
    return distance / spread if spread else distance


MIN_BLOCKS = 50
"""Fewest blocks of four pixels from which noise is estimated."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ImageMeasures:
    """One volume, its slices on the third axis.

    Attributes:
        columns_px: Pixels along the first axis.
        rows_px: Pixels along the second axis.
        slices: Number of slices.
        pixel_x_mm: Pixel spacing along the first axis, mm.
        pixel_y_mm: Pixel spacing along the second axis, mm.
        slice_distance_mm: Distance of neighbouring slices, mm; with gaps more than their thickness.
        field_x_mm: Field of view along the first axis, mm.
        field_y_mm: Field of view along the second axis, mm.
        coverage_mm: Slices times their distance, mm.
        orientation: Where the file's own axes point, e.g. `"LPS"`.
        is_oblique: The axes are not those of the scanner.
        has_position: The header holds more than the spacing: a turn, or a place in the scanner.
        intensity_min: Least value.
        intensity_median: Median value.
        intensity_p99: 99th percentile.
        intensity_max: Largest value.
        clipped_share: Share of the voxels that have the largest value.
        is_unwrapped: The file stores unsigned values as signed ones, and reading undid it.
        noise_sd: SD of the noise in tissue, in the image's unit; None where it cannot be told.
        snr_image: Mean of the tissue over `noise_sd`, or None.
    """

    columns_px: int
    rows_px: int
    slices: int
    pixel_x_mm: float
    pixel_y_mm: float
    slice_distance_mm: float
    field_x_mm: float
    field_y_mm: float
    coverage_mm: float
    orientation: str
    is_oblique: bool
    has_position: bool
    intensity_min: float
    intensity_median: float
    intensity_p99: float
    intensity_max: float
    clipped_share: float
    is_unwrapped: bool
    noise_sd: float | None
    snr_image: float | None


def measure_image(volume: Volume, orientation: str) -> ImageMeasures:
    """Measures of a volume; no label is needed.

    Args:
        volume: `(X, Y, Z)` with its slices on the third axis.
        orientation: Where the axes of the file point, as `file_orientation` tells.
    """
    array = volume.array
    columns, rows, slices = array.shape
    dx, dy, dz = volume.spacing_mm
    least, median, p99, most = (float(value) for value in np.percentile(array, (0, 50, 99, 100)))
    tissue = tissue_mask(array)
    noise = noise_sd(array, tissue)
    directions = volume.affine[:3, :3] / np.asarray(volume.spacing_mm)
    is_oblique = bool((np.abs(directions).max(axis=0) < 1 - 1e-4).any())
    # However axes were turned since, without a place in the header one corner of the stack is at zero.
    corners = np.array(list(itertools.product(*((0, length - 1) for length in array.shape))))
    from_zero_mm = np.linalg.norm(corners @ volume.affine[:3, :3].T + volume.affine[:3, 3], axis=1)
    return ImageMeasures(
        columns_px=columns,
        rows_px=rows,
        slices=slices,
        pixel_x_mm=dx,
        pixel_y_mm=dy,
        slice_distance_mm=dz,
        field_x_mm=columns * dx,
        field_y_mm=rows * dy,
        coverage_mm=slices * dz,
        orientation=orientation,
        is_oblique=is_oblique,
        has_position=is_oblique or bool(from_zero_mm.min() > 0),
        intensity_min=least,
        intensity_median=median,
        intensity_p99=p99,
        intensity_max=most,
        clipped_share=float(np.mean(array == array.max())),
        is_unwrapped=volume.is_unwrapped,
        noise_sd=noise,
        snr_image=float(array[tissue].mean()) / noise if noise else None,
    )


def file_orientation(volume: Volume) -> str:
    """Where the axes of a volume point, e.g. `"LPS"`: towards left, posterior and superior."""
    return "".join(nib.aff2axcodes(volume.affine))


def tissue_mask(array: npt.NDArray[Any]) -> BoolArray:
    """Voxels of tissue: those brighter than Otsu's threshold on the square root of the intensity.

    The square root keeps dark muscle on the side of the tissue.

    Args:
        array: Image of any shape.

    References:
        Otsu, IEEE Trans. Syst. Man Cybern. 9(1), 1979, doi:10.1109/TSMC.1979.4310076.
    """
    root = np.sqrt(array - array.min())
    mask: BoolArray = root > threshold_otsu(root.ravel())
    return mask


def noise_sd(array: npt.NDArray[Any], tissue: BoolArray) -> float | None:
    """SD of white noise in the tissue, in the image's unit; None if it cannot be told.

    The median of the absolute finest diagonal Haar detail over 0.6745, within blocks of four pixels
    of a slice that are all tissue. It assumes noise that is independent from pixel to pixel: where
    the scanner interpolated (zero filling), filtered or rounded, it is too small, and ratios to it
    serve to compare images of one dataset, not as the SNR of the scanner. Background is left out:
    its noise is Rician, and many scanners blank it.

    Args:
        array: `(X, Y, Z)` image, slices on the third axis.
        tissue: `(X, Y, Z)` where to look.

    Returns:
        The SD, or None with fewer than `MIN_BLOCKS` blocks, or no variation in most of them.

    References:
        Donoho and Johnstone, Biometrika 81(3), 1994, doi:10.1093/biomet/81.3.425.
        Noise of magnitude images: Gudbjartsson and Patz, 1995, doi:10.1002/mrm.1910340618.
    """
    inside = (tissue & (array < array.max())).astype(bool)
    a, b, c, d = _corners(array.astype(np.float64))
    detail = np.abs(a - b - c + d)[np.logical_and.reduce(_corners(inside))] / 2
    if detail.size < MIN_BLOCKS:
        return None
    return float(np.median(detail)) / MAD_OF_NORMAL or None


def _corners(array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Each of the four pixels of the blocks of a slice."""
    even = array[: array.shape[0] // 2 * 2, : array.shape[1] // 2 * 2]
    return [even[i::2, j::2] for i in (0, 1) for j in (0, 1)]


POOL_MARGIN_PX = 2
"""Rim of the LV cavity that is left out where its blood is measured, pixels."""

MIN_POOL = 20
"""Fewest voxels of blood from which a ratio is given."""


@dataclass(frozen=True, slots=True)
class LabelMeasures:
    """One label map and the image below it.

    Attributes:
        voxels: Number of voxels of each label, background included.
        volume_ml: Volume of each structure that the dataset labels, mL.
        snr_blood: Mean of the LV cavity over the noise in tissue; None where either cannot be told.
        snr_pool: Mean of the LV cavity, its rim left out, over the SD there; None where there is none.
            Papillary muscles and flow add to the SD, so that it is a lower bound.
        cnr: Mean of the LV cavity less that of the myocardium, over the noise in tissue, or None.
        findings: What is odd about the label, a sentence each.
    """

    voxels: dict[AcdcLabel, int]
    volume_ml: dict[AcdcLabel, float]
    snr_blood: float | None
    snr_pool: float | None
    cnr: float | None
    findings: list[str]


def measure_label(
    array: npt.NDArray[Any],
    mask: IntArray,
    spacing_mm: Spacing,
    noise_sd: float | None,
    *,
    structures: tuple[AcdcLabel, ...] = FOREGROUND,
) -> LabelMeasures:
    """Measures of a label map.

    Args:
        array: `(X, Y, Z)` image, slices on the third axis.
        mask: `(X, Y, Z)` label map with values from `AcdcLabel`; others count as background.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        noise_sd: SD of the noise in the image's unit, or None.
        structures: What the dataset labels; that others are absent is nothing odd.
    """
    mask = np.where(np.isin(mask, list(AcdcLabel)), mask, AcdcLabel.BACKGROUND)
    lv = _mean(array, mask == AcdcLabel.LV)
    myo = _mean(array, mask == AcdcLabel.MYO)
    return LabelMeasures(
        voxels={label: int(np.count_nonzero(mask == label)) for label in AcdcLabel},
        volume_ml=structure_volumes_ml(mask, spacing_mm, structures),
        snr_blood=lv / noise_sd if lv is not None and noise_sd else None,
        snr_pool=_pool_ratio(array, mask == AcdcLabel.LV),
        cnr=(lv - myo) / noise_sd if lv is not None and myo is not None and noise_sd else None,
        findings=check_label(mask, spacing_mm, structures=structures),
    )


def check_label(
    mask: IntArray, spacing_mm: Spacing, *, structures: tuple[AcdcLabel, ...] = FOREGROUND
) -> list[str]:
    """What is odd about a label map drawn by a person: as of a predicted one, and holes and islands.

    Args:
        mask: `(X, Y, Z)` label map with values from `AcdcLabel`, slices on the third axis.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        structures: What the dataset labels; that others are absent is nothing odd.

    Returns:
        One sentence for each finding; slices are counted from 1.
    """
    expected = {f"{NAMES[label]} is empty" for label in FOREGROUND if label not in structures}
    warnings = [text for text in check_mask(mask, spacing_mm) if text not in expected]
    return warnings + _check_holes(mask) + _check_islands(mask)


def _check_holes(mask: IntArray) -> list[str]:
    """Background that a structure encloses in a slice; LV and myocardium count as one."""
    parts = {
        "LV and myocardium": (mask == AcdcLabel.LV) | (mask == AcdcLabel.MYO),
        "RV": mask == AcdcLabel.RV,
    }
    warnings = []
    for name, part in parts.items():
        found = {}
        for z in np.flatnonzero(part.any(axis=(0, 1))):
            filled = ndimage.binary_fill_holes(part[:, :, z])
            count = int(np.count_nonzero(filled & (mask[:, :, z] == AcdcLabel.BACKGROUND)))
            if count:
                found[int(z) + 1] = count
        if found:
            places = ", ".join(str(number) for number in found)
            several = "s" if len(found) > 1 else ""
            warnings.append(
                f"{name} enclose background ({sum(found.values())} px) in slice{several} {places}"
            )
    return [text.replace("RV enclose ", "RV encloses ") for text in warnings]


def _check_islands(mask: IntArray) -> list[str]:
    """Pieces too small for `check_mask`, which a person drew all the same, by a slip or on purpose."""
    warnings = []
    for label in FOREGROUND:
        pieces, count = ndimage.label(mask == label, structure=np.ones((3, 3, 3)))
        voxels = np.bincount(pieces.ravel())[1:]
        if count > 1 and voxels.max() >= (1 - STRAY_SHARE) * voxels.sum():
            warnings.append(
                f"{NAMES[label]} has small islands ({int(voxels.sum() - voxels.max())} voxels in {count - 1})"
            )
    return warnings


def _mean(array: npt.NDArray[Any], region: npt.NDArray[np.bool_]) -> float | None:
    return float(array[region].mean()) if region.any() else None


def _pool_ratio(array: npt.NDArray[Any], lv: npt.NDArray[np.bool_]) -> float | None:
    in_plane = ndimage.generate_binary_structure(2, 1)[:, :, None]
    pool = array[ndimage.binary_erosion(lv, in_plane, iterations=POOL_MARGIN_PX)]
    if pool.size < MIN_POOL or not pool.std():
        return None
    return float(pool.mean() / pool.std())


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
        problems: What `thorax prepare` would skip, and images that cannot be read.
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


def survey_hearts(dataset: Dataset, *, sections: Mapping[str, str] | None = None) -> HeartSurvey:
    """Read and measure every volume of a dataset.

    Labels of the section `"test"` are not opened. A patient who cannot be read is among the
    problems, and the rest goes on.

    Args:
        dataset: As a reader yields it.
        sections: Section of the split by patient; patients that it lacks have none.

    Raises:
        DataError: If no image can be read.
    """
    sections = sections or {}
    volumes: list[MeasuredVolume] = []
    problems = list(dataset.problems)
    for patient in track(dataset.patients, lambda one: one.patient):
        measured, faults = _measure_patient(patient, sections.get(patient.patient, ""))
        volumes += measured
        problems += faults
    if not volumes:
        reason = problems[-1].reason if problems else "no patient"
        raise DataError(f"expected an image that can be read, found none: {reason}")
    copies = exact_copies([volume.digest for volume in volumes])
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


def exact_copies(digests: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices of equal hashes, the first with each of the later ones."""
    first: dict[str, int] = {}
    found = [(first.setdefault(digest, index), index) for index, digest in enumerate(digests)]
    return [(one, other) for one, other in found if one != other]


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
