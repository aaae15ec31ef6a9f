"""Paired differences and corrected p-values against hand-computed and library values."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from pipelines.evaluation.bootstrap import bootstrap_weights
from pipelines.evaluation.paired import holm, paired_difference


def test_six_patients_that_all_gain_have_the_smallest_exact_p_value() -> None:
    """Of the 2**6 sign patterns two are as extreme: 2 / 64."""
    first = np.zeros(6)
    second = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    found = paired_difference(first, second, bootstrap_weights(6))
    assert found.p_value == pytest.approx(2 / 64)
    assert (found.better, found.worse, found.patients) == (6, 0, 6)
    assert found.difference == pytest.approx(0.035)


def test_the_p_value_is_that_of_scipy_on_the_pairs_that_both_have() -> None:
    first = np.array([0.9, 0.8, np.nan, 0.7, 0.85, 0.6])
    second = np.array([0.91, 0.77, 0.9, 0.75, 0.87, np.nan])
    found = paired_difference(first, second, bootstrap_weights(6))
    assert found.patients == 4
    assert found.p_value == pytest.approx(wilcoxon([0.01, -0.03, 0.05, 0.02]).pvalue)


def test_a_smaller_distance_is_the_better_one() -> None:
    found = paired_difference(
        np.array([5.0, 6.0, 7.0]), np.array([4.0, 5.0, 8.0]), bootstrap_weights(3), is_higher_better=False
    )
    assert (found.better, found.worse) == (2, 1)


def test_the_interval_pairs_the_patients() -> None:
    """A constant gain is certain, however far the patients lie apart."""
    first = np.array([0.1, 0.5, 0.9, 0.3])
    found = paired_difference(first, first + 0.01, bootstrap_weights(4))
    assert found.interval == pytest.approx([0.01, 0.01])


def test_the_interval_is_that_of_the_resampled_means() -> None:
    weights = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    found = paired_difference(np.zeros(2), np.array([1.0, 3.0]), weights)
    assert found.interval == pytest.approx(list(np.percentile([1.0, 3.0, 2.0], [2.5, 97.5])))


def test_equal_models_do_not_differ_and_no_patients_give_nothing() -> None:
    same = paired_difference(np.ones(5), np.ones(5), bootstrap_weights(5))
    assert (same.difference, same.p_value, same.better, same.worse) == (0.0, 1.0, 0, 0)
    none = paired_difference(np.array([np.nan]), np.ones(1), bootstrap_weights(1))
    assert (none.patients, none.difference, none.interval, none.p_value) == (0, None, None, None)


def test_holm_is_the_textbook_example() -> None:
    """0.01 * 4, 0.02 * 3, max(0.06, 0.03 * 2), max(0.06, 0.05 * 1)."""
    assert holm([0.03, 0.01, 0.05, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_stops_at_one_and_leaves_out_what_was_not_tested() -> None:
    assert holm([0.6, None, 0.5]) == [1.0, None, 1.0]
    assert holm([None]) == [None]
