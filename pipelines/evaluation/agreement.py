"""Agreement of a measured index with its reference: Bland-Altman, Pearson, ICC and variability."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from pipelines.evaluation.bootstrap import LIMITS_OF_AGREEMENT_SD, FloatArray, agreement

CONFIDENCE: Final = 0.95
"""Confidence of the intervals of bias and limits."""

MIN_PAIRS: Final = 3
"""Fewest pairs of which agreement is told: with two, the spread has one degree of freedom."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a measured index agrees with its reference, in the unit of the index.

    Attributes:
        pairs: Number of patients with both values.
        bias: Mean of measured minus reference.
        bias_interval: Its 95% confidence interval.
        sd: Sample standard deviation of the differences.
        lower: Lower 95% limit of agreement.
        lower_interval: Its 95% confidence interval.
        upper: Upper 95% limit of agreement.
        upper_interval: Its 95% confidence interval.
        pearson: Correlation coefficient; None if one side has no spread.
        icc: Intraclass correlation ICC(2,1); None if nothing has any spread.
        variability_percent: `sd` in percent of the mean of both sides; None if that is 0.
    """

    pairs: int
    bias: float
    bias_interval: Interval
    sd: float
    lower: float
    lower_interval: Interval
    upper: float
    upper_interval: Interval
    pearson: float | None
    icc: float | None
    variability_percent: float | None


def measure_agreement(measured: npt.ArrayLike, reference: npt.ArrayLike) -> Agreement | None:
    """Bland-Altman figures with exact intervals for the bias and approximate ones for the limits.

    The variance of a limit is `sd^2 (1 / n + 1.96^2 / (2 (n - 1)))`, and its interval has
    Student's t with n - 1 degrees of freedom. The coefficient of variability is that of
    observer studies.

    Args:
        measured: `(P,)` index of each patient, NaN where it is not known.
        reference: `(P,)` reference in the same unit, NaN where it is not known.

    Returns:
        The agreement, None with fewer than `MIN_PAIRS` pairs.

    References:
        Bland and Altman, Statistical Methods in Medical Research 8(2), 1999,
        doi:10.1177/096228029900800204. Variability: Luijnenburg et al., Int J Cardiovasc
        Imaging 26, 2010, doi:10.1007/s10554-009-9501-y.
    """
    first, second = np.asarray(measured, np.float64), np.asarray(reference, np.float64)
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    pairs = len(first)
    if pairs < MIN_PAIRS:
        return None
    found: dict[str, Any] = agreement(first, second, np.ones((1, pairs)))
    bias = float(found["bias"][0])
    lower, upper = (float(end[0]) for end in found["loa"])
    sd = float((first - second).std(ddof=1))
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, pairs - 1))
    of_bias = quantile * sd / pairs**0.5
    of_limit = quantile * sd * (1 / pairs + LIMITS_OF_AGREEMENT_SD**2 / (2 * (pairs - 1))) ** 0.5
    pearson = float(found["pearson"][0])
    mean = float(np.concatenate([first, second]).mean())
    return Agreement(
        pairs=pairs,
        bias=bias,
        bias_interval=(bias - of_bias, bias + of_bias),
        sd=sd,
        lower=lower,
        lower_interval=(lower - of_limit, lower + of_limit),
        upper=upper,
        upper_interval=(upper - of_limit, upper + of_limit),
        pearson=pearson if np.isfinite(pearson) else None,
        icc=intraclass_correlation(np.stack([first, second], axis=1)),
        variability_percent=100 * sd / mean if mean else None,
    )


def intraclass_correlation(ratings: FloatArray) -> float | None:
    """ICC(2,1): absolute agreement of single ratings, raters drawn at random.

    Args:
        ratings: `(N, K)` value of each of N subjects by each of K raters, N and K at least 2.

    Returns:
        At most 1; below 0 if raters agree less than by chance; None if all values are equal.

    Raises:
        ValueError: If there are fewer than two subjects or raters.

    References:
        Shrout and Fleiss, Psychological Bulletin 86(2), 1979, doi:10.1037/0033-2909.86.2.420.
    """
    if ratings.ndim != 2 or min(ratings.shape) < 2:
        raise ValueError(f"expected at least two subjects and two raters, found the shape {ratings.shape}")
    subjects, raters = ratings.shape
    centred = ratings - ratings.mean()
    of_subjects, of_raters = centred.mean(axis=1), centred.mean(axis=0)
    between_subjects = raters * (of_subjects**2).sum() / (subjects - 1)
    between_raters = subjects * (of_raters**2).sum() / (raters - 1)
    rest = centred - of_subjects[:, None] - of_raters
    residual = (rest**2).sum() / ((subjects - 1) * (raters - 1))
    whole = between_subjects + (raters - 1) * residual + raters * (between_raters - residual) / subjects
    return float((between_subjects - residual) / whole) if whole > 0 else None
