"""Indices relative to the patient: by body surface, by minute, and against normal ranges by sex and age.

Papillary muscles and trabeculae count as cavity here, as in the labels of ACDC, and so in the ranges.

References:
    Petersen et al., JCMR 19:18, 2017, doi:10.1186/s12968-017-0327-9. Its convention of
    papillary muscles: Kawel-Boehm et al., 2020, doi:10.1186/s12968-020-00683-3, table 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, Literal

from pipelines.core.indices import CardiacIndices

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

Ejection fraction and mass stand in the abstract of Petersen et al., the others in their table by sex. Figures
of theirs that could not be checked against the text are left out: those of the RV, and indexed LV volumes.
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
    """

    height_cm: float | None = None
    weight_kg: float | None = None
    sex: Sex | None = None
    age_years: float | None = None
    heart_rate_bpm: float | None = None
    study_date: str = ""

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
        low: Lower end of the range.
        high: Upper end of the range.
        z: Distance of the value from the mean in standard deviations.
    """

    low: float
    high: float
    z: float

    @property
    def is_outside(self) -> bool:
        """Whether the value is outside of the range of 95% of people without disease."""
        return abs(self.z) > NORMAL_Z


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
            found[name] = Normal(mean - NORMAL_Z * sd, mean + NORMAL_Z * sd, (value - mean) / sd)
    return found, ""
