"""Error analysis of a network on labelled volumes: slices, reasons, uncertainty and calibration."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import roc_auc_score

from pipelines.core.cardiac import IntArray, Spacing, structure_volumes_ml
from pipelines.core.errors import DataError
from pipelines.core.progress import track
from pipelines.core.records import (
    FOREGROUND,
    LABEL_NAMES,
    UNLABELLED,
    AcdcLabel,
    PatientRecord,
    Phase,
    Problem,
    VolumeRecord,
)
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_pair, without_unlabelled
from pipelines.evaluation.classification import CALIBRATION_BINS, bin_sums, calibration_curve
from pipelines.evaluation.segmentation import Case, VolumePredictor, labelled_volumes, measure_case, stack_of


class Position(StrEnum):
    """Where a slice lies along the long axis of the labelled left ventricle."""

    ABOVE = "above the base"
    BASE = "base"
    MID = "mid"
    APEX = "apex"
    BELOW = "below the apex"


THIRDS = (Position.BASE, Position.MID, Position.APEX)
"""The thirds of the left ventricle, from the valve plane on."""


@dataclass(frozen=True, slots=True)
class SliceError:
    """One structure in one slice, predicted and true.

    Attributes:
        patient: Identifier of the patient.
        group: Disease group.
        phase: End-diastole or end-systole.
        slice: Number of the slice in the file, 1-based.
        position: Where it lies in the labelled left ventricle.
        structure: RV, MYO or LV.
        true_pixels: Pixels of the structure in the label.
        predicted_pixels: Pixels of the structure in the prediction.
        common_pixels: Pixels of the structure in both.
        pixel_ml: Volume of one pixel of the slice, mL.
    """

    patient: str
    group: str
    phase: Phase
    slice: int
    position: Position
    structure: AcdcLabel
    true_pixels: int
    predicted_pixels: int
    common_pixels: int
    pixel_ml: float

    @property
    def dice(self) -> float | None:
        """Dice coefficient of the slice, 0 to 1; None if neither mask has the structure."""
        return pooled_dice([self])

    @property
    def error_ml(self) -> float:
        """Volume that only one of the masks has, mL."""
        return (self.true_pixels + self.predicted_pixels - 2 * self.common_pixels) * self.pixel_ml

    @property
    def kind(self) -> str:
        """`"missed"`, `"invented"`, or `""` if both masks or neither have the structure here."""
        if self.true_pixels and not self.predicted_pixels:
            return "missed"
        return "invented" if self.predicted_pixels and not self.true_pixels else ""

    def as_row(self) -> dict[str, Any]:
        """As a flat row of `slices.csv`."""
        return {
            "patient": self.patient,
            "group": self.group,
            "phase": str(self.phase),
            "slice": self.slice,
            "position": str(self.position),
            "structure": LABEL_NAMES[self.structure],
            "dice": self.dice,
            "true_ml": self.true_pixels * self.pixel_ml,
            "predicted_ml": self.predicted_pixels * self.pixel_ml,
            "error_ml": self.error_ml,
            "kind": self.kind,
        }


def slice_positions(truth: IntArray) -> list[Position]:
    """Position of each slice of a short-axis stack, from its labels.

    The slices with labelled LV cavity or myocardium are cut into equal thirds along the
    long axis, by the place of their middle. The apex is at the end where the labelled heart
    has the smaller area, over the last third at either end: files are stored both ways.

    Args:
        truth: `(X, Y, Z)` label map with values from `AcdcLabel`, slices last.

    Returns:
        Z positions; all `Position.ABOVE` if no LV is labelled.

    References:
        Thirds perpendicular to the long axis: Cerqueira et al., Circulation 105(4), 2002,
        doi:10.1161/hc0402.102975; Schulz-Menger et al., JCMR 22:19, 2020,
        doi:10.1186/s12968-020-00610-6.
    """
    ventricle = ((truth == AcdcLabel.MYO) | (truth == AcdcLabel.LV)).any(axis=(0, 1))
    if not ventricle.any():
        return [Position.ABOVE] * truth.shape[2]
    first, last = (int(end) for end in np.flatnonzero(ventricle)[[0, -1]])
    count = last - first + 1
    areas = np.count_nonzero(truth[:, :, first : last + 1], axis=(0, 1))
    end = max(count // 3, 1)
    from_base = areas[:end].mean() >= areas[-end:].mean()
    positions = []
    for index in range(truth.shape[2]):
        place = (index - first + 0.5) / count
        place = place if from_base else 1 - place
        if place < 0:
            positions.append(Position.ABOVE)
        elif place > 1:
            positions.append(Position.BELOW)
        else:
            positions.append(THIRDS[min(int(3 * place), 2)])
    return positions


def measure_slices(
    mask: IntArray,
    truth: IntArray,
    spacing_mm: tuple[float, float, float],
    *,
    patient: str,
    group: str,
    phase: Phase,
    structures: Collection[AcdcLabel] = FOREGROUND,
) -> list[SliceError]:
    """Each structure in each slice in which either mask has it.

    Args:
        mask: `(X, Y, Z)` predicted label map, slices last.
        truth: `(X, Y, Z)` true label map.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        patient: Identifier of the patient.
        group: Disease group.
        phase: End-diastole or end-systole.
        structures: Structures that `truth` tells of.

    Raises:
        ValueError: If the shapes differ or are not 3-D.
    """
    if mask.ndim != 3 or mask.shape != truth.shape:
        raise ValueError(f"expected two 3-D label maps of one shape, found {mask.shape} and {truth.shape}")
    pixel_ml = float(np.prod(spacing_mm)) / 1000.0
    positions = slice_positions(truth)
    found = []
    for label in FOREGROUND:
        if label not in structures:
            continue
        predicted, true = mask == label, truth == label
        counts = [np.count_nonzero(part, axis=(0, 1)) for part in (true, predicted, true & predicted)]
        for index, position in enumerate(positions):
            n_true, n_predicted, n_common = (int(count[index]) for count in counts)
            if n_true or n_predicted:
                found.append(
                    SliceError(
                        patient,
                        group,
                        phase,
                        index + 1,
                        position,
                        label,
                        n_true,
                        n_predicted,
                        n_common,
                        pixel_ml,
                    )
                )
    return found


def pooled_dice(slices: Sequence[SliceError]) -> float | None:
    """Dice over the pixels of several slices of one structure, None if they have none.

    Pixels are pooled, so a slice counts by its area: the few pixels of an apical tip do not
    weigh as much as a whole basal slice.
    """
    total = sum(part.true_pixels + part.predicted_pixels for part in slices)
    return 2 * sum(part.common_pixels for part in slices) / total if total else None


LEAK_SHARE: Final = 0.2
"""Predicted area on background, as a share of the true area, from which a structure leaks."""

SHORT_SHARE: Final = 0.2
"""True area left to background, as a share of the true area, from which a structure is cut short."""

SWAP_SHARE: Final = 0.2
"""Area given to another structure, as a share of the true area, from which the two are swapped."""


class Fault(StrEnum):
    """Kinds of error of a structure in a slice."""

    MISSED = "missed"
    INVENTED = "invented"
    SWAPPED = "swapped"
    LEAK = "leak"
    SHORT = "cut short"


@dataclass(frozen=True, slots=True)
class Reason:
    """One kind of error of one structure in the slices of a volume.

    Attributes:
        fault: Kind of error.
        structure: Structure of the label; for `INVENTED` and `LEAK` of the prediction.
        taken_for: For `SWAPPED`, what the prediction has there.
        slices: Numbers of the slices, 1-based.
        positions: Where they lie, in the same order.
        volume_ml: Volume of the pixels at fault, mL.
    """

    fault: Fault
    structure: AcdcLabel
    taken_for: AcdcLabel | None
    slices: tuple[int, ...]
    positions: tuple[Position, ...]
    volume_ml: float

    @property
    def words(self) -> str:
        """The reason as a part of a sentence, e.g. `"RV missed in slice 9 (apex), 1.2 mL"`."""
        plural = "s" if len(self.slices) > 1 else ""
        numbers = ", ".join(str(number) for number in self.slices)
        places = " and ".join(dict.fromkeys(str(place) for place in self.positions))
        name = self.structure.name
        what = {
            Fault.MISSED: f"{name} missed",
            Fault.INVENTED: f"{name} false positive",
            Fault.LEAK: f"{name} leaks into the surroundings",
            Fault.SHORT: f"{name} cut short",
        }.get(self.fault) or f"{name} taken for {self.taken_for.name if self.taken_for else 'background'}"
        return f"{what} in slice{plural} {numbers} ({places}), {self.volume_ml:.1f} mL"


def find_reasons(
    mask: IntArray,
    truth: IntArray,
    spacing_mm: Spacing,
    structures: Collection[AcdcLabel] = FOREGROUND,
) -> list[Reason]:
    """Errors of a volume worth telling, the largest volume first.

    A structure that is in one mask only in a slice is missed or invented there; otherwise the
    area that leaks, is cut short or goes to another structure counts from a share of its true area.

    Args:
        mask: `(X, Y, Z)` predicted label map, slices last.
        truth: `(X, Y, Z)` true label map.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        structures: Structures that `truth` tells of.

    Returns:
        Reasons, none if nothing reaches its share.

    Raises:
        ValueError: If the shapes differ or are not 3-D.
    """
    if mask.ndim != 3 or mask.shape != truth.shape:
        raise ValueError(f"expected two 3-D label maps of one shape, found {mask.shape} and {truth.shape}")
    positions = slice_positions(truth)
    pixel_ml = float(np.prod(spacing_mm)) / 1000.0
    found: dict[tuple[Fault, AcdcLabel, AcdcLabel | None], list[tuple[int, int]]] = {}
    for index in range(mask.shape[2]):
        for label in FOREGROUND:
            if label in structures:
                for fault, other, pixels in _faults(mask[:, :, index], truth[:, :, index], label):
                    found.setdefault((fault, label, other), []).append((index, pixels))
    reasons = [
        Reason(
            fault,
            label,
            other,
            tuple(index + 1 for index, _ in places),
            tuple(positions[index] for index, _ in places),
            sum(pixels for _, pixels in places) * pixel_ml,
        )
        for (fault, label, other), places in found.items()
    ]
    return sorted(reasons, key=lambda reason: -reason.volume_ml)


def in_words(reasons: Sequence[Reason], most: int = 4) -> str:
    """The largest reasons as one sentence."""
    if not reasons:
        return (
            "Contours are off by little everywhere: no structure is missed, false positive, swapped or leaks."
        )
    text = "; ".join(reason.words for reason in reasons[:most])
    return f"{text}; and {len(reasons) - most} more." if len(reasons) > most else f"{text}."


def _faults(mask: IntArray, truth: IntArray, label: AcdcLabel) -> list[tuple[Fault, AcdcLabel | None, int]]:
    predicted, true = mask == label, truth == label
    area = int(true.sum())
    if not area:
        return [(Fault.INVENTED, None, int(predicted.sum()))] if predicted.any() else []
    if not predicted.any():
        return [(Fault.MISSED, None, area)]
    found: list[tuple[Fault, AcdcLabel | None, int]] = []
    leak = int((predicted & (truth == AcdcLabel.BACKGROUND)).sum())
    if leak >= LEAK_SHARE * area:
        found.append((Fault.LEAK, None, leak))
    short = int((true & (mask == AcdcLabel.BACKGROUND)).sum())
    if short >= SHORT_SHARE * area:
        found.append((Fault.SHORT, None, short))
    for other in FOREGROUND:
        swapped = int((true & (mask == other)).sum()) if other != label else 0
        if swapped >= SWAP_SHARE * area:
            found.append((Fault.SWAPPED, other, swapped))
    return found


Map = npt.NDArray[np.float32]

FLIPS: Final = ((), (0,), (1,), (0, 1))
"""In-plane axes of `(X, Y, Z)` that the copies are flipped along, slices last."""


class ProbabilityPredictor(Protocol):
    """Anything that gives probabilities, e.g. `pipelines.models.heart.Predictor`."""

    def probabilities(self, volume: Volume) -> Map:
        """`(4, X, Y, Z)` on the volume's own grid, all zero where the network does not see."""


