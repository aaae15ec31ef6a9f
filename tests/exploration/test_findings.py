import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from pipelines.exploration.findings import (
    distance_sd,
    find_outliers,
    groups_by_section,
    holm,
    section_shifts,
    sections_of,
)
from pipelines.exploration.heart import FEATURES, robust_z


def survey(**columns: list[float]) -> pd.DataFrame:
    """A survey of as many ED volumes as the columns are long, nothing known but these."""
    count = len(next(iter(columns.values())))
    known = {"patient": [f"p{index}" for index in range(count)], "group": "NOR", "phase": "ED"}
    return pd.DataFrame({feature.name: np.full(count, np.nan) for feature in FEATURES} | known | columns)


def test_robust_z_is_the_distance_from_the_median_in_mads() -> None:
    scores = robust_z(pd.Series([1.0, 2.0, 3.0, 4.0, 100.0]))
    assert scores.tolist() == pytest.approx([-1.349, -0.6745, 0.0, 0.6745, 97 * 0.6745])


def test_the_mean_deviation_stands_in_where_most_are_equal() -> None:
    scores = robust_z(pd.Series([10.0] * 9 + [5.0]))
    assert scores.tolist() == pytest.approx([0.0] * 9 + [-5 / (0.5 / 0.7979)])
    assert robust_z(pd.Series([8.0] * 4)).tolist() == [0.0] * 4


def test_a_value_far_from_the_others_is_an_outlier() -> None:
    found = find_outliers(survey(pixel_x_mm=[1.4, 1.5, 1.5, 1.6, 1.4, 1.6, 1.5, 1.4, 4.0]))
    assert [(outlier.index, outlier.feature, outlier.among) for outlier in found] == [(8, "pixel_x_mm", "ED")]
    assert found[0].z == pytest.approx(2.5 / 0.1 * 0.6745)


def test_intensities_are_compared_as_factors() -> None:
    assert find_outliers(survey(intensity_p99=[100.0 * 2**step for step in range(9)])) == []


def test_a_dilated_heart_is_no_outlier_among_dilated_hearts() -> None:
    frame = survey(lv_ml=[100.0 + step for step in range(8)] + [300.0 + step for step in range(8)])
    frame["group"] = ["NOR"] * 8 + ["DCM"] * 8
    assert find_outliers(frame) == []
    frame.loc[0, "lv_ml"] = 300.0
    assert [(outlier.index, outlier.among) for outlier in find_outliers(frame)] == [(0, "ED, NOR")]


def test_hearts_of_small_groups_are_compared_with_all() -> None:
    frame = survey(lv_ml=[100.0 + step for step in range(8)] + [900.0])
    frame["group"] = ["NOR", "DCM", "HCM"] * 3
    assert [(outlier.index, outlier.among) for outlier in find_outliers(frame)] == [(8, "ED")]


def test_a_handful_of_volumes_is_not_searched() -> None:
    assert find_outliers(survey(pixel_x_mm=[1.4, 1.5, 1.5, 1.6, 9.0])) == []


def section_shift_survey(sections: dict[str, list[float]], feature: str = "pixel_x_mm") -> pd.DataFrame:
    """Two volumes of each patient, whose mean is the value; labels all the same."""
    rows = [
        {"patient": f"{section}{index}", "section": section, "group": "NOR", feature: value + offset}
        for section, values in sections.items()
        for index, value in enumerate(values)
        for offset in (-0.01, 0.01)
    ]
    return pd.DataFrame(rows).reindex(
        columns=["patient", "section", "group", *(known.name for known in FEATURES)]
    )


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_distance_is_the_difference_in_pooled_sds() -> None:
    assert distance_sd(np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])) == pytest.approx(2.0)
    assert distance_sd(np.array([1.0, 1.0]), np.array([2.0, 2.0])) is None


def test_a_patient_counts_once_and_the_test_is_the_librarys() -> None:
    values = {"training": [1.0, 1.1, 1.2, 1.3, 1.4], "test": [1.35, 1.45, 1.5, 1.6]}
    (shift,) = section_shifts(section_shift_survey(values))
    expected = ks_2samp(values["training"], values["test"])
    assert (shift.first, shift.second, shift.feature) == ("training", "test", "pixel_x_mm")
    assert shift.ks == pytest.approx(expected.statistic)
    assert shift.p_value == pytest.approx(expected.pvalue)
    assert shift.p_holm == shift.p_value
    assert (shift.median_first, shift.median_second) == pytest.approx((1.2, 1.475))


def test_all_pairs_of_sections_are_compared_and_corrected() -> None:
    generator = np.random.default_rng(0)
    sections = {name: list(generator.normal(size=20) + 9) for name in ("training", "validation", "test")}
    sections["test"] = [value + 5 for value in sections["test"]]
    shifts = section_shifts(section_shift_survey(sections))
    assert [(shift.first, shift.second) for shift in shifts[-1:]] == [("training", "validation")]
    assert len(shifts) == 3
    assert all(shift.p_holm < 1e-3 for shift in shifts[:2])


def test_features_of_labels_are_never_compared() -> None:
    frame = section_shift_survey({"training": [1.0, 2.0, 3.0], "test": [4.0, 5.0, 6.0]}, feature="lv_ml")
    assert section_shifts(frame) == []


def test_sections_that_are_too_small_are_left_out() -> None:
    assert section_shifts(section_shift_survey({"training": [1.0, 2.0, 3.0], "test": [4.0, 5.0]})) == []


def test_sections_come_from_the_datalist_and_empty_ones_are_left_out() -> None:
    volumes = [{"patient": name, "part": part} for name, part in (("a", 0), ("b", 1), ("c", "test"))]
    assert sections_of({"volumes": volumes}, 1) == {"a": "training", "b": "validation", "c": "test"}
    assert sections_of({"volumes": volumes[:2]}, 0) == {"a": "validation", "b": "training"}


def test_patients_are_counted_by_group_and_section() -> None:
    counts = groups_by_section(section_shift_survey({"training": [1.0, 2.0], "test": [3.0]}))
    assert counts == {"NOR": {"training": 2, "validation": 0, "test": 1}}
