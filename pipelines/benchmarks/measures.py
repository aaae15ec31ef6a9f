"""How far indices can be trusted before a network errs: partial volume, place of the slices, disease groups.

All is measured on label maps: of a labelled dataset, and of generated hearts whose true volumes are known.

References:
    Interpolation of distances: Raya and Udupa, IEEE TMI 9(1), 1990, doi:10.1109/42.52980.
    Repeatability coefficient: Bland and Altman, Lancet 327, 1986, doi:10.1016/S0140-6736(86)90837-8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.interpolate import PchipInterpolator
from sklearn.metrics import roc_auc_score

from pipelines.core.cardiac import (
    HALF_WIDTH,
    MM3_PER_ML,
    PatientFacts,
    body_surface_m2,
    cardiac_indices,
    indices_from_volumes,
    structure_volumes_ml,
)
from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_json
from pipelines.core.plausibility import crop_to_heart
from pipelines.core.progress import show_progress
from pipelines.core.records import FOREGROUND, AcdcLabel, PatientRecord, Phase
from pipelines.core.volume import Volume, check_same_grid, read_label, slices_last
from pipelines.core.wall import Wall, find_rings, measure_wall
from pipelines.datasets.loading import load_label
from pipelines.datasets.nifti_releases import info_facts
from pipelines.datasets.phantom.heart import draw_heart, volumes_ml
from pipelines.datasets.phantom.image import draw_scan, image_frame
from pipelines.datasets.readers import find_reader
from pipelines.figures.overlay import panels, save_png
from pipelines.inference.segment import StudyResult

CONTENT_NAME: Final = "measures.json"
PICTURE_NAME: Final = "groups.png"

INDICES: Final = ("lv_edv_ml", "lv_esv_ml", "lv_ef_percent", "rv_ef_percent", "myo_mass_ed_g")
OFFSETS: Final = (0.0, 0.25, 0.5, -0.25)
"""Shifts of the stack along itself, shares of a slice's distance: places it may come to lie at."""

LEVEL: Final = 0.9
"""Share of patients whose true value an interval is to hold."""

GROUPS: Final = ("NOR", "DCM", "HCM", "MINF", "RV")
EXPECTED: Final = {
    "lv_edv_ml": ("DCM", 1),
    "lv_edv_ml_m2": ("DCM", 1),
    "wall_max_ed_mm": ("HCM", 1),
    "thickening_low_percent": ("MINF", -1),
    "rv_edv_ml": ("RV", 1),
    "rv_edv_ml_m2": ("RV", 1),
    "rv_to_lv_edv": ("RV", 1),
}
"""Values by which a group should stand out from the others, and whether upwards or downwards.

MINF is compared without DCM: where the whole wall hardly moves, its worst segments do not either.
"""

NAMES: Final = {
    "lv_edv_ml": "LV EDV, mL",
    "lv_esv_ml": "LV ESV, mL",
    "lv_ef_percent": "LV EF, percentage points",
    "rv_ef_percent": "RV EF, percentage points",
    "myo_mass_ed_g": "LV mass, g",
    "lv_sv_ml": "LV stroke volume, mL",
    "rv_esv_ml": "RV ESV, mL",
    "rv_sv_ml": "RV stroke volume, mL",
    "wall_mean_ed_mm": "mean thickness at ED, mm",
    "wall_mean_es_mm": "mean thickness at ES, mm",
    "strain_endo_percent": "circumferential strain, inner contour, percentage points",
    "strain_mid_percent": "circumferential strain, middle of the wall, percentage points",
    "strain_epi_percent": "circumferential strain, outer contour, percentage points",
    "strain_radial_percent": "radial strain, percentage points",
    "lv_edv_ml_m2": "LV EDV by body surface, mL/m²",
    "rv_edv_ml": "RV EDV, mL",
    "rv_edv_ml_m2": "RV EDV by body surface, mL/m²",
    "rv_to_lv_edv": "RV EDV / LV EDV",
    "wall_max_ed_mm": "thickest segment at ED, mm",
    "thickening_low_percent": "thickening, lowest four segments, %",
}

