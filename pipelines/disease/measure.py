"""Measurements of a patient for the disease group: volumes, wall thickness, features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipelines.core.cardiac import IntArray, Spacing, body_surface_m2, cardiac_indices, structure_volumes_ml
from pipelines.core.errors import DataError
from pipelines.core.plausibility import OPEN_RING_SHARE, open_ring_share
from pipelines.core.records import (
    FOREGROUND,
    LABEL_NAMES,
    AcdcLabel,
    PatientRecord,
    Phase,
    Problem,
    VolumeRecord,
)
from pipelines.core.volume import Volume, check_same_grid, read_label, slices_last
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.prepare import patient_records
from pipelines.interaction.simulation import mask_path

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def slice_thickness_mm(label: BoolArray, cavity: BoolArray, spacing_mm: tuple[float, float]) -> FloatArray:
    """Wall thickness in mm at each pixel of the inner border, one slice.

    From the pixels of myocardium that touch the cavity to the nearest pixel outside of the
    ventricle, between their centres: for a wall of n pixels along an axis, n times the spacing.

    Args:
        label: `(X, Y)` myocardium.
        cavity: `(X, Y)` LV cavity.
        spacing_mm: `(dx, dy)` pixel size in mm.

    Returns:
        One value a pixel of the inner border; empty where there is no cavity, or where the ring
        around it is open, as in the outflow tract.
    """
    if not cavity.any() or open_ring_share(cavity, label) > OPEN_RING_SHARE:
        return np.empty(0)
    inner = ndimage.binary_dilation(cavity) & ~cavity & label
    # One pixel of margin, or a ventricle at the edge of the image would have no outside there.
    ventricle = np.pad(label | cavity, 1)
    distance = ndimage.distance_transform_edt(ventricle, sampling=spacing_mm)[1:-1, 1:-1]
    return np.asarray(distance[inner], dtype=np.float64)


def wall_features(mask: IntArray, spacing_mm: Spacing) -> dict[str, float]:
    """Thickness of the wall over a stack: mean and spread within slices, and over slices.

    Args:
        mask: `(X, Y, Z)` label map, slices last.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.

    Returns:
        In mm: `wall_max`, largest of the slices' means; `wall_mean`, mean of these; `wall_std_slices`,
        standard deviation of these; `wall_mean_std`, mean of the slices' standard deviations;
        `wall_std_std`, standard deviation of these. All 0 if no slice has a closed ring.

    References:
        Khened et al., Medical Image Analysis 51, 2019, doi:10.1016/j.media.2018.10.004, table of features
        for the diagnosis of cardiac disease.
    """
    in_plane = (spacing_mm[0], spacing_mm[1])
    walls = [
        wall
        for z in range(mask.shape[2])
        if (
            wall := slice_thickness_mm(
                mask[:, :, z] == AcdcLabel.MYO, mask[:, :, z] == AcdcLabel.LV, in_plane
            )
        ).size
    ]
    means = np.array([wall.mean() for wall in walls] or [0.0])
    spreads = np.array([wall.std() for wall in walls] or [0.0])
    return {
        "wall_max": float(means.max()),
        "wall_mean": float(means.mean()),
        "wall_std_slices": float(means.std()),
        "wall_mean_std": float(spreads.mean()),
        "wall_std_std": float(spreads.std()),
    }


Features = dict[str, float]


def disease_features(
    ed: Volume, es: Volume, *, height_cm: float | None = None, weight_kg: float | None = None
) -> Features:
    """Volumes, function, mass, wall and ratios of one patient.

    Args:
        ed: Label map at end-diastole.
        es: Label map at end-systole.
        height_cm: Body height in cm.
        weight_kg: Body weight in kg.

    Returns:
        Features by names that end in their unit; those of body surface only where height and weight
        are known.

    Raises:
        DataError: If LV, RV or myocardium is absent from a label map.
    """
    maps = {"ed": slices_last(ed)[0], "es": slices_last(es)[0]}
    volumes = {phase: structure_volumes_ml(found.array, found.spacing_mm) for phase, found in maps.items()}
    for phase, found in volumes.items():
        absent = [LABEL_NAMES[label] for label in FOREGROUND if found[label] == 0]
        if absent:
            raise DataError(
                f"expected RV, MYO and LV at {phase.upper()}, found no {', '.join(absent)} in "
                f"{maps[phase].path or 'the mask'}; correct it or leave the patient out"
            )
    indices = cardiac_indices(maps["ed"].array, maps["es"].array, ed.spacing_mm, es.spacing_mm)
    features: Features = {}
    for side in ("lv", "rv"):
        for name in ("edv_ml", "esv_ml", "sv_ml", "ef_percent"):
            features[f"{side}_{name}"] = float(getattr(indices, f"{side}_{name}"))
    features["myo_mass_ed_g"] = float(indices.myo_mass_ed_g or 0.0)
    features["myo_es_ml"] = volumes["es"][AcdcLabel.MYO]
    for phase, found in volumes.items():
        features[f"lv_to_rv_{phase}"] = found[AcdcLabel.LV] / found[AcdcLabel.RV]
        features[f"myo_to_lv_{phase}"] = found[AcdcLabel.MYO] / found[AcdcLabel.LV]
    walls = {phase: wall_features(found.array, found.spacing_mm) for phase, found in maps.items()}
    for phase, wall in walls.items():
        features |= {f"{name}_{phase}_mm": value for name, value in wall.items()}
    thick_ed, thick_es = (walls[phase]["wall_mean"] for phase in ("ed", "es"))
    features["thickening_percent"] = 100 * (thick_es - thick_ed) / thick_ed if thick_ed else 0.0
    if height_cm and weight_kg:
        surface_m2 = body_surface_m2(height_cm, weight_kg)
        features["lv_edv_ml_m2"] = features["lv_edv_ml"] / surface_m2
        features["rv_edv_ml_m2"] = features["rv_edv_ml"] / surface_m2
        features["myo_mass_ed_g_m2"] = features["myo_mass_ed_g"] / surface_m2
    return features


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