def entropy(probabilities: Map) -> Map:
    """Entropy of class probabilities as a share of the largest possible, 0 sure to 1.

    Args:
        probabilities: `(C, ...)` that add up to one over C, or are all zero.

    Returns:
        `(...)` float32; 0 where the probabilities are all zero.
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    found: Map = -(probabilities * logs).sum(axis=0) / np.log(len(probabilities))
    return found.astype(np.float32)


def flip_disagreement(predictor: ProbabilityPredictor, volume: Volume) -> Map:
    """Share of four flipped copies that do not vote with the majority, 0 to 0.75.

    A network that has learned anatomy finds the same heart in a mirrored image turned back;
    where it does not, its answer hangs on a detail.

    Args:
        predictor: Gives probabilities of a volume.
        volume: `(X, Y, Z)` image; the slice axis may be any.

    Returns:
        `(X, Y, Z)` float32 in the volume's own order of axes.
    """
    stack, undo = slices_last(volume)
    votes = []
    for axes in FLIPS:
        turned = replace(stack, array=np.ascontiguousarray(np.flip(stack.array, axes)))
        votes.append(np.flip(predictor.probabilities(turned).argmax(axis=0), axes))
    stacked = np.stack(votes)
    agreeing = np.max([(stacked == label).sum(axis=0) for label in np.unique(stacked)], axis=0)
    found: Map = undo((1 - agreeing / len(FLIPS)).astype(np.float32))
    return found


BAND_MM: Final = 10.0
"""Rim around the heart whose background counts, mm: the rest is easy and would flatter."""


@dataclass(slots=True)
class VoxelCalibration:
    """Sums over voxels from which reliability diagrams are drawn; memory does not grow with the cohort.

    Attributes:
        sums: `(3, CALIBRATION_BINS)` voxels, probabilities and truths of each structure.
    """

    sums: dict[AcdcLabel, npt.NDArray[np.float64]] = field(
        default_factory=lambda: {label: np.zeros((3, CALIBRATION_BINS)) for label in FOREGROUND}
    )

    def add(
        self,
        probabilities: npt.NDArray[np.float32],
        truth: IntArray,
        spacing_mm: Spacing,
        structures: Collection[AcdcLabel] = FOREGROUND,
    ) -> None:
        """Count the voxels of a volume near the heart.

        Args:
            probabilities: `(4, X, Y, Z)` in the order of `AcdcLabel`; voxels that the network
                does not see are all zero and do not count.
            truth: `(X, Y, Z)` label map; voxels that are no `AcdcLabel` do not count.
            spacing_mm: `(dx, dy, dz)` voxel size in mm, slices last.
            structures: Structures that `truth` tells of.
        """
        band = heart_band(truth, probabilities.argmax(axis=0), spacing_mm)
        band &= (probabilities.sum(axis=0) > 0) & (truth <= max(AcdcLabel))
        for label in structures:
            self.sums[label] += bin_sums(
                (truth[band] == label).astype(np.int64), probabilities[label][band].astype(np.float64)
            )

    def as_json(self) -> dict[str, Any]:
        """`curve` and `ece` of each structure, and how many voxels they are of; None without any."""
        found: dict[str, Any] = {}
        for label in FOREGROUND:
            curve, error = calibration_curve(self.sums[label])
            voxels = int(self.sums[label][0].sum())
            found[LABEL_NAMES[label]] = {
                "curve": curve,
                "ece": error if voxels else None,
                "voxels": voxels,
            }
        return found


def heart_band(truth: IntArray, prediction: IntArray, spacing_mm: Spacing) -> npt.NDArray[np.bool_]:
    """`(X, Y, Z)` voxels within `BAND_MM` in plane of the heart in either mask.

    Args:
        truth: `(X, Y, Z)` label map, slices last; values above `AcdcLabel` are no heart.
        prediction: `(X, Y, Z)` label map.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
    """
    heart = ((truth > 0) & (truth <= max(AcdcLabel))) | (prediction > 0)
    band = np.zeros(heart.shape, dtype=np.bool_)
    for index in range(heart.shape[2]):
        if heart[:, :, index].any():
            far = distance_transform_edt(~heart[:, :, index], sampling=spacing_mm[:2])
            band[:, :, index] = far <= BAND_MM
    return band


class HeartPredictor(VolumePredictor, ProbabilityPredictor, Protocol):
    """Segments volumes and tells its probabilities, e.g. `pipelines.models.heart.Predictor`."""


@dataclass(frozen=True, slots=True)
class HeartVolume:
    """One measured volume.

    Attributes:
        record: What it was read from.
        case: Its figures.
        slices: Each structure in each slice.
        reasons: What is wrong with it, the largest volume first.
        factors: Value of each factor of `heart_error_tables.CONTINUOUS`, NaN where it is not known.
        entropy_auroc: How well the entropy of the probabilities tells wrong voxels from right ones
            near the heart; None if there is only one kind.
    """

    record: VolumeRecord
    case: Case
    slices: list[SliceError]
    reasons: list[Reason]
    factors: dict[str, float]
    entropy_auroc: float | None


@dataclass(frozen=True, slots=True)
class HeartErrors:
    """What `analyse_hearts` found.

    Attributes:
        volumes: Measured volumes.
        calibration: Calibration of their voxels near the heart.
        problems: What was skipped, and why.
    """

    volumes: list[HeartVolume]
    calibration: VoxelCalibration
    problems: list[Problem]

    @property
    def worst(self) -> list[HeartVolume]:
        """Volumes with a Dice, the lowest mean first."""
        return sorted(
            (volume for volume in self.volumes if volume.case.mean("dice") is not None),
            key=lambda volume: volume.case.mean("dice") or 0.0,
        )


def analyse_hearts(
    root: Path,
    predictor: HeartPredictor,
    *,
    records: Sequence[PatientRecord] | None = None,
    reader: str = "acdc",
) -> HeartErrors:
    """Segment every labelled volume once and measure where, when and why it is wrong.

    Args:
        root: Existing folder in the layout of `reader`.
        predictor: Segments one volume at a time and gives its probabilities.
        records: Patients to measure in place of all in `root`.
        reader: Dataset that `root` holds, a name in `READERS`.

    Raises:
        ConfigError: If there is no such reader.
        DataError: If there is no labelled volume, or none that can be measured.
    """
    labelled, problems = labelled_volumes(root, records, reader)
    calibration = VoxelCalibration()
    volumes = []
    for record in track(labelled, lambda one: f"{one.patient} {one.phase}"):
        try:
            volumes.append(_measure(record, predictor, calibration))
        except DataError as error:
            problems.append(Problem(record.patient, record.image, str(error)))
    if not volumes:
        raise DataError(
            f"expected a volume that can be measured below {root}, found none of {len(labelled)}; "
            f"the last problem: {problems[-1].reason}"
        )
    return HeartErrors(volumes, calibration, problems)


def blood_contrast(image: npt.NDArray[Any], truth: npt.NDArray[np.uint8]) -> float:
    """Contrast of the LV's blood against the myocardium, in standard deviations within them.

    Args:
        image: `(X, Y, Z)` intensities.
        truth: `(X, Y, Z)` true label map.

    Returns:
        Difference of the means over the root mean variance; NaN without both structures or spread.
    """
    blood, muscle = image[truth == AcdcLabel.LV], image[truth == AcdcLabel.MYO]
    if not blood.size or not muscle.size:
        return float("nan")
    spread = float(np.sqrt((blood.var(dtype=np.float64) + muscle.var(dtype=np.float64)) / 2))
    difference = float(blood.mean(dtype=np.float64) - muscle.mean(dtype=np.float64))
    return difference / spread if spread > 0 else float("nan")


def _measure(record: VolumeRecord, predictor: HeartPredictor, calibration: VoxelCalibration) -> HeartVolume:
    image, label = load_pair(record)
    started = time.perf_counter()
    mask = predictor.predict(image).mask
    seconds = time.perf_counter() - started
    probabilities = np.stack([stack_of(channel, image) for channel in predictor.probabilities(image)])
    moved = slices_last(image)[0]
    known = stack_of(label.array, image)
    mask, truth = without_unlabelled(stack_of(mask, image), known)
    calibration.add(probabilities, known, moved.spacing_mm, record.structures)
    total_ml = sum(structure_volumes_ml(truth, moved.spacing_mm).values())
    return HeartVolume(
        record=record,
        case=measure_case(record, moved.spacing_mm, mask, truth, seconds),
        slices=measure_slices(
            mask,
            truth,
            moved.spacing_mm,
            patient=record.patient,
            group=record.group,
            phase=record.phase,
            structures=record.structures,
        ),
        reasons=find_reasons(mask, truth, moved.spacing_mm, record.structures),
        factors={
            "pixel spacing": float(np.mean(moved.spacing_mm[:2])),
            "slice spacing": moved.spacing_mm[2],
            "contrast": blood_contrast(moved.array, truth),
            "heart size": total_ml,
        },
        entropy_auroc=_entropy_auroc(probabilities, mask, known, moved.spacing_mm),
    )


def _entropy_auroc(
    probabilities: npt.NDArray[np.float32],
    mask: npt.NDArray[Any],
    known: npt.NDArray[np.uint8],
    spacing_mm: Spacing,
) -> float | None:
    band = heart_band(known, mask, spacing_mm) & (known != UNLABELLED)
    wrong = (mask != known)[band]
    if not wrong.any() or wrong.all():
        return None
    return float(roc_auc_score(wrong, entropy(probabilities)[band]))
