"""Volumes, ejection fraction and myocardial mass from short-axis label maps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.core.labels import FOREGROUND, MYOCARDIAL_DENSITY_G_PER_ML, AcdcLabel

IntArray = npt.NDArray[np.integer[Any]]
Spacing = tuple[float, float, float]

MM3_PER_ML = 1000.0


@dataclass(frozen=True, slots=True)
class CardiacIndices:
    """Clinical indices of one patient; None where one cannot be computed.

    Attributes:
        lv_edv_ml: LV end-diastolic volume, mL.
        lv_esv_ml: LV end-systolic volume, mL.
        lv_sv_ml: LV stroke volume, mL.
        lv_ef_percent: LV ejection fraction, percent of the end-diastolic volume.
        rv_edv_ml: RV end-diastolic volume, mL.
        rv_esv_ml: RV end-systolic volume, mL.
        rv_sv_ml: RV stroke volume, mL.
        rv_ef_percent: RV ejection fraction, percent of the end-diastolic volume.
        myo_mass_ed_g: Mass of the LV myocardium at end-diastole, g.
        reason: Why an index is None, `""` if none is.
    """

    lv_edv_ml: float | None
    lv_esv_ml: float | None
    lv_sv_ml: float | None
    lv_ef_percent: float | None
    rv_edv_ml: float | None
    rv_esv_ml: float | None
    rv_sv_ml: float | None
    rv_ef_percent: float | None
    myo_mass_ed_g: float | None
    reason: str = ""


def structure_volume_ml(mask: IntArray, spacing_mm: Spacing, label: AcdcLabel) -> float:
    """Volume of one labelled structure in a short-axis stack, in millilitres.

    Counts whole voxels without partial-volume correction, so with 5 to 10 mm
    slices the basal slice is the largest source of error.

    Args:
        mask: `(X, Y, Z)` integer label map with values from `AcdcLabel`.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the axis order of `mask`.
        label: Structure to measure.

    Returns:
        Volume in mL, `0.0` if the structure is absent from `mask`.

    Raises:
        ValueError: If `mask` is not 3-D or a spacing is not positive.

    References:
        Label values: Bernard et al., IEEE TMI 37(11), 2018, doi:10.1109/TMI.2018.2837502.
    """
    if mask.ndim != 3:
        raise ValueError(f"expected a 3-D label map (X, Y, Z), found {mask.ndim}-D {mask.shape}")
    if len(spacing_mm) != 3 or not all(value > 0 for value in spacing_mm):
        raise ValueError(f"expected three positive spacings in mm, found {spacing_mm}")
    voxel_mm3 = spacing_mm[0] * spacing_mm[1] * spacing_mm[2]
    return float(np.count_nonzero(mask == label) * voxel_mm3 / MM3_PER_ML)


def structure_volumes_ml(
    mask: IntArray, spacing_mm: Spacing, structures: Iterable[AcdcLabel] = FOREGROUND
) -> dict[AcdcLabel, float]:
    """Volume of RV, myocardium and LV in mL, `0.0` for an absent one.

    Args:
        mask: `(X, Y, Z)` integer label map with values from `AcdcLabel`.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the axis order of `mask`.
        structures: Structures that the mask tells of; the others are not in the result.
    """
    return {label: structure_volume_ml(mask, spacing_mm, label) for label in structures}


def cardiac_indices(
    ed_mask: IntArray | None, es_mask: IntArray | None, spacing_ed: Spacing, spacing_es: Spacing
) -> CardiacIndices:
    """Volumes in mL, ejection fractions in percent and mass in g of one patient.

    Args:
        ed_mask: `(X, Y, Z)` integer label map at end-diastole, or None if missing.
        es_mask: `(X, Y, Z)` integer label map at end-systole, or None if missing.
        spacing_ed: `(dx, dy, dz)` voxel size of `ed_mask` in mm.
        spacing_es: `(dx, dy, dz)` voxel size of `es_mask` in mm.

    Returns:
        The indices; see `indices_from_volumes` for what is None.
    """
    return indices_from_volumes(
        None if ed_mask is None else structure_volumes_ml(ed_mask, spacing_ed),
        None if es_mask is None else structure_volumes_ml(es_mask, spacing_es),
    )


def indices_from_volumes(
    ed_ml: Mapping[AcdcLabel, float] | None, es_ml: Mapping[AcdcLabel, float] | None
) -> CardiacIndices:
    """Indices of one patient from the volumes of its structures in mL.

    Args:
        ed_ml: Volumes of RV, MYO and LV at end-diastole in mL, without those that the label
            does not tell of; None if the phase is missing.
        es_ml: The same at end-systole.

    Returns:
        The indices. What needs a missing phase or structure is None, and so is an
        ejection fraction whose end-diastolic volume is 0; `reason` names the cause.

    References:
        Mass from end-diastolic myocardial volume: SCMR, doi:10.1186/s12968-020-00610-6.
    """
    reasons = [f"no {phase} label map" for phase, ml in (("ED", ed_ml), ("ES", es_ml)) if ml is None]
    known = [ml for ml in (ed_ml, es_ml) if ml is not None]
    reasons += [
        f"no {label.name} in the labels" for label in FOREGROUND if any(label not in ml for ml in known)
    ]
    lv_sv, lv_ef = _stroke_and_ejection(ed_ml, es_ml, AcdcLabel.LV, reasons)
    rv_sv, rv_ef = _stroke_and_ejection(ed_ml, es_ml, AcdcLabel.RV, reasons)
    return CardiacIndices(
        lv_edv_ml=ed_ml.get(AcdcLabel.LV) if ed_ml else None,
        lv_esv_ml=es_ml.get(AcdcLabel.LV) if es_ml else None,
        lv_sv_ml=lv_sv,
        lv_ef_percent=lv_ef,
        rv_edv_ml=ed_ml.get(AcdcLabel.RV) if ed_ml else None,
        rv_esv_ml=es_ml.get(AcdcLabel.RV) if es_ml else None,
        rv_sv_ml=rv_sv,
        rv_ef_percent=rv_ef,
        myo_mass_ed_g=ed_ml[AcdcLabel.MYO] * MYOCARDIAL_DENSITY_G_PER_ML
        if ed_ml and AcdcLabel.MYO in ed_ml
        else None,
        reason="; ".join(reasons),
    )


def _stroke_and_ejection(
    ed_ml: Mapping[AcdcLabel, float] | None,
    es_ml: Mapping[AcdcLabel, float] | None,
    label: AcdcLabel,
    reasons: list[str],
) -> tuple[float | None, float | None]:
    if ed_ml is not None and ed_ml.get(label) == 0:
        reasons.append(f"{label.name} volume at ED is 0 mL")
    if ed_ml is None or es_ml is None or label not in ed_ml or label not in es_ml:
        return None, None
    stroke = ed_ml[label] - es_ml[label]
    return stroke, 100.0 * stroke / ed_ml[label] if ed_ml[label] > 0 else None
