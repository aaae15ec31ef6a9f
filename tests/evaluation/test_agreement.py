import numpy as np
import pytest

from pipelines.evaluation.agreement import intraclass_correlation, measure_agreement
from pipelines.evaluation.observer_limits import OBSERVER_FIGURES, Statistic, figures_of, published_limits
from pipelines.evaluation.summary import INDEX_FIELDS

# Peak expiratory flow by two meters, first readings (Bland and Altman, Lancet 327, 1986, table 1).
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# Four judges rate six targets (Shrout and Fleiss, Psychological Bulletin 86, 1979, table 2).
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_bias_and_its_interval_are_those_of_the_original_paper() -> None:
    found = measure_agreement(LARGE, MINI)
    assert found is not None
    assert found.pairs == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.bias_interval == pytest.approx((-22.1, 17.8), abs=0.06)
    assert found.pearson == pytest.approx(0.94, abs=0.005)


def test_limits_and_their_intervals_are_as_computed_by_hand() -> None:
    # Differences 1, 2, 3, 4: mean 2.5, SD sqrt(5 / 3); t of 3 degrees of freedom is 3.18245.
    found = measure_agreement([11, 22, 33, 44, 5], [10, 20, 30, 40, np.nan])
    assert found is not None
    sd = (5 / 3) ** 0.5
    half = 3.18245 * sd * (1 / 4 + 1.96**2 / 6) ** 0.5
    assert (found.lower, found.upper) == pytest.approx((2.5 - 1.96 * sd, 2.5 + 1.96 * sd))
    assert found.upper_interval == pytest.approx((found.upper - half, found.upper + half), abs=1e-4)
    assert found.variability_percent == pytest.approx(100 * sd / 26.25)


def test_the_intraclass_correlation_is_that_of_the_published_example() -> None:
    assert intraclass_correlation(np.array(JUDGES, float)) == pytest.approx(0.29, abs=0.005)


def test_a_constant_shift_lowers_the_intraclass_correlation_and_not_pearson() -> None:
    found = measure_agreement([11.0, 12.0, 13.0], [1.0, 2.0, 3.0])
    assert found is not None
    assert found.pearson == pytest.approx(1)
    # Mean squares: subjects 2, raters 150, residual 0; 2 / (2 + 2 * 150 / 3)
    assert found.icc == pytest.approx(2 / 102)


def test_what_has_no_spread_has_no_correlation() -> None:
    found = measure_agreement([3.0, 3.0, 3.0], [3.0, 3.0, 3.0])
    assert found is not None
    assert (found.bias, found.sd, found.pearson, found.icc) == (0, 0, None, None)


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
