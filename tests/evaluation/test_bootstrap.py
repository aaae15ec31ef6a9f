import numpy as np
import pytest

from pipelines.evaluation.bootstrap import (
    agreement,
    bootstrap_weights,
    mean_of_defined,
    percentile_interval,
    weighted_mean,
    weighted_median,
)


def test_each_resample_draws_as_many_patients_as_there_are() -> None:
    weights = bootstrap_weights(7, resamples=50, seed=1)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()


def test_the_same_seed_gives_the_same_resamples() -> None:
    assert np.array_equal(bootstrap_weights(5, seed=4), bootstrap_weights(5, seed=4))
    assert not np.array_equal(bootstrap_weights(5, seed=4), bootstrap_weights(5, seed=5))


def test_mean_counts_a_volume_as_often_as_its_patient_and_leaves_nan_out() -> None:
    values, owner = np.array([1.0, np.nan, 4.0]), np.array([0, 0, 1])
    weights = np.array([[1.0, 1.0], [3.0, 1.0], [0.0, 2.0]])
    assert weighted_mean(values, owner, weights) == pytest.approx([2.5, 1.75, 4.0])


def test_mean_of_a_resample_without_a_defined_value_is_nan() -> None:
    assert np.isnan(weighted_mean(np.array([np.nan, 2.0]), np.array([0, 1]), np.array([[2.0, 0.0]]))).all()


@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [2, 0, 1, 3], [0, 1, 0, 0]])
def test_median_equals_that_of_the_repeated_values(counts: list[int]) -> None:
    values = np.array([4.0, 1.0, 9.0, 2.0])
    median = weighted_median(values, np.arange(4), np.array([counts], dtype=float))
    assert median[0] == np.median(np.repeat(values, counts))


def test_agreement_is_as_computed_by_hand() -> None:
    # errors 1, -1, 3: mean absolute 5/3, mean 1, sample SD 2
    figures = agreement(np.array([11.0, 19.0, 33.0]), np.array([10.0, 20.0, 30.0]), np.ones((1, 3)))
    assert figures["mae"][0] == pytest.approx(5 / 3)
    assert figures["bias"][0] == pytest.approx(1.0)
    assert [end[0] for end in figures["loa"]] == pytest.approx([1 - 1.96 * 2, 1 + 1.96 * 2])
    assert figures["pearson"][0] == pytest.approx(np.corrcoef([11, 19, 33], [10, 20, 30])[0, 1])


def test_weighted_agreement_equals_that_of_repeated_patients() -> None:
    measured, truth, counts = (
        np.array([50.0, 61.0, 33.0, 70.0]),
        np.array([52.0, 60.0, 30.0, 71.0]),
        [2, 0, 1, 3],
    )
    weighted = agreement(measured, truth, np.array([counts], dtype=float))
    repeated = agreement(np.repeat(measured, counts), np.repeat(truth, counts), np.ones((1, 6)))
    for name in ("mae", "bias", "pearson"):
        assert weighted[name][0] == pytest.approx(repeated[name][0])
    assert np.ravel(weighted["loa"]) == pytest.approx(np.ravel(repeated["loa"]))


def test_patients_without_an_index_are_left_out_of_agreement() -> None:
    figures = agreement(np.array([1.0, np.nan, 5.0]), np.array([0.0, 3.0, np.nan]), np.ones((1, 3)))
    assert figures["bias"][0] == 1.0
    assert np.isnan(figures["loa"][0][0])
    assert np.isnan(figures["pearson"][0])


def test_correlation_without_spread_is_nan() -> None:
    figures = agreement(np.array([60.1, 60.1, 60.1]), np.array([1.0, 2.0, 3.0]), np.ones((1, 3)))
    assert np.isnan(figures["pearson"][0])


def test_interval_of_a_hundred_and_one_steps_cuts_the_tails() -> None:
    assert percentile_interval(np.arange(101.0)) == pytest.approx([2.5, 97.5])


def test_interval_without_a_defined_resample_is_none() -> None:
    assert percentile_interval(np.array([np.nan, np.nan])) is None


def test_mean_of_defined_leaves_nan_out() -> None:
    mean = mean_of_defined([np.array([1.0, np.nan]), np.array([3.0, np.nan])])
    assert mean[0] == 2.0
    assert np.isnan(mean[1])
