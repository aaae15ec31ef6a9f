"""Evaluation of a predictor on labelled short-axis volumes: figures, tables and their summary."""

import logging
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from pipelines.core.cardiac import (
    CardiacIndices,
    IntArray,
    Spacing,
    indices_from_volumes,
    structure_volumes_ml,
)
from pipelines.core.errors import ConfigError, DataError, expecting
from pipelines.core.files import atomic_path, output_folder, read_json, write_csv, write_json
from pipelines.core.progress import track
from pipelines.core.records import (
    FOREGROUND,
    LABEL_NAMES,
    AcdcLabel,
    PatientRecord,
    Phase,
    Problem,
    VolumeRecord,
)
from pipelines.core.volume import Volume, check_same_grid, read_label, read_volume, slices_last, write_label
from pipelines.core.wall import find_rings
from pipelines.datasets.duplicates import image_hash
from pipelines.datasets.loading import LabelValues, load_pair, with_values, without_unlabelled
from pipelines.datasets.readers import read_dataset
from pipelines.evaluation.statistics import (
    RESAMPLES,
    FloatArray,
    Walls,
    agreement,
    bootstrap_weights,
    known_value,
    mean_of_defined,
    percentile_interval,
    wall_agreement,
    weighted_mean,
    weighted_median,
)
from pipelines.figures.overlay import overlay_figure

METRIC_NAMES: Final = ("dice", "iou", "precision", "recall", "f1", "hd95_mm", "assd_mm")
"""The fields of `StructureMetrics` that are figures, in the order of result files."""

NOT_LABELLED: Final = "labels"
"""Where a structure is absent from that the dataset does not label at all."""

HAUSDORFF_PERCENTILE: Final = 95
"""Percentile of the directed surface distances that HD95 keeps."""


@dataclass(frozen=True, slots=True)
class StructureMetrics:
    """How well one structure of one volume was found.

    Attributes:
        dice: Dice coefficient, 0 to 1.
        iou: Intersection over union, 0 to 1.
        precision: Share of the predicted voxels that are true, 0 to 1.
        recall: Share of the true voxels that were predicted, 0 to 1.
        f1: F1 score of the voxels, 0 to 1; on one volume the same as `dice`.
        hd95_mm: 95% Hausdorff distance in mm.
        assd_mm: Average symmetric surface distance in mm.
        absent_from: `"both"`, `"prediction"`, `"truth"`, `""` if in both masks, or `NOT_LABELLED`.
    """

    dice: float | None = None
    iou: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    hd95_mm: float | None = None
    assd_mm: float | None = None
    absent_from: str = ""


def volume_metrics(
    prediction: IntArray,
    truth: IntArray,
    spacing_mm: Spacing,
    structures: Collection[AcdcLabel] = FOREGROUND,
) -> dict[AcdcLabel, StructureMetrics]:
    """Overlap and surface distances in mm of RV, myocardium and LV.

    HD95 is the larger of the two directed 95th percentiles: from each surface
    voxel of one mask to the nearest surface voxel of the other, and back. Some
    toolkits take one percentile of both directions pooled, which is never larger.
    ASSD is the mean over the surface voxels of both masks pooled. The surface
    is the voxels with a face neighbour outside the structure, across slices too.

    Args:
        prediction: `(X, Y, Z)` integer label map with values from `AcdcLabel`.
        truth: `(X, Y, Z)` integer label map of the same shape.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the axis order of the masks.
        structures: Structures that `truth` tells of.

    Returns:
        Metrics of each foreground structure. Absent from both masks: all None.
        Absent from one: the overlaps are 0, the distances None. Not among
        `structures`: all None, since nobody knows where it is.

    Raises:
        ValueError: If the shapes differ, a mask is not 3-D or a spacing is not positive.

    References:
        HD95 and pooled ASSD: Maier-Hein, Reinke et al., Nature Methods 21, 2024,
        doi:10.1038/s41592-023-02151-z. Both equal MONAI's `compute_hausdorff_distance`
        and `compute_average_surface_distance(symmetric=True)`.
    """
    if prediction.ndim != 3 or prediction.shape != truth.shape:
        raise ValueError(
            f"expected two 3-D label maps of one shape, found {prediction.shape} and {truth.shape}"
        )
    if not all(value > 0 for value in spacing_mm):
        raise ValueError(f"expected positive spacings in mm, found {spacing_mm}")
    return {
        label: _structure_metrics(prediction == label, truth == label, spacing_mm)
        if label in structures
        else StructureMetrics(absent_from=NOT_LABELLED)
        for label in FOREGROUND
    }


