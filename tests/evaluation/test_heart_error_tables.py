import math

import pytest

from pipelines.evaluation.heart_error_tables import Observation, correlations, level_table, thirds


def test_thirds_of_a_factor_are_named_with_their_edges() -> None:
    found = thirds({"a": 6.0, "b": 1.0, "c": 3.0, "d": math.nan, "e": 4.0, "f": 2.0, "g": 5.0}, "mm")
    assert list(found) == ["b", "f", "c", "e", "g", "a"]
    assert [word.split()[0] for word in found.values()] == ["low", "low", "middle", "middle", "high", "high"]
    assert found["a"] == "high (up to 6 mm)"


def test_few_values_are_levels_of_their_own() -> None:
    assert thirds({"a": 10.0, "b": 5.0, "c": 10.0}, "mm") == {"b": "5 mm", "a": "10 mm", "c": "10 mm"}
    assert thirds({"a": math.nan}, "mm") == {}


def test_a_level_has_the_mean_of_its_volumes_and_an_interval_over_patients() -> None:
    seen = [
        Observation("p1", "lv", 0.9, {"phase": "ED"}),
        Observation("p2", "lv", 0.7, {"phase": "ED"}),
        Observation("p1", "lv", None, {"phase": "ES"}),
        Observation("p1", "lv", 0.5, {"phase": "ES"}),
    ]
    end_diastole, end_systole = level_table(seen, "phase", resamples=200)
    assert (end_diastole["dice"], end_diastole["count"], end_diastole["patients"]) == (
        pytest.approx(0.8),
        2,
        2,
    )
    assert end_diastole["interval"] == pytest.approx([0.7, 0.9])
    assert (end_systole["dice"], end_systole["count"], end_systole["interval"]) == (0.5, 1, None)


def test_levels_are_reported_in_the_order_asked_for() -> None:
    seen = [Observation("p1", "lv", 0.5, {"size": "high"}), Observation("p2", "lv", 0.6, {"size": "low"})]
    rows = level_table(seen, "size", names=["low", "high"], resamples=10)
    assert [row["level"] for row in rows] == ["low", "high"]


def test_correlation_is_over_patients_and_corrected_for_all_tests() -> None:
    # Patients' means fall as the factor rises, whatever the two volumes of a patient do.
    seen = [
        Observation(f"p{index}", "lv", 0.9 - index / 20 + shift, {}, {"size": float(index), "other": 1.0})
        for index in range(6)
        for shift in (-0.2, 0.2)
    ]
    shuffled = [
        Observation(f"p{index}", "rv", dice, {}, {"size": float(index), "other": 1.0})
        for index, dice in enumerate((0.5, 0.9, 0.6, 0.8, 0.7, 0.4))
    ]
    found = {(row["factor"], row["structure"]): row for row in correlations([*seen, *shuffled])}
    certain, doubtful = found["size", "lv"], found["size", "rv"]
    assert certain["patients"] == 6
    assert certain["rho"] == pytest.approx(-1)
    # Ranks 2, 6, 3, 5, 4, 1: 1 - 6 * (1 + 16 + 0 + 1 + 1 + 25) / (6 * 35)
    assert doubtful["rho"] == pytest.approx(1 - 6 * 44 / 210)
    assert doubtful["p_holm"] == doubtful["p_value"]
    assert certain["p_value"] is not None
    assert certain["p_holm"] == pytest.approx(2 * certain["p_value"])
    assert found["other", "lv"]["rho"] is None


def test_few_patients_have_no_correlation() -> None:
    few = [Observation(f"p{index}", "lv", index / 4, {}, {"size": float(index)}) for index in range(4)]
    assert correlations(few)[0]["p_holm"] is None
