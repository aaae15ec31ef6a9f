"""Ranks over resamples against counts by hand, and tau against SciPy."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from pipelines.evaluation.bootstrap import bootstrap_weights
from pipelines.evaluation.ranks import rank_stability

EACH_AND_BOTH = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])


def test_a_model_that_is_best_for_every_patient_keeps_its_rank() -> None:
    values = np.array([[0.9, 0.8, 0.95], [0.7, 0.6, 0.65], [0.8, 0.7, 0.75]])
    found = rank_stability(values, bootstrap_weights(3))
    assert found is not None
    assert found.rank == [1, 3, 2]
    assert found.shares == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert found.interval == [[1, 1], [3, 3], [2, 2]]
    assert found.kendall_tau == pytest.approx(1)


def test_models_that_win_one_patient_each_share_the_ranks() -> None:
    """The first wins the first resample, the second the second, and the third is a tie."""
    found = rank_stability(np.array([[0.9, 0.7], [0.7, 0.9]]), EACH_AND_BOTH)
    assert found is not None
    assert found.rank == [1.5, 1.5]
    assert found.shares == pytest.approx(np.full((2, 2), 0.5))
    assert found.kendall_tau is None


def test_tau_is_the_mean_of_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(4, 6))
    weights = bootstrap_weights(6, resamples=20)
    found = rank_stability(values, weights)
    expected = np.mean([kendalltau(values.mean(axis=1), values @ row / 6).statistic for row in weights])
    assert found is not None
    assert found.kendall_tau == pytest.approx(expected)


def test_a_smaller_distance_ranks_first_and_a_patient_with_a_gap_is_left_out() -> None:
    values = np.array([[5.0, 1.0, 6.0], [4.0, np.nan, 5.0]])
    found = rank_stability(values, bootstrap_weights(3), is_higher_better=False)
    assert found is not None
    assert (found.rank, found.patients) == ([2, 1], 2)


def test_without_a_common_patient_there_is_no_rank() -> None:
    assert rank_stability(np.array([[np.nan, 1.0], [1.0, np.nan]]), bootstrap_weights(2)) is None
