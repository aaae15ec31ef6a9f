import numpy as np
import pytest
from scipy.stats import kendalltau, wilcoxon

from pipelines.evaluation.heart_error_tables import OBSERVER_FIGURES, Statistic, figures_of, published_limits
from pipelines.evaluation.segmentation import INDEX_FIELDS
from pipelines.evaluation.statistics import (
    agreement,
    bootstrap_weights,
    holm,
    intraclass_correlation,
    mean_of_defined,
    measure_agreement,
    paired_difference,
    percentile_interval,
    rank_stability,
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


# Peak expiratory flow by two meters, first readings (Bland and Altman, Lancet 327, 1986, table 1).
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# Four judges rate six targets (Shrout and Fleiss, Psychological Bulletin 86, 1979, table 2).
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_bias_and_its_interval_are_those_of_the_original_paper() -> None:
    found = measure_agreement(LARGE, MINI)
    assert found is not None
    assert found["pairs"] == 17
    assert found["bias"] == pytest.approx(-2.1, abs=0.05)
    assert found["sd"] == pytest.approx(38.8, abs=0.05)
    assert found["bias_interval"] == pytest.approx((-22.1, 17.8), abs=0.06)
    assert found["pearson"] == pytest.approx(0.94, abs=0.005)


def test_limits_and_their_intervals_are_as_computed_by_hand() -> None:
    # Differences 1, 2, 3, 4: mean 2.5, SD sqrt(5 / 3); t of 3 degrees of freedom is 3.18245.
    found = measure_agreement([11, 22, 33, 44, 5], [10, 20, 30, 40, np.nan])
    assert found is not None
    sd = (5 / 3) ** 0.5
    half = 3.18245 * sd * (1 / 4 + 1.96**2 / 6) ** 0.5
    assert (found["lower"], found["upper"]) == pytest.approx((2.5 - 1.96 * sd, 2.5 + 1.96 * sd))
    assert found["upper_interval"] == pytest.approx((found["upper"] - half, found["upper"] + half), abs=1e-4)
    assert found["variability_percent"] == pytest.approx(100 * sd / 26.25)


def test_the_intraclass_correlation_is_that_of_the_published_example() -> None:
    assert intraclass_correlation(np.array(JUDGES, float)) == pytest.approx(0.29, abs=0.005)


def test_a_constant_shift_lowers_the_intraclass_correlation_and_not_pearson() -> None:
    found = measure_agreement([11.0, 12.0, 13.0], [1.0, 2.0, 3.0])
    assert found is not None
    assert found["pearson"] == pytest.approx(1)
    # Mean squares: subjects 2, raters 150, residual 0; 2 / (2 + 2 * 150 / 3)
    assert found["icc"] == pytest.approx(2 / 102)


def test_what_has_no_spread_has_no_correlation() -> None:
    found = measure_agreement([3.0, 3.0, 3.0], [3.0, 3.0, 3.0])
    assert found is not None
    assert (found["bias"], found["sd"], found["pearson"], found["icc"]) == (0, 0, None, None)


def test_two_patients_are_too_few() -> None:
    assert measure_agreement([1.0, 2.0, np.nan], [1.0, 2.0, 3.0]) is None


def test_one_rater_is_an_error() -> None:
    with pytest.raises(ValueError, match="two raters"):
        intraclass_correlation(np.ones((5, 1)))


def test_each_index_has_published_figures_with_a_source() -> None:
    for name in INDEX_FIELDS:
        assert figures_of(name)
    for figure in OBSERVER_FIGURES:
        assert figure.index in INDEX_FIELDS
        assert figure.low <= figure.high
        assert figure.source.reference
        assert figure.source.observers


def test_limits_from_mean_and_sd_are_those_of_the_source() -> None:
    limits = {figure.statistic: figure for figure in published_limits("edv_lv_ml")}
    # 2.4 -+ 1.96 * 6.1 mL
    found = limits[Statistic.LIMITS_FROM_SD]
    assert (found.low, found.high) == pytest.approx((-9.556, 14.356))


def test_six_patients_that_all_gain_have_the_smallest_exact_p_value() -> None:
    """Of the 2**6 sign patterns two are as extreme: 2 / 64."""
    first = np.zeros(6)
    second = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    found = paired_difference(first, second, bootstrap_weights(6))
    assert found["p_value"] == pytest.approx(2 / 64)
    assert (found["better"], found["worse"], found["patients"]) == (6, 0, 6)
    assert found["difference"] == pytest.approx(0.035)


def test_the_p_value_is_that_of_scipy_on_the_pairs_that_both_have() -> None:
    first = np.array([0.9, 0.8, np.nan, 0.7, 0.85, 0.6])
    second = np.array([0.91, 0.77, 0.9, 0.75, 0.87, np.nan])
    found = paired_difference(first, second, bootstrap_weights(6))
    assert found["patients"] == 4
    assert found["p_value"] == pytest.approx(wilcoxon([0.01, -0.03, 0.05, 0.02]).pvalue)


def test_a_smaller_distance_is_the_better_one() -> None:
    found = paired_difference(
        np.array([5.0, 6.0, 7.0]), np.array([4.0, 5.0, 8.0]), bootstrap_weights(3), is_higher_better=False
    )
    assert (found["better"], found["worse"]) == (2, 1)


def test_the_interval_pairs_the_patients() -> None:
    """A constant gain is certain, however far the patients lie apart."""
    first = np.array([0.1, 0.5, 0.9, 0.3])
    found = paired_difference(first, first + 0.01, bootstrap_weights(4))
    assert found["interval"] == pytest.approx([0.01, 0.01])


def test_the_interval_is_that_of_the_resampled_means() -> None:
    weights = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    found = paired_difference(np.zeros(2), np.array([1.0, 3.0]), weights)
    assert found["interval"] == pytest.approx(list(np.percentile([1.0, 3.0, 2.0], [2.5, 97.5])))


def test_equal_models_do_not_differ_and_no_patients_give_nothing() -> None:
    same = paired_difference(np.ones(5), np.ones(5), bootstrap_weights(5))
    assert (same["difference"], same["p_value"], same["better"], same["worse"]) == (0.0, 1.0, 0, 0)
    none = paired_difference(np.array([np.nan]), np.ones(1), bootstrap_weights(1))
    assert (none["patients"], none["difference"], none["interval"], none["p_value"]) == (0, None, None, None)


def test_holm_is_the_textbook_example() -> None:
    """0.01 * 4, 0.02 * 3, max(0.06, 0.03 * 2), max(0.06, 0.05 * 1)."""
    assert holm([0.03, 0.01, 0.05, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_stops_at_one_and_leaves_out_what_was_not_tested() -> None:
    assert holm([0.6, None, 0.5]) == [1.0, None, 1.0]
    assert holm([None]) == [None]


EACH_AND_BOTH = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])


def test_a_model_that_is_best_for_every_patient_keeps_its_rank() -> None:
    values = np.array([[0.9, 0.8, 0.95], [0.7, 0.6, 0.65], [0.8, 0.7, 0.75]])
    found = rank_stability(values, bootstrap_weights(3))
    assert found is not None
    assert found["rank"] == [1, 3, 2]
    assert found["shares"] == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert found["interval"] == [[1, 1], [3, 3], [2, 2]]
    assert found["kendall_tau"] == pytest.approx(1)


def test_models_that_win_one_patient_each_share_the_ranks() -> None:
    """The first wins the first resample, the second the second, and the third is a tie."""
    found = rank_stability(np.array([[0.9, 0.7], [0.7, 0.9]]), EACH_AND_BOTH)
    assert found is not None
    assert found["rank"] == [1.5, 1.5]
    assert found["shares"] == pytest.approx(np.full((2, 2), 0.5))
    assert found["kendall_tau"] is None


def test_tau_is_the_mean_of_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(4, 6))
    weights = bootstrap_weights(6, resamples=20)
    found = rank_stability(values, weights)
    expected = np.mean([kendalltau(values.mean(axis=1), values @ row / 6).statistic for row in weights])
    assert found is not None
    assert found["kendall_tau"] == pytest.approx(expected)


def test_a_smaller_distance_ranks_first_and_a_patient_with_a_gap_is_left_out() -> None:
    values = np.array([[5.0, 1.0, 6.0], [4.0, np.nan, 5.0]])
    found = rank_stability(values, bootstrap_weights(3), is_higher_better=False)
    assert found is not None
    assert (found["rank"], found["patients"]) == ([2, 1], 2)


def test_without_a_common_patient_there_is_no_rank() -> None:
    assert rank_stability(np.array([[np.nan, 1.0], [1.0, np.nan]]), bootstrap_weights(2)) is None