Float = float | None
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def measure_measures(
    root: Path,
    output: Path,
    *,
    records: Sequence[PatientRecord] | None = None,
    reader: str = "acdc",
    phantoms: int = 50,
    seed: int = 0,
    unseen_masks: Path | None = None,
    test: tuple[Sequence[PatientRecord], Path] | None = None,
) -> dict[str, Any]:
    """Measure partial volume, repeatability and disease groups; write `measures.json` and `groups.png`.

    Args:
        root: Labelled folder of a dataset.
        output: Folder for the results; made if it does not exist.
        records: Patients to measure in place of all in `root`.
        reader: Dataset in the folder.
        phantoms: Number of generated hearts.
        seed: Seed of these.
        unseen_masks: Folder of label maps, named as their images, by networks that were not trained on the
            patients that they are of; intervals are calibrated on these.
        test: Patients and such a folder of theirs, on which the intervals' coverage is measured.

    Returns:
        What `measures.json` holds: `patients`, for `labels` and `phantoms` by index the change by a surface
        in place of the sum of slices (`surface`), the repeatability coefficient over four places of the
        stack (`repeatability`) and of phantoms the error against the truth (`error_sum`, `error_surface`,
        mean absolute); for `groups` the values by group and how well the expected one is told (`auc`);
        `intervals` of `calibrate_intervals`, None without masks.

    Raises:
        DataError: If no patient has labels at ED and ES.
        OutputError: If a result cannot be written.
    """
    output_folder(output)
    found = find_reader(reader).read(root).patients if records is None else records
    patients = [one for one in found if _phases(one).keys() == set(Phase)]
    if not patients:
        raise DataError(f"expected patients with labels at ED and ES below {root}, found none")
    total = len(patients) + phantoms
    hearts, values = [], []
    for number, patient in enumerate(patients):
        ed, es = (_phases(patient)[phase] for phase in Phase)
        hearts.append(_by_offset(ed, es))
        facts = {"patient": patient.patient, "group": patient.group}
        values.append(facts | _values(ed, es, _surface_m2(patient)))
        show_progress(number + 1, total, patient.patient)
    generated = []
    for number in range(phantoms):
        generated.append(_phantom(GROUPS[number % len(GROUPS)], np.random.default_rng([seed, number])))
        show_progress(len(patients) + number + 1, total, "generated heart")
    content = {
        "patients": len(patients),
        "offsets": list(OFFSETS),
        "labels": {name: _summary([heart[name] for heart in hearts]) for name in INDICES},
        "phantoms": {name: _summary([heart[name] for heart in generated]) for name in INDICES if phantoms},
        "number_of_phantoms": phantoms,
        "groups": {
            name: _group_values(name, values)
            for name in EXPECTED
            if any(one[name] is not None for one in values)
        },
        "values": values,
        "intervals": None
        if unseen_masks is None
        else calibrate_intervals(
            mask_errors(patients, unseen_masks), mask_errors(*test) if test is not None else {}
        ),
    }
    _draw_groups(values, output / PICTURE_NAME)
    write_json(output / CONTENT_NAME, content)
    return content


def mask_errors(patients: Sequence[PatientRecord], folder: Path) -> dict[str, list[float]]:
    """Error of each index that has an interval: of a label map in `folder` against the patient's own.

    Args:
        patients: Those without label maps of both phases in the folder are passed over.
        folder: Label maps, named as their images.

    Raises:
        DataError: If no patient has them.
    """
    errors: dict[str, list[float]] = {name: [] for name in HALF_WIDTH}
    for patient in patients:
        true = _phases(patient)
        files = {one.phase: folder / one.image.name for one in patient.volumes}
        if true.keys() != set(Phase) or not all(path.is_file() for path in files.values()):
            continue
        found = {phase: read_label(path) for phase, path in files.items()}
        for phase, one in found.items():
            check_same_grid(true[phase], one)
        measured, truth = (_measured(one[Phase.ED], one[Phase.ES]) for one in (found, true))
        for name, of_name in errors.items():
            if (value := measured[name]) is not None and (other := truth[name]) is not None:
                of_name.append(value - other)
    if not any(errors.values()):
        raise DataError(
            f"expected label maps of ED and ES of a patient, named as their images, in {folder}, found none"
        )
    return errors


