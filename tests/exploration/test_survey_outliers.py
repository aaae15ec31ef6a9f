import numpy as np
import pandas as pd
import pytest

from pipelines.exploration.survey_features import FEATURES, robust_z
from pipelines.exploration.survey_outliers import find_outliers


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
