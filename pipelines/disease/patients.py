"""Patients of a datalist with their features, from true label maps or from a folder of masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.core.records import PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import Volume, check_same_grid, read_label
from pipelines.datasets.acdc import read_acdc
from pipelines.datasets.prepare import patient_records
from pipelines.disease.features import Features, disease_features
from pipelines.interaction.simulation import mask_path


@dataclass(frozen=True, slots=True)
class MeasuredHeart:
    """One patient with features of the heart.

    Attributes:
        patient: Identifier.
        group: Disease group, the truth.
        features: As from `disease_features`.
    """

    patient: str
    group: str
    features: Features


def measure_hearts(
    items: Sequence[Mapping[str, Any]], *, root: Path | None = None, masks: Path | None = None
) -> tuple[list[MeasuredHeart], list[Problem]]:
    """Features of the patients of a datalist.

    Args:
        items: Volumes as in a datalist.
        root: Folder in ACDC's layout that tells heights and weights, where it does; None for none.
        masks: Folder with a mask of each image, named as the image or as `thorax segment` names it;
            None for the true label maps.

    Returns:
        Patients in name order, and who was skipped and why: without both phases, without masks, or
        with a structure missing.
    """
    bodies = _bodies(root)
    hearts: list[MeasuredHeart] = []
    problems: list[Problem] = []
    for record in patient_records(items):
        try:
            hearts.append(_measure(record, bodies.get(record.patient), masks))
        except DataError as error:
            problems.append(Problem(record.patient, record.volumes[0].image, str(error)))
    return hearts, problems


def mask_of(image: Path, masks: Path) -> Path:
    """Mask of an image in a folder: of the image's own name, or with `_seg` before its suffix.

    Raises:
        DataError: If there is none.
    """
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    candidates = [mask_path(masks, image), masks / f"{stem}_seg.nii.gz"]
    for path in candidates:
        if path.is_file():
            return path
    names = " or ".join(path.name for path in candidates)
    raise DataError(f"expected a mask {names} in {masks}, found none; segment the patient or leave it out")


def _bodies(root: Path | None) -> dict[str, PatientRecord]:
    if root is None or not root.is_dir():
        return {}
    try:
        return {record.patient: record for record in read_acdc(root).patients}
    except DataError:  # another layout: it tells no heights and weights that could be read here
        return {}


def _measure(record: PatientRecord, body: PatientRecord | None, masks: Path | None) -> MeasuredHeart:
    maps = {volume.phase: _map(volume, masks) for volume in record.volumes}
    if len(maps) < len(Phase):
        raise DataError(f"expected ED and ES, found {', '.join(maps) or 'neither'} of {record.patient}")
    features = disease_features(
        maps[Phase.ED],
        maps[Phase.ES],
        height_cm=body.height_cm if body else None,
        weight_kg=body.weight_kg if body else None,
    )
    return MeasuredHeart(record.patient, record.group, features)


def _map(volume: VolumeRecord, masks: Path | None) -> Volume:
    if volume.label is None:
        raise DataError(f"expected a label for {volume.image}, found none")
    truth = read_label(volume.label)
    if masks is None:
        return truth
    found = read_label(mask_of(volume.image, masks))
    check_same_grid(truth, found)
    return found