def calibrate_intervals(
    errors: Mapping[str, Sequence[float]], test: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, Any]]:
    """Half of each index's interval, and how often it holds the true value.

    Args:
        errors: Errors by index on the patients that are calibrated on.
        test: The same on others.

    Returns:
        By index `patients`, `half_width` (conformal quantile of the absolute error, None with too few
        patients), `test_patients` and `coverage`, the share of test patients whose error is within it.

    References:
        Split conformal prediction: Lei et al., JASA 113(523), 2018, doi:10.1080/01621459.2017.1307116.
    """
    found = {}
    for name, of_name in errors.items():
        away = np.sort(np.abs(of_name))
        place = int(np.ceil((len(away) + 1) * LEVEL))
        half = float(away[place - 1]) if place <= len(away) else None
        others = np.abs(test.get(name, ()))
        found[name] = {
            "patients": len(away),
            "half_width": half,
            "test_patients": len(others),
            "coverage": float(np.mean(others <= half)) if half is not None and len(others) else None,
        }
    return found


def _measured(ed: Volume, es: Volume) -> dict[str, Float]:
    indices = cardiac_indices(ed.array, es.array, ed.spacing_mm, es.spacing_mm)
    return StudyResult("", "", indices, wall=measure_wall(find_rings(ed), find_rings(es))).values()


def _phases(patient: PatientRecord) -> dict[Phase, Volume]:
    labels = ((one.phase, load_label(one)) for one in patient.volumes)
    return {phase: label for phase, label in labels if label is not None}


def _by_offset(ed: Volume, es: Volume) -> dict[str, dict[str, Any]]:
    """Indices by the sum of slices, by surfaces, and at each place of the stack."""
    plain = [structure_volumes_ml(one.array, one.spacing_mm) for one in (ed, es)]
    sliced = [sliced_volumes_ml(one, OFFSETS) for one in (ed, es)]
    places = [
        [{label: float(found[label][n]) for label in FOREGROUND} for found in sliced]
        for n in range(len(OFFSETS))
    ]
    return _indices(plain, [surface_volumes_ml(one) for one in (ed, es)], places)


