"""Cardiac indices from volumes: ED and ES of a cine, ejection fraction, and values per body surface."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.signal import savgol_filter

from pipelines.core.errors import DataError
from pipelines.core.records import FOREGROUND, MYOCARDIAL_DENSITY_G_PER_ML, AcdcLabel

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


def structure_volumes_ml(
    mask: IntArray, spacing_mm: Spacing, structures: Iterable[AcdcLabel] = FOREGROUND
) -> dict[AcdcLabel, float]:
    """Volume of labelled structures in a short-axis stack in mL, `0.0` for an absent one.

    Counts whole voxels without partial-volume correction, so with 5 to 10 mm
    slices the basal slice is the largest source of error.

    Args:
        mask: `(X, Y, Z)` integer label map with values from `AcdcLabel`.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the axis order of `mask`.
        structures: Structures that the mask tells of; the others are not in the result.

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
    return {label: float(np.count_nonzero(mask == label) * voxel_mm3 / MM3_PER_ML) for label in structures}


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
    values: dict[str, float | None] = {}
    for label in (AcdcLabel.LV, AcdcLabel.RV):
        name = label.name.lower()
        edv, esv = (ml.get(label) if ml else None for ml in (ed_ml, es_ml))
        stroke = None if edv is None or esv is None else edv - esv
        if edv == 0:
            reasons.append(f"{label.name} volume at ED is 0 mL")
        values |= {
            f"{name}_edv_ml": edv,
            f"{name}_esv_ml": esv,
            f"{name}_sv_ml": stroke,
            f"{name}_ef_percent": 100.0 * stroke / edv if stroke is not None and edv else None,
        }
    myo = ed_ml.get(AcdcLabel.MYO) if ed_ml else None
    mass_g = None if myo is None else myo * MYOCARDIAL_DENSITY_G_PER_ML
    return CardiacIndices(**values, myo_mass_ed_g=mass_g, reason="; ".join(reasons))


MIN_FRAMES_FOR_OUTLIERS = 12
"""Fewest frames at which a lone odd frame can be told from the end of a short systole; ACDC has 12."""

OUTLIER_SHARE = 0.3
"""A frame is odd if it is off its neighbours' median by more than this share of the curve's range.

A cosine beat of 12 frames is off by 0.08 at its extremes, one of 30 frames by 0.01.
"""


RATE_WINDOW: Final = {10: 5, 20: 7}
"""Frames that the slope of the curve is fitted to, by the least frames of a cine; fewer than 10 have none.

Cubics through 5 of 12 or 7 of 30 frames find the steepest slope of a cosine beat to 2%.
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a ventricle empties and fills.

    Attributes:
        peak_ejection_ml_s: Steepest fall of the volume between ED and ES, mL/s, positive.
        peak_filling_ml_s: Steepest rise of the volume between ES and ED, mL/s.
        time_to_peak_filling_ms: From ES to the steepest rise, ms.
    """

    peak_ejection_ml_s: float
    peak_filling_ml_s: float
    time_to_peak_filling_ms: float


def measure_rates(volumes_ml: npt.ArrayLike, frame_s: float, index_ed: int, index_es: int) -> Rates | None:
    """Peak rates of ejection and filling in mL/s, by the slope of a smoothed curve.

    The cine is one heart beat, so its ends are neighbours. Lone odd frames are replaced as in `find_ed_es`.

    Args:
        volumes_ml: `(T,)` volume of each frame in mL.
        frame_s: Time between frames in seconds.
        index_ed: Frame of ED, 0-based.
        index_es: Frame of ES, 0-based.

    Returns:
        The rates; None with fewer than 10 frames, or with a frame without volume.

    References:
        Savitzky and Golay, Analytical Chemistry 36(8), 1964, doi:10.1021/ac60214a047.
    """
    volumes = np.asarray(volumes_ml, dtype=np.float64).ravel()
    window = max((width for least, width in RATE_WINDOW.items() if len(volumes) >= least), default=None)
    if window is None or not (volumes > 0).all():
        return None
    curve = _without_lone_outliers(volumes)
    slope_ml_s = savgol_filter(curve, window, polyorder=3, deriv=1, delta=frame_s, mode="wrap")
    frames = np.arange(len(volumes))
    since_ed, since_es = (frames - index_ed) % len(volumes), (frames - index_es) % len(volumes)
    in_systole = since_ed <= (index_es - index_ed) % len(volumes)
    fastest = int(np.argmax(np.where(in_systole, -np.inf, slope_ml_s)))
    return Rates(
        peak_ejection_ml_s=float(-slope_ml_s[in_systole].min()),
        peak_filling_ml_s=float(slope_ml_s[fastest]),
        time_to_peak_filling_ms=float(1000 * frame_s * since_es[fastest]),
    )


