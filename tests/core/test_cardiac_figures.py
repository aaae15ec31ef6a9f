"""Tests of indices by body surface and minute, and of normal ranges."""

import pytest

from pipelines.core.cardiac import (
    HALF_WIDTH,
    LIMITS,
    NORMAL,
    CardiacFigures,
    PatientFacts,
    Sex,
    body_surface_m2,
    cardiac_figures,
    compare_with_normal,
    half_widths,
    indices_from_volumes,
)
from pipelines.core.records import AcdcLabel

INDICES = indices_from_volumes(
    {AcdcLabel.RV: 160.0, AcdcLabel.MYO: 100.0, AcdcLabel.LV: 150.0},
    {AcdcLabel.RV: 80.0, AcdcLabel.MYO: 100.0, AcdcLabel.LV: 60.0},
)


def test_body_surface_of_180_cm_and_80_kg() -> None:
    assert body_surface_m2(180, 80) == pytest.approx(2.0)
    assert body_surface_m2(180, 80, "du-bois") == pytest.approx(1.996, abs=0.001)


def test_indices_are_divided_by_body_surface_and_multiplied_by_heart_rate() -> None:
    found = cardiac_figures(INDICES, PatientFacts(height_cm=180, weight_kg=80, heart_rate_bpm=60))
    assert found.lv_edv_ml_m2 == pytest.approx(75.0)
    assert found.lv_sv_ml_m2 == pytest.approx(45.0)
    assert found.rv_esv_ml_m2 == pytest.approx(40.0)
    assert found.myo_mass_ed_g_m2 == pytest.approx(52.5)
    assert found.lv_output_l_min == pytest.approx(5.4)
    assert found.lv_cardiac_index_l_min_m2 == pytest.approx(2.7)


def test_what_needs_an_unknown_fact_is_none() -> None:
    assert cardiac_figures(INDICES, PatientFacts(height_cm=180)) == CardiacFigures()
    found = cardiac_figures(INDICES, PatientFacts(heart_rate_bpm=70))
    assert found.lv_output_l_min == pytest.approx(6.3)
    assert found.lv_cardiac_index_l_min_m2 is None


def test_a_value_in_the_middle_of_the_range_is_normal_and_one_two_and_a_half_deviations_off_is_not() -> None:
    facts = PatientFacts(sex=Sex.MALE, age_years=60)
    found, reason = compare_with_normal(
        {"lv_ef_percent": 58.0, "lv_edv_ml": 246.0, "rv_ef_percent": 99.0}, facts
    )
    assert reason == ""
    assert set(found) == {"lv_ef_percent", "lv_edv_ml"}
    assert found["lv_ef_percent"].z == 0
    assert not found["lv_ef_percent"].is_outside
    assert (found["lv_ef_percent"].low, found["lv_ef_percent"].high) == pytest.approx((48.2, 67.8))
    assert found["lv_edv_ml"].z == pytest.approx(2.5)
    assert found["lv_edv_ml"].is_outside


@pytest.mark.parametrize(
    ("value", "is_outside"), [(98.0, True), (99.0, False), (260.0, False), (261.0, True)]
)
def test_where_only_limits_are_known_a_value_beyond_them_is_outside_and_has_no_z(
    value: float, is_outside: bool
) -> None:
    found, _ = compare_with_normal({"rv_edv_ml": value}, PatientFacts(sex=Sex.MALE, age_years=60))
    assert found["rv_edv_ml"].z is None
    assert found["rv_edv_ml"].is_outside == is_outside


def test_limits_of_stroke_volume_and_of_volumes_by_body_surface_follow_those_of_volumes() -> None:
    for of_sex in LIMITS.values():
        for end in (0, 1):
            assert of_sex["rv_edv_ml"][end] > of_sex["rv_sv_ml"][end] > of_sex["rv_sv_ml_m2"][end]
            assert of_sex["rv_edv_ml_m2"][end] > of_sex["lv_edv_ml_m2"][end] - 1 > of_sex["lv_esv_ml_m2"][end]


def test_the_same_heart_may_be_large_for_a_woman_and_not_for_a_man() -> None:
    heart = {"lv_edv_ml": 180.0}
    man, woman = (
        compare_with_normal(heart, PatientFacts(sex=sex, age_years=50))[0] for sex in (Sex.MALE, Sex.FEMALE)
    )
    assert not man["lv_edv_ml"].is_outside
    assert woman["lv_edv_ml"].is_outside


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (PatientFacts(), "sex and age not known"),
        (PatientFacts(sex=Sex.MALE), "age not known"),
        (PatientFacts(age_years=50), "sex not known"),
        (PatientFacts(sex=Sex.FEMALE, age_years=9), "do not fit children"),
        (PatientFacts(sex=Sex.FEMALE, age_years=30), "45 to 74 years old, the patient is 30"),
        (PatientFacts(sex=Sex.MALE, age_years=75), "45 to 74 years old, the patient is 75"),
    ],
    ids=["nothing", "no age", "no sex", "child", "young", "old"],
)
def test_nothing_is_marked_without_a_range_and_the_reason_is_given(facts: PatientFacts, reason: str) -> None:
    found, why = compare_with_normal({"lv_ef_percent": 20.0}, facts)
    assert found == {}
    assert reason in why


def test_mean_volumes_of_the_ranges_agree_with_each_other() -> None:
    for of_sex in NORMAL.values():
        edv, esv, sv, ef = (of_sex[f"lv_{name}"][0] for name in ("edv_ml", "esv_ml", "sv_ml", "ef_percent"))
        assert edv - esv == pytest.approx(sv, abs=1)
        assert 100 * sv / edv == pytest.approx(ef, abs=1)


def test_intervals_are_divided_by_body_surface_multiplied_by_heart_rate_and_only_of_known_values() -> None:
    figures = cardiac_figures(INDICES, PatientFacts(height_cm=180, weight_kg=80, heart_rate_bpm=60))
    known = {
        "lv_edv_ml": 150.0,
        "lv_edv_ml_m2": 75.0,
        "lv_output_l_min": 5.4,
        "lv_cardiac_index_l_min_m2": 2.7,
    }
    found = half_widths(known | {"rv_edv_ml": None, "body_surface_m2": 2.0}, figures)
    edv, sv = HALF_WIDTH["lv_edv_ml"], HALF_WIDTH["lv_sv_ml"]
    assert found == pytest.approx(
        {
            "lv_edv_ml": edv,
            "lv_edv_ml_m2": edv / 2,
            "lv_output_l_min": sv * 0.06,
            "lv_cardiac_index_l_min_m2": sv * 0.03,
        }
    )


def test_facts_that_nobody_can_have_are_left_out_with_a_sentence() -> None:
    facts, sentences = PatientFacts(height_cm=1.8, weight_kg=80, heart_rate_bpm=0).checked()
    assert facts == PatientFacts(weight_kg=80)
    assert sentences[0] == "expected height_cm of 30 to 250, found 1.8: it is left out"
    assert len(sentences) == 2


def test_options_count_before_what_the_file_tells() -> None:
    given, of_file = PatientFacts(height_cm=170), PatientFacts(height_cm=180, weight_kg=70, sex=Sex.MALE)
    assert given.or_else(of_file) == PatientFacts(height_cm=170, weight_kg=70, sex=Sex.MALE)