def _phantom(group: str, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """As `_by_offset`, each place imaged anew, with the true value."""
    heart = draw_heart(group, rng)
    scan = draw_scan(heart, rng)

    def imaged(offset: float, phase: float) -> Volume:
        moved = replace(scan, depths_mm=scan.depths_mm + offset * scan.spacing_mm[2])
        label = image_frame(moved, phase, rng)[1].T
        return Volume(label, np.diag([*scan.spacing_mm, 1.0]), scan.spacing_mm, Path(group))

    labels = [[imaged(offset, phase) for phase in (0.0, 1.0)] for offset in OFFSETS]
    plain = [[structure_volumes_ml(one.array, one.spacing_mm) for one in pair] for pair in labels]
    found = _indices(plain[0], [surface_volumes_ml(one) for one in labels[0]], plain)
    true = [dict(zip(FOREGROUND, volumes_ml(heart, phase), strict=True)) for phase in (0.0, 1.0)]
    truth = indices_from_volumes(*true)
    return {name: one | {"truth": getattr(truth, name)} for name, one in found.items()}


def _indices(
    plain: Sequence[Mapping[AcdcLabel, float]],
    surface: Sequence[Mapping[AcdcLabel, float]],
    places: Sequence[Sequence[Mapping[AcdcLabel, float]]],
) -> dict[str, dict[str, Any]]:
    sums, surfaces = indices_from_volumes(*plain), indices_from_volumes(*surface)
    moved = [indices_from_volumes(*pair) for pair in places]
    return {
        name: {
            "sum": getattr(sums, name),
            "surface": getattr(surfaces, name),
            "places": [getattr(one, name) for one in moved],
        }
        for name in INDICES
    }


def _summary(hearts: Sequence[Mapping[str, Any]]) -> dict[str, Float]:
    known = [one for one in hearts if None not in (one["sum"], one["surface"], *one["places"])]
    change = np.array([one["surface"] - one["sum"] for one in known])
    within = np.mean([np.var(one["places"], ddof=1) for one in known])
    found: dict[str, Float] = {
        "surface": float(change.mean()),
        "surface_sd": float(change.std(ddof=1)) if len(change) > 1 else None,
        "repeatability": float(1.96 * np.sqrt(2 * within)),
    }
    for name in ("sum", "surface"):
        errors = [abs(one[name] - one["truth"]) for one in known if "truth" in one]
        found[f"error_{name}"] = float(np.mean(errors)) if errors else None
    return found


def _surface_m2(patient: PatientRecord) -> Float:
    """Body surface in m², None without height and weight; a prepared folder leaves them to `Info.cfg`."""
    folder = patient.volumes[0].image.parent
    facts = PatientFacts(patient.height_cm, patient.weight_kg)
    if (folder / "Info.cfg").is_file():
        facts = facts.or_else(info_facts(folder))
    if facts.height_cm is None or facts.weight_kg is None:
        return None
    return body_surface_m2(facts.height_cm, facts.weight_kg)


def _values(ed: Volume, es: Volume, surface_m2: Float) -> dict[str, Float]:
    ed_ml = structure_volumes_ml(ed.array, ed.spacing_mm)
    lv, rv = ed_ml[AcdcLabel.LV], ed_ml[AcdcLabel.RV]
    wall = measure_wall(find_rings(ed), find_rings(es))
    return {
        "lv_edv_ml": lv,
        "lv_edv_ml_m2": None if surface_m2 is None else lv / surface_m2,
        "wall_max_ed_mm": wall.max_ed_mm,
        "thickening_low_percent": _low(wall),
        "rv_edv_ml": rv,
        "rv_edv_ml_m2": None if surface_m2 is None else rv / surface_m2,
        "rv_to_lv_edv": rv / lv if lv else None,
    }


def _low(wall: Wall) -> Float:
    """Mean thickening of the four segments that thicken least, percent; None with fewer than 12 measured."""
    known = sorted(one for one in wall.thickening_percent if one is not None)
    return float(np.mean(known[:4])) if len(known) >= 12 else None


def _group_values(name: str, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians by group, and the area under the curve of the expected group against the others."""
    group, sign = EXPECTED[name]
    known = [one for one in values if one[name] is not None]
    against = [one for one in known if not (group == "MINF" and one["group"] == "DCM")]
    truth = [one["group"] == group for one in against]
    scores = [sign * one[name] for one in against]
    by_group = {each: [one[name] for one in known if one["group"] == each] for each in GROUPS}
    return {
        "group": group,
        "patients": len(against),
        "auc": float(roc_auc_score(truth, scores)) if len(set(truth)) == 2 else None,
        "median": {each: float(np.median(found)) if found else None for each, found in by_group.items()},
    }


def _draw_groups(values: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """A point a patient by group, one panel for each value; the expected group is coloured."""
    known = [name for name in EXPECTED if any(one[name] is not None for one in values)]
    figure, axes = panels(3, -(-len(known) // 3), width=2.9, height=2.4)
    for panel in axes[len(known) :]:
        panel.set_axis_off()
    for panel, name in zip(axes, known, strict=False):
        group, _ = EXPECTED[name]
        for place, each in enumerate(GROUPS):
            found = [one[name] for one in values if one["group"] == each and one[name] is not None]
            spread = np.linspace(-0.25, 0.25, len(found)) if len(found) > 1 else np.zeros(len(found))
            color = "#b91c1c" if each == group else "#6b7280"
            panel.plot(place + spread, found, "o", markersize=3.5, color=color, alpha=0.8)
            if found:
                panel.plot([place - 0.3, place + 0.3], [np.median(found)] * 2, color=color, linewidth=2)
        panel.set_title(NAMES[name], size=8)
        panel.set_xticks(range(len(GROUPS)), GROUPS, size=8)
    return save_png(figure, path)


STEPS: Final = 8
"""Planes a slice that the volume below the surface is summed over."""


def surface_volumes_ml(label: Volume) -> dict[AcdcLabel, float]:
    """Volume of RV, myocardium and LV in mL by surfaces; `0.0` for an absent one.

    Args:
        label: `(X, Y, Z)` label map with values from `AcdcLabel`, in any order of its axes.
    """
    offsets = (np.arange(STEPS) + 0.5) / STEPS - 0.5
    return {one: float(found.mean()) for one, found in sliced_volumes_ml(label, offsets).items()}


def sliced_volumes_ml(label: Volume, offsets: Sequence[float] | FloatArray) -> dict[AcdcLabel, FloatArray]:
    """Volumes in mL that sums of slices give where the stack lies otherwise over the same surfaces.

    Args:
        label: `(X, Y, Z)` label map, in any order of its axes.
        offsets: By what share of a slice's distance the stack is shifted along itself, -0.5 to 0.5.

    Returns:
        A volume for each offset.
    """
    stack, _ = slices_last(label)
    heart = stack.array[crop_to_heart(stack.array)]
    voxel_ml = float(np.prod(stack.spacing_mm)) / MM3_PER_ML
    lv = heart == AcdcLabel.LV
    sums = {
        AcdcLabel.LV: _areas(lv, stack.spacing_mm[:2], offsets),
        AcdcLabel.RV: _areas(heart == AcdcLabel.RV, stack.spacing_mm[:2], offsets),
        AcdcLabel.MYO: _areas(lv | (heart == AcdcLabel.MYO), stack.spacing_mm[:2], offsets),
    }
    sums[AcdcLabel.MYO] -= sums[AcdcLabel.LV]
    return {one: sums[one] * voxel_ml for one in FOREGROUND}


def _areas(
    region: BoolArray, spacing_mm: tuple[float, ...], offsets: Sequence[float] | FloatArray
) -> FloatArray:
    """Pixels of a region in all planes of a stack, for each offset."""
    present = np.flatnonzero(region.any(axis=(0, 1)))
    if not len(present):
        return np.zeros(len(offsets))
    inner = np.pad(region[:, :, present[0] : present[-1] + 1], ((1, 1), (1, 1), (1, 1)))
    distance = np.stack([_distance_mm(plane, spacing_mm) for plane in np.moveaxis(inner, 2, 0)], axis=2)
    deepest = distance.max(axis=(0, 1))
    for z in np.flatnonzero(deepest < 0):
        # A plane without the structure: as far outside as its neighbours are inside at most.
        distance[:, :, z] = -max(deepest[max(z - 1, 0) : z + 2].max(), 0.0)
    surface = PchipInterpolator(np.arange(inner.shape[2]), distance, axis=2)
    planes = np.arange(inner.shape[2])
    return np.array(
        [np.count_nonzero(surface(np.clip(planes + offset, 0, planes[-1])) > 0) for offset in offsets],
        dtype=np.float64,
    )


def _distance_mm(plane: BoolArray, spacing_mm: tuple[float, ...]) -> FloatArray:
    """Distance from the border in mm, positive inside; -inf in a plane without the region."""
    if not plane.any():
        return np.full(plane.shape, -np.inf)
    inside = ndimage.distance_transform_edt(plane, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~plane, sampling=spacing_mm)
    # Half a pixel lies between a pixel's middle and the border.
    return np.asarray(np.where(plane, inside, -outside) - np.where(plane, 0.5, -0.5) * min(spacing_mm))
