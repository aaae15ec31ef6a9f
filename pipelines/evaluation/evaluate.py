"""Evaluation of a predictor on labelled short-axis volumes: figures, tables and pictures."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import atomic_path, output_folder, write_csv, write_json
from pipelines.core.indices import IntArray, Spacing, structure_volumes_ml
from pipelines.core.progress import Progress
from pipelines.core.records import PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import Volume, slices_last, write_label
from pipelines.datasets.copies import image_hash
from pipelines.datasets.label_convention import LabelValues
from pipelines.datasets.loading import load_pair, with_values, without_unlabelled
from pipelines.datasets.readers import read_dataset
from pipelines.evaluation.cases import Case
from pipelines.evaluation.metrics import volume_metrics
from pipelines.evaluation.summary import summarise
from pipelines.figures.overlay import overlay_figure

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
    """Anything that segments a volume, e.g. `pipelines.models.predictor.Predictor`."""

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
    progress: Progress | None = None,
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
        progress: Called with volumes done, volumes in all and the volume's name.

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
    seen_patients = _seen_patients(labelled, seen)
    if unseen_only:
        labelled = [record for record in labelled if record.patient not in set(seen_patients or [])]
    measured: list[_Measured] = []
    for done, record in enumerate(labelled, start=1):
        try:
            measured.append(_Measured(record, _measure(record, predictor, masks)))
        except DataError as error:
            logger.warning("put aside %s %s: %s", record.patient, record.phase, error)
            problems.append(Problem(record.patient, record.image, str(error)))
        if progress is not None:
            progress(done, len(labelled), f"{record.patient} {record.phase}")
    if not measured:
        raise DataError(
            f"expected a volume that can be evaluated below {root}, found none of {len(labelled)}; "
            f"the last problem: {problems[-1].reason}"
        )
    cases = [volume.case for volume in measured]
    metrics = summarise(cases) | {"problems": [asdict(problem) for problem in problems]}
    metrics |= {"seen_patients": seen_patients, "unseen_only": unseen_only}
    if overlays:
        _write_overlays(measured, predictor, output / "overlays")
    rows = [case.as_row() for case in cases]
    write_csv(output / "metrics.csv", rows[0], rows)
    write_json(output / "metrics.json", metrics)
    return metrics


def _seen_patients(volumes: Sequence[VolumeRecord], seen: frozenset[str] | None) -> list[str] | None:
    """Patients with an image that the weights were trained on, in name order; None if it is not known."""
    if seen is None:
        return None
    found = set[str]()
    for volume in volumes:
        try:
            if image_hash(volume) in seen:
                found.add(volume.patient)
        except DataError:
            continue  # reported where it is measured
    return sorted(found)


def choose_overlays(cases: Sequence[Case], *, count: int = OVERLAYS) -> dict[int, str]:
    """Which volumes to draw: index into `cases` and rank in words, worst first.

    Takes the worst, median and best by mean Dice, the worst of each phase, and
    then the next worst until there are `count`. A volume whose Dice is not
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
        if len(chosen) >= count:
            break
        chosen.setdefault(index, "low")
    return dict(sorted(chosen.items(), key=lambda item: order.index(item[0])))


def labelled_volumes(
    root: Path, records: Sequence[PatientRecord] | None = None, reader: str = "acdc"
) -> tuple[list[VolumeRecord], list[Problem]]:
    """Volumes that can be measured, patient by patient, and what was put aside on the way.

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
    """Figures of one segmented volume.

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


def _measure(record: VolumeRecord, predictor: VolumePredictor, masks: Path | None) -> Case:
    image, label = load_pair(record)
    started = time.perf_counter()
    mask = predictor.predict(image).mask
    seconds = time.perf_counter() - started
    if masks is not None:
        write_label(masks / record.image.name, mask.astype(np.uint8, copy=False), image.affine)
    mask, truth = without_unlabelled(mask, label.array)
    return measure_case(record, image.spacing_mm, mask, truth, seconds)


def _write_overlays(measured: Sequence[_Measured], predictor: VolumePredictor, folder: Path) -> None:
    # The few volumes drawn are segmented again: keeping every mask would grow with the cohort.
    chosen = choose_overlays([volume.case for volume in measured])
    with atomic_path(folder) as temporary:
        for rank, (index, word) in enumerate(chosen.items(), start=1):
            name = f"{rank:02d}_{word.replace(' ', '_')}_{measured[index].case.name}.png"
            _draw(measured[index], word, predictor, temporary / name)


def _draw(volume: _Measured, word: str, predictor: VolumePredictor, path: Path) -> None:
    image, label = load_pair(volume.record)
    mask, truth = without_unlabelled(predictor.predict(image).mask, label.array)
    predicted = replace(image, array=mask)
    moved = slices_last(image)[0]
    score = volume.case.mean("dice")
    quality = "no structure in either mask" if score is None else f"mean Dice {score:.3f}"
    overlay_figure(
        moved.array,
        slices_last(predicted)[0].array,
        path,
        truth=slices_last(replace(label, array=truth))[0].array,
        title=f"{volume.case.patient} {volume.case.phase}, {volume.case.group}: {word}, {quality}",
        spacing_mm=moved.spacing_mm,
    )