def find_ed_es(lv_volumes_ml: npt.ArrayLike) -> tuple[int, int]:
    """Frames of the largest (ED) and the smallest (ES) LV volume, 0-based.

    The cine is one heart beat, so its ends are neighbours. With 12 frames or more,
    a single frame far off the median of itself and its two neighbours is taken for
    a segmentation error and replaced by its neighbours' mean; all other frames stay
    as they are. Frames without LV are errors too, and are never chosen.

    Args:
        lv_volumes_ml: `(T,)` LV cavity volume of each frame in mL; 0 or NaN where
            no LV was found.

    Returns:
        `(index_ed, index_es)`; the first of several equal frames.

    Raises:
        DataError: If the LV was found in fewer than two frames.
    """
    volumes = np.nan_to_num(np.asarray(lv_volumes_ml, dtype=np.float64).ravel())
    present = volumes > 0
    if present.sum() < 2:
        raise DataError(
            f"expected the LV in at least 2 frames to find ED and ES, found it in {int(present.sum())} "
            f"of {len(volumes)}; check that this is a short-axis cine"
        )
    curve = _without_lone_outliers(volumes)
    index_ed = int(np.argmax(np.where(present, curve, -np.inf)))
    index_es = int(np.argmin(np.where(present, curve, np.inf)))
    return index_ed, index_es


