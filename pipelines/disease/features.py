"""Features of a heart from its label maps at ED and ES, as in the second task of the ACDC challenge.

References:
    Bernard et al., IEEE TMI 37(11), 2018, doi:10.1109/TMI.2018.2837502.
    Khened et al., Medical Image Analysis 51, 2019, doi:10.1016/j.media.2018.10.004.
    Isensee et al., 2017, arXiv:1707.00587.
"""

from pipelines.core.cardiac_figures import body_surface_m2
from pipelines.core.errors import DataError
from pipelines.core.indices import cardiac_indices, structure_volumes_ml
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.volume import Volume, slices_last
from pipelines.disease.thickness import wall_features

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