def dice_coefficient(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float | None:
    """Dice coefficient of two masks of one shape, 0 to 1, None if both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


def _structure_metrics(
    predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_], spacing_mm: Spacing
) -> StructureMetrics:
    n_predicted, n_true = int(predicted.sum()), int(true.sum())
    if n_predicted == 0 and n_true == 0:
        return StructureMetrics(absent_from="both")
    if n_predicted == 0 or n_true == 0:
        absent_from = "truth" if n_true == 0 else "prediction"
        return StructureMetrics(0.0, 0.0, 0.0, 0.0, 0.0, None, None, absent_from=absent_from)
    n_common = int((predicted & true).sum())
    hd95_mm, assd_mm = _surface_distances_mm(predicted, true, spacing_mm)
    dice = dice_coefficient(predicted, true)
    return StructureMetrics(
        dice=dice,
        iou=n_common / (n_predicted + n_true - n_common),
        precision=n_common / n_predicted,
        recall=n_common / n_true,
        f1=dice,
        hd95_mm=hd95_mm,
        assd_mm=assd_mm,
    )


def _surface_distances_mm(
    predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_], spacing_mm: Spacing
) -> tuple[float, float]:
    inside = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(predicted | true))
    first, second = (_surface_mm(mask[inside], spacing_mm) for mask in (predicted, true))
    both = [KDTree(second).query(first)[0], KDTree(first).query(second)[0]]
    hd95_mm = max(float(np.percentile(directed, HAUSDORFF_PERCENTILE)) for directed in both)
    return hd95_mm, float(np.concatenate(both).mean())


def _surface_mm(mask: npt.NDArray[np.bool_], spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    surface: npt.NDArray[np.float64] = np.argwhere(mask & ~binary_erosion(mask)) * np.asarray(spacing_mm)
    return surface


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled volume that was segmented and measured.

    Attributes:
        patient: Identifier of the patient.
        group: Disease group, `"unknown"` where the dataset tells none.
        phase: End-diastole or end-systole.
        frame: Number of the frame in the cine, 1-based.
        metrics: Metrics of each foreground structure.
        predicted_ml: Volume of each foreground structure in the prediction, mL.
        truth_ml: Volume of each structure that the label tells of, mL.
        seconds: Wall time of the prediction in seconds, reading apart.
    """

    patient: str
    group: str
    phase: Phase
    frame: int
    metrics: Mapping[AcdcLabel, StructureMetrics]
    predicted_ml: Mapping[AcdcLabel, float]
    truth_ml: Mapping[AcdcLabel, float]
    seconds: float

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Case":
        """The case that `as_json` wrote."""
        names = {label: LABEL_NAMES[label] for label in FOREGROUND}
        return cls(
            patient=content["patient"],
            group=content["group"],
            phase=Phase(content["phase"]),
            frame=content["frame"],
            metrics={
                label: StructureMetrics(
                    **{metric: content[metric][name] for metric in METRIC_NAMES},
                    absent_from=content["absent_from"][name],
                )
                for label, name in names.items()
            },
            predicted_ml={label: content["volume_ml"][name]["predicted"] for label, name in names.items()},
            truth_ml={label: content["volume_ml"][name]["truth"] for label, name in names.items()},
            seconds=content["seconds"],
        )

    @property
    def name(self) -> str:
        """Patient and phase, e.g. `"patient001_ED"`."""
        return f"{self.patient}_{self.phase}"

    def value(self, metric: str, label: AcdcLabel) -> float | None:
        """One metric of one structure; None where it is not defined."""
        figure: float | None = getattr(self.metrics[label], metric)
        return figure

    def mean(self, metric: str) -> float | None:
        """Mean of one metric over the structures that have it; None if none has."""
        values = [value for label in FOREGROUND if (value := self.value(metric, label)) is not None]
        return sum(values) / len(values) if values else None

    def as_json(self) -> dict[str, Any]:
        """The case as it stands in `metrics.json`; undefined metrics are None."""
        content: dict[str, Any] = {
            "patient": self.patient,
            "group": self.group,
            "phase": str(self.phase),
            "frame": self.frame,
        }
        for metric in METRIC_NAMES:
            content[metric] = {LABEL_NAMES[label]: self.value(metric, label) for label in FOREGROUND}
            content[metric]["mean"] = self.mean(metric)
        content["absent_from"] = {LABEL_NAMES[label]: self.metrics[label].absent_from for label in FOREGROUND}
        content["volume_ml"] = {
            LABEL_NAMES[label]: {"predicted": self.predicted_ml[label], "truth": self.truth_ml.get(label)}
            for label in FOREGROUND
        }
        content["seconds"] = self.seconds
        return content

    def as_row(self) -> dict[str, Any]:
        """The case as a flat row of `metrics.csv`, e.g. `dice_lv`; undefined is None."""
        row: dict[str, Any] = {}
        for key, value in self.as_json().items():
            if key == "volume_ml":
                for name, pair in value.items():
                    row[f"volume_{name}_ml_predicted"] = pair["predicted"]
                    row[f"volume_{name}_ml_truth"] = pair["truth"]
            elif isinstance(value, dict):
                row |= {f"{key}_{name}": figure for name, figure in value.items()}
            else:
                row[key] = value
        return row


def read_cases(path: Path) -> list[Case]:
    """Cases of an evaluation, in the order they were measured.

    Args:
        path: `metrics.json` of `thorax evaluate`, or a file with the same `cases`.

    Raises:
        DataError: If there is no such file, or it holds no cases of this version.
    """
    wanted = f"an evaluation of hearts with its cases at {path}"
    with expecting(wanted, advice="measure with 'thorax evaluate'"):
        cases = [Case.from_json(case) for case in read_json(path)["cases"]]
    if not cases:
        raise DataError(f"expected an evaluation with a case, found none in {path}; measure again")
    return cases


INDEX_FIELDS: Final = {
    "ef_lv": "lv_ef_percent",
    "edv_lv_ml": "lv_edv_ml",
    "esv_lv_ml": "lv_esv_ml",
    "ef_rv": "rv_ef_percent",
    "edv_rv_ml": "rv_edv_ml",
    "esv_rv_ml": "rv_esv_ml",
    "mass_g": "myo_mass_ed_g",
}
"""Names of the indices in `metrics.json`, and the fields of `CardiacIndices` behind them."""

DEFINITIONS: Final = {
    "mean": "mean over the three structures of the mean over volumes",
    "f1": "voxel F1 score of a volume, the same as its Dice coefficient",
    "hd95_mm": "larger directed 95th percentile, mean over volumes with the structure in both masks",
    "assd_mm": "mean over both surfaces pooled, mean over volumes with the structure in both masks",
    "loa": "bias -+ 1.96 sample SD of measured minus true",
    "ef_lv": "percentage points, over patients with both phases",
    "seconds_per_volume": "median wall time of a prediction, reading apart",
    "intervals": "95% percentile bootstrap over patients",
}
"""What the values of `metrics.json` mean, written along with them."""


@dataclass(frozen=True, slots=True)
class PatientIndices:
    """Measured and true indices of one evaluated patient.

    Attributes:
        patient: Identifier of the patient.
        group: Disease group.
        predicted: Indices from the predicted masks.
        truth: Indices from the labels.
    """

    patient: str
    group: str
    predicted: CardiacIndices
    truth: CardiacIndices


def summarise(cases: Sequence[Case], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Metrics of an evaluation as they stand in `metrics.json`.

    `mean` is the mean over RV, MYO and LV of the mean over volumes. Volumes of
    patients with one phase count for overlap and distances, not for EF.

    Args:
        cases: Evaluated volumes, at least one.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        `summary` (each metric in METRIC_NAMES by structure and `mean`; each index
        in INDEX_FIELDS with `mae`, `bias`, `loa`, `pearson`; `seconds_per_volume`,
        the median in seconds; `patients`; `volumes`), `intervals` (the same tree
        with `[low, high]`, None with fewer than two patients), `by_phase`,
        `by_group`, `absent_from` (how many volumes lack a structure, and where),
        `definitions`, `patients` (measured and true indices) and `cases`. What
        is not defined is None.

    Raises:
        ValueError: If there are no cases.
    """
    if not cases:
        raise ValueError("expected at least one evaluated volume, found none")
    patients = patient_indices(cases)
    # One patient says nothing about the spread: weights of 0 leave every interval undefined.
    several = len(patients) > 1
    drawn = bootstrap_weights(len(patients), resamples=resamples, seed=seed) if several else np.zeros((1, 1))
    phases = {phase: [case for case in cases if case.phase == phase] for phase in Phase}
    names = sorted({case.group for case in cases})
    groups = {group: [case for case in cases if case.group == group] for group in names}
    return {
        "summary": _estimate(cases),
        "intervals": _each_leaf(_statistics(cases, patients, drawn), percentile_interval),
        "by_phase": {str(phase): _without_indices(_estimate(part)) for phase, part in phases.items() if part},
        "by_group": {group: _estimate(part) for group, part in groups.items()},
        "absent_from": _count_absent(cases),
        "definitions": dict(DEFINITIONS),
        "patients": [asdict(patient) for patient in patients],
        "cases": [case.as_json() for case in cases],
    }


def patient_indices(cases: Sequence[Case]) -> list[PatientIndices]:
    """Measured and true indices of each patient, in the order of first appearance."""
    by_patient: dict[str, dict[Phase, Case]] = {}
    for case in cases:
        by_patient.setdefault(case.patient, {})[case.phase] = case
    patients = []
    for patient, phases in by_patient.items():
        ed, es = phases.get(Phase.ED), phases.get(Phase.ES)
        predicted = indices_from_volumes(ed.predicted_ml if ed else None, es.predicted_ml if es else None)
        truth = indices_from_volumes(ed.truth_ml if ed else None, es.truth_ml if es else None)
        group = next(iter(phases.values())).group
        patients.append(PatientIndices(patient, group, predicted, truth))
    return patients


def _estimate(cases: Sequence[Case]) -> dict[str, Any]:
    patients = patient_indices(cases)
    estimate: dict[str, Any] = _each_leaf(
        _statistics(cases, patients, np.ones((1, len(patients)))), known_value
    )
    return estimate | {"patients": len(patients), "volumes": len(cases)}


def _without_indices(estimate: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in estimate.items() if key not in INDEX_FIELDS}


def _statistics(
    cases: Sequence[Case], patients: Sequence[PatientIndices], weights: FloatArray
) -> dict[str, Any]:
    position = {patient.patient: index for index, patient in enumerate(patients)}
    owner = np.array([position[case.patient] for case in cases], dtype=np.intp)
    tree: dict[str, Any] = {}
    for metric in METRIC_NAMES:
        columns = {
            LABEL_NAMES[label]: weighted_mean(
                _column([case.value(metric, label) for case in cases]), owner, weights
            )
            for label in FOREGROUND
        }
        tree[metric] = columns | {"mean": mean_of_defined(list(columns.values()))}
    for name, field in INDEX_FIELDS.items():
        measured = _column([getattr(patient.predicted, field) for patient in patients])
        truth = _column([getattr(patient.truth, field) for patient in patients])
        tree[name] = agreement(measured, truth, weights)
    tree["seconds_per_volume"] = weighted_median(_column([case.seconds for case in cases]), owner, weights)
    return tree


def _column(figures: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if figure is None else figure for figure in figures], dtype=np.float64)


def _each_leaf(tree: Any, leaf: Callable[[FloatArray], Any]) -> Any:
    """The tree with each statistic `(R,)` as a number or interval; None for pairs of which one is None."""
    if isinstance(tree, dict):
        return {key: _each_leaf(branch, leaf) for key, branch in tree.items()}
    if isinstance(tree, list):
        ends = [leaf(end) for end in tree]
        return None if None in ends else ends
    return leaf(tree)


def _count_absent(cases: Sequence[Case]) -> dict[str, dict[str, int]]:
    counts = {}
    for label in FOREGROUND:
        found = Counter(case.metrics[label].absent_from for case in cases)
        counts[LABEL_NAMES[label]] = {where: found[where] for where in ("prediction", "truth", "both")}
    return counts


OVERLAYS = 5
"""Least number of overlay pictures, as far as there are volumes."""

NOTHING_KNOWN = (
    "expected weights with a list of the images they were trained on, seen.json beside them, found none: "
    "patients that they have seen cannot be left out; measure them without --unseen-only"
)

logger = logging.getLogger(__name__)


class SegmentedVolume(Protocol):
    """What a predictor returns: a label map on the volume's own grid."""

    @property
    def mask(self) -> IntArray:
        """`(X, Y, Z)` label map with values from `AcdcLabel`."""


class VolumePredictor(Protocol):
    """Anything that segments a volume, e.g. `pipelines.models.heart.Predictor`."""

    def predict(self, volume: Volume) -> SegmentedVolume:
        """Label map of a 3-D volume."""


def evaluate(
    root: Path,
    output: Path,
    predictor: VolumePredictor,
    *,
    records: Sequence[PatientRecord] | None = None,
    reader: str = "acdc",
    overlays: bool = True,
    masks: Path | None = None,
    label_values: LabelValues | None = None,
    seen: frozenset[str] | None = None,
    unseen_only: bool = False,
) -> dict[str, Any]:
    """Segment every labelled volume, measure it, and write figures and pictures.

    A volume that cannot be read or does not fit its label is listed under
    `problems`, and the rest goes on. Structures that the dataset does not label
    have no figures, and voxels that nobody annotated (slices without contours)
    count neither for the overlap nor for the volumes, measured or true.

    Args:
        root: Existing folder in the layout of `reader`.
        output: Folder for `metrics.json`, `metrics.csv` (a row per volume) and
            `overlays/*.png`; made if it does not exist.
        predictor: Segments one volume at a time.
        records: Patients to evaluate in place of all in `root`.
        reader: Dataset that `root` holds, a name in `READERS`.
        overlays: Draw pictures; a few volumes are segmented again for them.
        masks: Folder that takes the label map of each volume, named as its image, and is made if it does not
            exist; none are kept without it.
        label_values: What the values of the label files mean where they are not those of `reader`.
        seen: Hashes of the images that the weights were trained on, None if they are not known.
        unseen_only: Leave out the patients that the weights were trained on.

    Returns:
        The content of `metrics.json`: see `summarise`, and `problems`; `seen_patients`, those that the
            weights were trained on, whether measured or left out, or None if nothing is known of that.

    Raises:
        ConfigError: If there is no such reader, or `unseen_only` where nothing is known of what was seen.
        DataError: If there is no labelled volume, or none that can be evaluated.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    if unseen_only and seen is None:
        raise ConfigError(NOTHING_KNOWN)
    if masks is not None:
        output_folder(masks)
    labelled, problems = labelled_volumes(root, records, reader)
    if label_values:
        labelled = [with_values(record, label_values) for record in labelled]
    seen_patients = patients_seen(labelled, seen, image_hash)
    if unseen_only:
        labelled = [record for record in labelled if record.patient not in set(seen_patients or [])]
    measured: list[_Measured] = []
    for record in track(labelled, lambda one: f"{one.patient} {one.phase}"):
        try:
            measured.append(_measure(record, predictor, masks))
        except DataError as error:
            logger.warning("skipped %s %s: %s", record.patient, record.phase, error)
            problems.append(Problem(record.patient, record.image, str(error)))
    if not measured:
        raise DataError(
            f"expected a volume that can be evaluated below {root}, found none of {len(labelled)}; "
            f"the last problem: {problems[-1].reason}"
        )
    cases = [volume.case for volume in measured]
    metrics = summarise(cases) | {"problems": [asdict(problem) for problem in problems]}
    metrics |= {"seen_patients": seen_patients, "unseen_only": unseen_only}
    metrics["wall"] = wall_agreement(
        (one.case.patient, one.case.phase, one.walls) for one in measured if one.walls is not None
    )
    if overlays:
        _write_overlays(measured, predictor, output / "overlays")
    rows = [case.as_row() for case in cases]
    write_csv(output / "metrics.csv", rows[0], rows)
    write_json(output / "metrics.json", metrics)
    return metrics


def patients_seen(
    records: Sequence[Any], seen: frozenset[str] | None, hash_of: Callable[[Any], str]
) -> list[str] | None:
    """Patients with an image that the weights were trained on, in name order; None if it is not known.

    Args:
        records: Images, each with its `patient`.
        seen: Hashes of the images that the weights were trained on, None if they are not known.
        hash_of: Hash of the image of a record.
    """
    if seen is None:
        return None
    found = set[str]()
    for record in records:
        with suppress(DataError):  # reported where it is measured
            if hash_of(record) in seen:
                found.add(record.patient)
    return sorted(found)


def choose_overlays(cases: Sequence[Case]) -> dict[int, str]:
    """Which volumes to draw: index into `cases` and rank in words, worst first.

    Takes the worst, median and best by mean Dice, the worst of each phase, and
    then the next worst until there are `OVERLAYS`. A volume whose Dice is not
    defined comes last in the order.
    """
    scores = [case.mean("dice") for case in cases]
    order = sorted(range(len(cases)), key=lambda index: (scores[index] is None, scores[index] or 0.0))
    ranked = [index for index in order if scores[index] is not None] or order
    chosen = {ranked[0]: "worst"}
    chosen.setdefault(ranked[len(ranked) // 2], "median")
    chosen.setdefault(ranked[-1], "best")
    for phase in Phase:
        of_phase = [index for index in order if cases[index].phase == phase]
        if of_phase:
            chosen.setdefault(of_phase[0], f"worst {phase}")
    for index in order:
        if len(chosen) >= OVERLAYS:
            break
        chosen.setdefault(index, "low")
    return dict(sorted(chosen.items(), key=lambda item: order.index(item[0])))


def labelled_volumes(
    root: Path, records: Sequence[PatientRecord] | None = None, reader: str = "acdc"
) -> tuple[list[VolumeRecord], list[Problem]]:
    """Volumes that can be measured, patient by patient, and what was skipped on the way.

    Args:
        root: Existing folder in the layout of `reader`.
        records: Patients to take in place of all in `root`.
        reader: Dataset that `root` holds, a name in `READERS`.

    Raises:
        ConfigError: If there is no such reader.
        DataError: If there is no labelled volume.
    """
    patients, problems = records, list[Problem]()
    if patients is None:
        dataset = read_dataset(reader, root)
        patients, problems = dataset.patients, list(dataset.problems)
    volumes = [volume for patient in patients for volume in patient.volumes]
    labelled = [volume for volume in volumes if volume.label is not None and volume.structures]
    if not labelled:
        raise DataError(
            f"expected labelled volumes (RV, MYO or LV) below {root}, found {len(patients)} patients "
            f"without one; 'thorax datasets {reader}' tells where labels belong and what they say"
        )
    return labelled, problems


def measure_case(
    record: VolumeRecord, spacing_mm: Spacing, mask: IntArray, truth: IntArray, seconds: float
) -> Case:
    """Metrics of one segmented volume.

    Args:
        record: The volume and what its label tells of.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the axis order of the masks.
        mask: `(X, Y, Z)` predicted label map, background where nobody annotated.
        truth: `(X, Y, Z)` true label map, background where nobody annotated.
        seconds: Wall time of the prediction.
    """
    return Case(
        patient=record.patient,
        group=record.group,
        phase=record.phase,
        frame=record.frame,
        metrics=volume_metrics(mask, truth, spacing_mm, record.structures),
        predicted_ml=structure_volumes_ml(mask, spacing_mm),
        truth_ml=structure_volumes_ml(truth, spacing_mm, record.structures),
        seconds=seconds,
    )


class _Measured(NamedTuple):
    record: VolumeRecord
    case: Case
    walls: Walls | None


def _measure(record: VolumeRecord, predictor: VolumePredictor, masks: Path | None) -> _Measured:
    image, label = load_pair(record)
    started = time.perf_counter()
    mask = predictor.predict(image).mask
    seconds = time.perf_counter() - started
    if masks is not None:
        write_label(masks / record.image.name, mask.astype(np.uint8, copy=False), image.affine)
    mask, truth = without_unlabelled(mask, label.array)
    case = measure_case(record, image.spacing_mm, mask, truth, seconds)
    walls = None
    if set(FOREGROUND) <= set(record.structures):
        walls = find_rings(replace(image, array=mask)), find_rings(replace(image, array=truth))
    return _Measured(record, case, walls)


def _write_overlays(measured: Sequence[_Measured], predictor: VolumePredictor, folder: Path) -> None:
    # The few volumes drawn are segmented again: keeping every mask would grow with the cohort.
    chosen = choose_overlays([volume.case for volume in measured])
    with atomic_path(folder) as temporary:
        for rank, (index, word) in enumerate(chosen.items(), start=1):
            name = f"{rank:02d}_{word.replace(' ', '_')}_{measured[index].case.name}.png"
            _draw(measured[index], word, predictor, temporary / name)


def _draw(volume: _Measured, word: str, predictor: VolumePredictor, path: Path) -> None:
    image, mask, truth = segmented_again(volume.record, predictor)
    score = volume.case.mean("dice")
    quality = "no structure in either mask" if score is None else f"mean Dice {score:.3f}"
    title = f"{volume.case.patient} {volume.case.phase}, {volume.case.group}: {word}, {quality}"
    overlay_figure(image.array, mask, path, truth=truth, title=title, spacing_mm=image.spacing_mm)


def segmented_again(record: VolumeRecord, predictor: VolumePredictor) -> tuple[Volume, Any, Any]:
    """Image, prediction and truth with slices last, for a picture: masks are not kept."""
    image, label = load_pair(record)
    mask, truth = without_unlabelled(predictor.predict(image).mask, label.array)
    return slices_last(image)[0], stack_of(mask, image), stack_of(truth, image)


def stack_of(array: npt.NDArray[Any], volume: Volume) -> npt.NDArray[Any]:
    """A map on a volume's grid with its slices on the last axis."""
    return slices_last(replace(volume, array=array))[0].array


STRUCTURES = tuple(LABEL_NAMES[label] for label in FOREGROUND)

MEAN = "mean"
"""Name of the mean over the structures."""


def structure_dice(prediction: IntArray, truth: IntArray) -> dict[str, float | None]:
    """Dice of each structure, and their mean.

    Args:
        prediction: `(X, Y, Z)` label map with values from `AcdcLabel`.
        truth: `(X, Y, Z)` label map of the same shape.

    Returns:
        `rv`, `myo`, `lv` and `mean`; None for a structure that neither mask has.
    """
    found = {
        LABEL_NAMES[label]: dice_coefficient(prediction == label, truth == label) for label in FOREGROUND
    }
    return with_mean(found)


def mean_dice(predictor: VolumePredictor, items: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Dice of each structure, the mean over labelled volumes that have it; and the mean of these.

    Args:
        predictor: Segments one volume at a time.
        items: Volumes as in a datalist, with the paths of `image` and `label`.

    Returns:
        `rv`, `myo`, `lv` and `mean`; None for a structure that no volume has.

    Raises:
        DataError: If a volume cannot be read, or a label is not on its image's grid.
    """
    rows = []
    for item in items:
        image, label = read_volume(Path(item["image"])), read_label(Path(item["label"]))
        check_same_grid(image, label)
        rows.append(structure_dice(predictor.predict(image).mask, label.array))
    return with_mean({name: _mean(row[name] for row in rows) for name in STRUCTURES})


def with_mean(dice: dict[str, float | None]) -> dict[str, float | None]:
    """The same with the mean of the structures that have a Dice as `mean`."""
    return {**dice, MEAN: _mean(dice.values())}


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.fmean(defined) if defined else None
