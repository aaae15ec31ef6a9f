"""Error analysis of a network on labelled short-axis volumes: each is measured once, slice by slice."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from pipelines.core.errors import DataError
from pipelines.core.indices import Spacing, structure_volumes_ml
from pipelines.core.labels import UNLABELLED, AcdcLabel
from pipelines.core.progress import Progress
from pipelines.core.records import PatientRecord, Problem, VolumeRecord
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_pair, without_unlabelled
from pipelines.evaluation.cases import Case
from pipelines.evaluation.evaluate import VolumePredictor, labelled_volumes, measure_case
from pipelines.evaluation.failure_reasons import Reason, find_reasons
from pipelines.evaluation.slice_errors import SliceError, measure_slices
from pipelines.evaluation.uncertainty_maps import ProbabilityPredictor, entropy
from pipelines.evaluation.voxel_calibration import VoxelCalibration, heart_band


class HeartPredictor(VolumePredictor, ProbabilityPredictor, Protocol):
    """Segments volumes and tells its probabilities, e.g. `pipelines.models.predictor.Predictor`."""


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
        problems: What was put aside, and why.
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
    progress: Progress | None = None,
) -> HeartErrors:
    """Segment every labelled volume once and measure where, when and why it is wrong.

    Args:
        root: Existing folder in the layout of `reader`.
        predictor: Segments one volume at a time and gives its probabilities.
        records: Patients to measure in place of all in `root`.
        reader: Dataset that `root` holds, a name in `READERS`.
        progress: Called with volumes done, volumes in all and the volume's name.

    Raises:
        ConfigError: If there is no such reader.
        DataError: If there is no labelled volume, or none that can be measured.
    """
    labelled, problems = labelled_volumes(root, records, reader)
    calibration = VoxelCalibration()
    volumes = []
    for done, record in enumerate(labelled, start=1):
        try:
            volumes.append(_measure(record, predictor, calibration))
        except DataError as error:
            problems.append(Problem(record.patient, record.image, str(error)))
        if progress is not None:
            progress(done, len(labelled), f"{record.patient} {record.phase}")
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


def stack_of(array: npt.NDArray[Any], volume: Volume) -> npt.NDArray[Any]:
    """A map on a volume's grid with its slices on the last axis."""
    return slices_last(replace(volume, array=array))[0].array


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