def _without_lone_outliers(volumes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if len(volumes) < MIN_FRAMES_FOR_OUTLIERS:
        return volumes
    before, after = np.roll(volumes, 1), np.roll(volumes, -1)
    median = np.median([before, volumes, after], axis=0)
    is_odd = np.abs(volumes - median) > OUTLIER_SHARE * np.ptp(median)
    return np.where(is_odd, (before + after) / 2, volumes)


SurfaceFormula = Literal["mosteller", "du-bois"]

POSSIBLE: Final = {
    "height_cm": (30.0, 250.0),
    "weight_kg": (1.0, 400.0),
    "age_years": (0.0, 120.0),
    "heart_rate_bpm": (20.0, 250.0),
}
"""Values of people; others are slips, such as a height in metres."""

ADULT_YEARS: Final = 18.0
RANGE_YEARS: Final = (45.0, 75.0)
"""Ages of the cohort of the normal ranges: 45 to 74 years, whole ones."""

NORMAL_Z: Final = 1.96
"""Standard deviations from the mean that hold 95% of a normal distribution."""


class Sex(StrEnum):
    """Sex, as in DICOM's PatientSex."""

    FEMALE = "F"
    MALE = "M"


REPEATABILITY: Final[Mapping[str, float]] = {
    "lv_edv_ml": 21.7,
    "lv_esv_ml": 14.5,
    "lv_ef_percent": 11.0,
    "rv_ef_percent": 13.6,
    "myo_mass_ed_g": 14.0,
}
"""What two measurements of one heart differ by at most in 95 of 100 pairs, by the place of the slices alone.

Measured on generated hearts imaged at four places of the stack, `docs/results/measures.md`; contours of a
network add to it.
"""


HALF_WIDTH: Final[Mapping[str, float]] = {
    "lv_edv_ml": 11.1,
    "lv_esv_ml": 15.8,
    "lv_sv_ml": 9.6,
    "lv_ef_percent": 6.5,
    "rv_edv_ml": 29.0,
    "rv_esv_ml": 31.3,
    "rv_sv_ml": 37.3,
    "rv_ef_percent": 18.9,
    "myo_mass_ed_g": 17.3,
    "wall_mean_ed_mm": 1.1,
    "wall_mean_es_mm": 1.8,
    "wall_max_ed_mm": 2.3,
    "strain_endo_percent": 6.7,
    "strain_mid_percent": 3.0,
    "strain_epi_percent": 2.7,
    "strain_radial_percent": 17.2,
}
"""Half of the interval that holds the value of a person's contours for 9 of 10 patients, by index.

The 90% conformal quantile of the absolute error of networks on patients that they were not trained on, by
`thorax benchmark measures --unseen-masks`; `docs/results/measures.md` has the coverage on the test patients.

References:
    Lei et al., JASA 113(523), 2018, doi:10.1080/01621459.2017.1307116.
"""


class RateSource(StrEnum):
    """Where the heart rate of a study comes from."""

    OPTION = "option"
    HEADER = "DICOM header"
    CINE = "cine's length, taken as one beat"


OF_HEART_RATE: Final = ("heart_rate_bpm", "lv_output_l_min", "lv_cardiac_index_l_min_m2")
"""Values that are as good as the heart rate."""


NORMAL: Final[Mapping[Sex, Mapping[str, tuple[float, float]]]] = {
    Sex.MALE: {
        "lv_edv_ml": (166.0, 32.0),
        "lv_esv_ml": (69.0, 16.0),
        "lv_sv_ml": (96.0, 20.0),
        "lv_ef_percent": (58.0, 5.0),
        "lv_sv_ml_m2": (49.0, 10.0),
        "myo_mass_ed_g_m2": (53.0, 9.0),
    },
    Sex.FEMALE: {
        "lv_edv_ml": (124.0, 21.0),
        "lv_esv_ml": (49.0, 11.0),
        "lv_sv_ml": (75.0, 14.0),
        "lv_ef_percent": (61.0, 5.0),
        "lv_sv_ml_m2": (45.0, 8.0),
        "myo_mass_ed_g_m2": (42.0, 7.0),
    },
}
"""Mean and standard deviation of 368 men and 432 women without disease or risk factors, 45 to 74 years old.

Ejection fraction and mass stand in the abstract of Petersen et al., the others in their table by sex.
"""

LIMITS: Final[Mapping[Sex, Mapping[str, tuple[float, float]]]] = {
    Sex.MALE: {
        "lv_edv_ml_m2": (52.0, 117.0),
        "lv_esv_ml_m2": (19.0, 52.0),
        "rv_edv_ml": (99.0, 260.0),
        "rv_esv_ml": (34.0, 135.0),
        "rv_sv_ml": (54.0, 140.0),
        "rv_edv_ml_m2": (55.0, 128.0),
        "rv_esv_ml_m2": (19.0, 67.0),
        "rv_sv_ml_m2": (30.0, 69.0),
    },
    Sex.FEMALE: {
        "lv_edv_ml_m2": (50.0, 101.0),
        "lv_esv_ml_m2": (16.0, 43.0),
        "rv_edv_ml": (83.0, 192.0),
        "rv_esv_ml": (26.0, 95.0),
        "rv_sv_ml": (47.0, 107.0),
        "rv_edv_ml_m2": (51.0, 110.0),
        "rv_esv_ml_m2": (16.0, 55.0),
        "rv_sv_ml_m2": (29.0, 61.0),
    },
}
"""Limits of the same cohort, beyond which a value is abnormal at every age from 45 to 74.

For values whose mean and standard deviation could not be read. They were read where a public program quotes
the paper's tables, not in the paper. A second one quotes the narrower ranges that are normal at every age,
for the RV of women: all lie within these.
"""


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """What is known of a patient beside the images; None for what is not.

    Attributes:
        height_cm: Body height, cm.
        weight_kg: Body weight, kg.
        sex: Sex.
        age_years: Age at the examination, years.
        heart_rate_bpm: Heart rate during the examination, beats a minute.
        study_date: Day of the examination, `YYYY-MM-DD`, or `""`.
        scanner: Maker, model and field strength of the scanner, or `""`.
    """

    height_cm: float | None = None
    weight_kg: float | None = None
    sex: Sex | None = None
    age_years: float | None = None
    heart_rate_bpm: float | None = None
    study_date: str = ""
    scanner: str = ""

    def or_else(self, other: "PatientFacts") -> "PatientFacts":
        """These facts, with those of `other` where one is not known."""
        return PatientFacts(
            **{one.name: getattr(self, one.name) or getattr(other, one.name) for one in fields(self)}
        )

    def checked(self) -> tuple["PatientFacts", list[str]]:
        """The facts without those that nobody can have, and a sentence for each of these."""
        wrong = {
            name: value
            for name, (low, high) in POSSIBLE.items()
            if (value := getattr(self, name)) is not None and not low <= value <= high
        }
        sentences = [
            "expected {} of {:g} to {:g}, found {:g}: it is left out".format(name, *POSSIBLE[name], value)
            for name, value in wrong.items()
        ]
        unknown: dict[str, Any] = dict.fromkeys(wrong)
        return replace(self, **unknown), sentences


@dataclass(frozen=True, slots=True)
class CardiacFigures:
    """Indices relative to body size and by minute; None for what needs a fact that is not known.

    Attributes:
        body_surface_m2: Body surface, m².
        lv_edv_ml_m2: LV end-diastolic volume index, mL/m².
        lv_esv_ml_m2: LV end-systolic volume index, mL/m².
        lv_sv_ml_m2: LV stroke volume index, mL/m².
        rv_edv_ml_m2: RV end-diastolic volume index, mL/m².
        rv_esv_ml_m2: RV end-systolic volume index, mL/m².
        rv_sv_ml_m2: RV stroke volume index, mL/m².
        myo_mass_ed_g_m2: Mass index of the LV myocardium, g/m².
        heart_rate_bpm: Heart rate, beats a minute.
        lv_output_l_min: Cardiac output of the LV, L/min; what leaks back through a valve counts too.
        lv_cardiac_index_l_min_m2: The same by body surface, L/min/m².
    """

    body_surface_m2: float | None = None
    lv_edv_ml_m2: float | None = None
    lv_esv_ml_m2: float | None = None
    lv_sv_ml_m2: float | None = None
    rv_edv_ml_m2: float | None = None
    rv_esv_ml_m2: float | None = None
    rv_sv_ml_m2: float | None = None
    myo_mass_ed_g_m2: float | None = None
    heart_rate_bpm: float | None = None
    lv_output_l_min: float | None = None
    lv_cardiac_index_l_min_m2: float | None = None


@dataclass(frozen=True, slots=True)
class Normal:
    """A value beside its normal range.

    Attributes:
        value: The value.
        low: Lower end of the range.
        high: Upper end of the range.
        z: Distance of the value from the mean in standard deviations, None where only limits are known.
    """

    value: float
    low: float
    high: float
    z: float | None = None

    @property
    def is_outside(self) -> bool:
        """Whether the value is outside of the range."""
        return not self.low <= self.value <= self.high


def body_surface_m2(height_cm: float, weight_kg: float, formula: SurfaceFormula = "mosteller") -> float:
    """Body surface in m².

    Args:
        height_cm: Body height in cm.
        weight_kg: Body weight in kg.
        formula: `"mosteller"`, `sqrt(height * weight / 3600)`, or `"du-bois"`,
            `0.007184 * height^0.725 * weight^0.425`.

    References:
        Mosteller, N Engl J Med 317, 1987, doi:10.1056/NEJM198710223171717.
        Du Bois and Du Bois, Arch Intern Med 17, 1916, doi:10.1001/archinte.1916.00080130010002.
    """
    if formula == "du-bois":
        return 0.007184 * height_cm**0.725 * weight_kg**0.425
    return math.sqrt(height_cm * weight_kg / 3600)


def cardiac_figures(
    indices: CardiacIndices, facts: PatientFacts, formula: SurfaceFormula = "mosteller"
) -> CardiacFigures:
    """Indices of one patient by body surface and by minute.

    Args:
        indices: Volumes in mL and mass in g.
        facts: Height, weight and heart rate, as far as they are known.
        formula: Of the body surface.
    """
    surface_m2 = None
    if facts.height_cm is not None and facts.weight_kg is not None:
        surface_m2 = body_surface_m2(facts.height_cm, facts.weight_kg, formula)

    def indexed(value: float | None) -> float | None:
        return None if value is None or surface_m2 is None else value / surface_m2

    output = None
    if indices.lv_sv_ml is not None and facts.heart_rate_bpm is not None:
        output = indices.lv_sv_ml * facts.heart_rate_bpm / 1000
    return CardiacFigures(
        body_surface_m2=surface_m2,
        lv_edv_ml_m2=indexed(indices.lv_edv_ml),
        lv_esv_ml_m2=indexed(indices.lv_esv_ml),
        lv_sv_ml_m2=indexed(indices.lv_sv_ml),
        rv_edv_ml_m2=indexed(indices.rv_edv_ml),
        rv_esv_ml_m2=indexed(indices.rv_esv_ml),
        rv_sv_ml_m2=indexed(indices.rv_sv_ml),
        myo_mass_ed_g_m2=indexed(indices.myo_mass_ed_g),
        heart_rate_bpm=facts.heart_rate_bpm,
        lv_output_l_min=output,
        lv_cardiac_index_l_min_m2=indexed(output),
    )


def half_widths(values: Mapping[str, float | None], figures: CardiacFigures) -> dict[str, float]:
    """Half of the interval of each value that has one, in the value's unit.

    Values by body surface and by minute have the interval of the value that they come from, scaled likewise.

    Args:
        values: Values by the names of `StudyResult.values`; None for what is not known.
        figures: Body surface and heart rate.
    """
    found = dict(HALF_WIDTH)
    output = HALF_WIDTH["lv_sv_ml"] * (figures.heart_rate_bpm or 0) / 1000
    found["lv_output_l_min"] = output
    if (surface_m2 := figures.body_surface_m2) is not None:
        found |= {f"{name}_m2": half / surface_m2 for name, half in HALF_WIDTH.items()}
        found["lv_cardiac_index_l_min_m2"] = output / surface_m2
    return {name: half for name, half in found.items() if values.get(name) is not None}


def compare_with_normal(
    values: Mapping[str, float | None], facts: PatientFacts
) -> tuple[dict[str, Normal], str]:
    """Normal ranges for values, and the reason if there are none.

    Args:
        values: Values by the names of `CardiacIndices` and `CardiacFigures`.
        facts: Sex and age.

    Returns:
        A range for each value that is known and has one; the reason is `""` where sex and age have ranges.
    """
    if facts.sex is None or facts.age_years is None:
        absent = " and ".join(
            name for name, value in (("sex", facts.sex), ("age", facts.age_years)) if value is None
        )
        return {}, f"no normal range: {absent} not known"
    if facts.age_years < ADULT_YEARS:
        return {}, "no normal range: those of adults do not fit children"
    if not RANGE_YEARS[0] <= facts.age_years < RANGE_YEARS[1]:
        return {}, f"no normal range: the cohort was 45 to 74 years old, the patient is {facts.age_years:.0f}"
    found = {}
    for name, (mean, sd) in NORMAL[facts.sex].items():
        if (value := values.get(name)) is not None:
            found[name] = Normal(value, mean - NORMAL_Z * sd, mean + NORMAL_Z * sd, (value - mean) / sd)
    for name, (low, high) in LIMITS[facts.sex].items():
        if (value := values.get(name)) is not None:
            found[name] = Normal(value, low, high)
    return found, ""
