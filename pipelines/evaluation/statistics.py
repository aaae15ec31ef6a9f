"""Statistics of evaluations: bootstrap, paired tests, ranks, agreement."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, wilcoxon
from scipy.stats import t as student_t

from pipelines.core.records import Phase
from pipelines.core.wall import Rings, Wall, measure_wall

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]

RESAMPLES = 2000
"""Number of bootstrap resamples of a 95% interval."""

LIMITS_OF_AGREEMENT_SD = 1.96
"""Half width of the limits of agreement in standard deviations (doi:10.1016/S0140-6736(86)90837-8)."""

NO_SPREAD = 1e-12
"""A variance below this share of the values' scale squared is rounding noise."""


def bootstrap_weights(patients: int, *, resamples: int = RESAMPLES, seed: int = 0) -> FloatArray:
    """How often each patient is drawn in each resample, `(resamples, patients)` float64.

    Each row is a draw of `patients` patients with replacement, so it sums to `patients`.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(patients, np.full(patients, 1 / patients), size=resamples).astype(np.float64)


def weighted_mean(values: FloatArray, owner: IndexArray, weights: FloatArray) -> FloatArray:
    """Mean over volumes, `(R,)`; a volume counts as often as its patient.

    Args:
        values: `(V,)` one figure per volume, NaN where it is not defined.
        owner: `(V,)` index of each volume's patient, 0 to P - 1.
        weights: `(R, P)` multiplicity of each patient.

    Returns:
        The mean of the defined figures, NaN for a resample that has none.
    """
    is_defined = np.isfinite(values)
    counts = weights[:, owner[is_defined]]
    return _ratio(counts @ values[is_defined], counts.sum(axis=1))


def weighted_median(values: FloatArray, owner: IndexArray, weights: FloatArray) -> FloatArray:
    """Median over volumes, `(R,)`; a volume counts as often as its patient.

    Args:
        values: `(V,)` one finite figure per volume, V at least 1.
        owner: `(V,)` index of each volume's patient, 0 to P - 1.
        weights: `(R, P)` multiplicity of each patient.

    Returns:
        The median, NaN for a resample without a volume.
    """
    order = np.argsort(values)
    ranked = values[order]
    reached = np.cumsum(weights[:, owner[order]], axis=1)
    half = reached[:, -1:] / 2
    lower, upper = (reached >= half).argmax(axis=1), (reached > half).argmax(axis=1)
    return np.where(half[:, 0] > 0, (ranked[lower] + ranked[upper]) / 2, np.nan)


def agreement(
    measured: FloatArray, truth: FloatArray, weights: FloatArray
) -> dict[str, FloatArray | list[FloatArray]]:
    """Error and agreement of a measured index with its true value, each `(R,)`.

    Args:
        measured: `(P,)` index per patient, NaN where it could not be computed.
        truth: `(P,)` true index per patient, NaN where it could not be computed.
        weights: `(R, P)` multiplicity of each patient.

    Returns:
        In the unit of the index: `mae`, mean absolute error; `bias`, mean of
        measured minus true; `loa`, lower and upper 95% limits of agreement
        (bias -+ 1.96 sample SD). Without unit: `pearson`. Patients with a NaN
        are left out; what a resample cannot give (no patient, one patient, no
        spread) is NaN.

    References:
        Bland and Altman, Lancet 327, 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    is_defined = np.isfinite(measured) & np.isfinite(truth)
    weights, measured, truth = weights[:, is_defined], measured[is_defined], truth[is_defined]
    error = measured - truth
    count = weights.sum(axis=1)
    bias = _ratio(weights @ error, count)
    spread = _covariance(error, error, weights)
    variance = _ratio(spread * count, np.where(count > 1, count - 1, 0))
    half_width = LIMITS_OF_AGREEMENT_SD * np.sqrt(np.maximum(variance, 0))
    return {
        "mae": _ratio(weights @ np.abs(error), count),
        "bias": bias,
        "loa": [bias - half_width, bias + half_width],
        "pearson": _pearson(measured, truth, weights),
    }


def percentile_interval(resampled: FloatArray) -> list[float] | None:
    """Lower and upper end of the 95% percentile interval, None if no resample is defined."""
    defined = resampled[np.isfinite(resampled)]
    if defined.size == 0:
        return None
    return [float(end) for end in np.percentile(defined, (2.5, 97.5))]


def known_value(figure: FloatArray) -> float | None:
    """The first or only value of a statistic, None if it is not defined."""
    value = float(np.ravel(figure)[0])
    return value if np.isfinite(value) else None


def mean_of_defined(figures: list[FloatArray]) -> FloatArray:
    """Mean of several statistics `(R,)`, leaving NaN out; NaN where all are NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of columns that are all NaN
        mean: FloatArray = np.nanmean(np.stack(figures), axis=0)
    return mean


def _pearson(first: FloatArray, second: FloatArray, weights: FloatArray) -> FloatArray:
    covariance = _covariance(first, second, weights)
    variances = []
    for values in (first, second):
        variance = _covariance(values, values, weights)
        scale = float(np.abs(values).max(initial=0)) ** 2
        variances.append(np.where(variance > NO_SPREAD * scale, variance, 0))
    return np.clip(_ratio(covariance, np.sqrt(variances[0] * variances[1])), -1, 1)


def _covariance(first: FloatArray, second: FloatArray, weights: FloatArray) -> FloatArray:
    # Centred on the plain mean first, or the difference below would cancel.
    first = first - (first.mean() if first.size else 0.0)
    second = second - (second.mean() if second.size else 0.0)
    count = weights.sum(axis=1)
    mean_first, mean_second = _ratio(weights @ first, count), _ratio(weights @ second, count)
    return _ratio(weights @ (first * second), count) - mean_first * mean_second


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


CONFIDENCE: Final = 0.95
"""Confidence of the intervals of bias and limits."""

MIN_PAIRS: Final = 3
"""Fewest pairs of which agreement is told: with two, the spread has one degree of freedom."""


def measure_agreement(measured: npt.ArrayLike, reference: npt.ArrayLike) -> dict[str, Any] | None:
    """Bland-Altman figures with exact intervals for the bias and approximate ones for the limits.

    The variance of a limit is `sd^2 (1 / n + 1.96^2 / (2 (n - 1)))`, and its interval has
    Student's t with n - 1 degrees of freedom. The coefficient of variability is that of
    observer studies.

    Args:
        measured: `(P,)` index of each patient, NaN where it is not known.
        reference: `(P,)` reference in the same unit, NaN where it is not known.

    Returns:
        None with fewer than `MIN_PAIRS` pairs; otherwise `pairs`, patients with both values; in the unit of
        the index `bias`, the mean of measured minus reference, `sd`, the sample standard deviation of the
        differences, `lower` and `upper`, the 95% limits of agreement, and of bias and limits the 95%
        confidence interval (`bias_interval`, ...); `pearson`, None if one side has no spread; `icc`,
        ICC(2,1), None if nothing has any; `variability_percent`, `sd` in percent of the mean of both sides,
        None if that is 0.

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
    mean = float(np.concatenate([first, second]).mean())
    return {
        "pairs": pairs,
        "bias": bias,
        "bias_interval": (bias - of_bias, bias + of_bias),
        "sd": sd,
        "lower": lower,
        "lower_interval": (lower - of_limit, lower + of_limit),
        "upper": upper,
        "upper_interval": (upper - of_limit, upper + of_limit),
        "pearson": known_value(found["pearson"]),
        "icc": intraclass_correlation(np.stack([first, second], axis=1)),
        "variability_percent": 100 * sd / mean if mean else None,
    }


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


def paired_difference(
    first: FloatArray, second: FloatArray, weights: FloatArray, *, is_higher_better: bool = True
) -> dict[str, Any]:
    """Difference of two models by patient; patients who lack the figure in either are left out.

    The test pairs patients, not volumes: the two phases of a heart are not independent. It is exact
    up to 50 patients without ties, and takes the normal approximation otherwise.

    Args:
        first: `(P,)` figure of each patient, NaN where it is not defined.
        second: `(P,)` the same of the other model.
        weights: `(R, P)` how often each patient counts in each resample.
        is_higher_better: Whether a larger figure is a better one.

    Returns:
        `patients` who have the figure of both; `difference`, mean over them of the second minus the first,
        None without any; `interval`, its 95% interval by bootstrap of patients, both models on the same
        resample, None with fewer than two; `better` and `worse`, patients for whom the second is so; and
        `p_value`, two-sided, 1 where all are equal, None without patients.

    References:
        Wilcoxon, Biometrics Bulletin 1(6), 1945, doi:10.2307/3001968.
    """
    is_defined = np.isfinite(first) & np.isfinite(second)
    change = (second - first)[is_defined]
    if not change.size:
        empty = {"patients": 0, "difference": None, "interval": None}
        return empty | {"better": 0, "worse": 0, "p_value": None}
    drawn = weights[:, is_defined]
    count = drawn.sum(axis=1)
    resampled = (drawn @ change)[count > 0] / count[count > 0]
    gains = change if is_higher_better else -change
    return {
        "patients": int(change.size),
        "difference": float(change.mean()),
        "interval": percentile_interval(resampled) if change.size > 1 else None,
        "better": int((gains > 0).sum()),
        "worse": int((gains < 0).sum()),
        "p_value": float(wilcoxon(change).pvalue) if np.any(change) else 1.0,
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for their number by Holm's step-down procedure, in the order given.

    None stays None and does not count as a test.

    References:
        Holm, Scandinavian Journal of Statistics 6(2), 1979, https://www.jstor.org/stable/4615733.
    """
    tested = sorted((p_value, index) for index, p_value in enumerate(p_values) if p_value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p_value, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_value))
        corrected[index] = largest
    return corrected


def rank_stability(
    values: FloatArray, weights: FloatArray, *, is_higher_better: bool = True
) -> dict[str, Any] | None:
    """Ranks of models by their mean over patients, and how they change if patients are drawn again.

    Args:
        values: `(M, P)` figure of each model and patient; a patient with a NaN is left out.
        weights: `(R, P)` how often each patient counts in each resample.
        is_higher_better: Whether a larger figure is a better one.

    Returns:
        None without a patient that all models have the figure for; otherwise `patients`, their number;
        `rank` of each model, 1 the best, equal models share the mean rank; `interval`, the 95% interval of
        each rank over the resamples; `shares` of resamples for each model and each rank 1 to M, a shared
        rank counts half for both sides where it lies between two; `kendall_tau`, the mean over resamples
        of Kendall's tau-b with the ranking on all patients, None if all models are equal.

    References:
        Wiesenfarth et al., Scientific Reports 11, 2021, doi:10.1038/s41598-021-82017-6: figures are
        averaged, then ranked.
    """
    is_complete = np.isfinite(values).all(axis=0)
    if not is_complete.any():
        return None
    values, weights = values[:, is_complete], weights[:, is_complete]
    weights = weights[weights.sum(axis=1) > 0]
    sign = -1.0 if is_higher_better else 1.0
    # Rounding keeps models with the same values equal: sums differ in their last bits.
    whole = np.round(sign * values.mean(axis=1), 12)
    means = np.round(sign * (weights @ values.T) / weights.sum(axis=1, keepdims=True), 12)
    ranks = rankdata(means, axis=1)
    models = len(values)
    shares = [
        [
            float(((ranks[:, model] == rank) + 0.5 * (np.abs(ranks[:, model] - rank) == 0.5)).mean())
            for rank in range(1, models + 1)
        ]
        for model in range(models)
    ]
    tau = _kendall_tau(whole, means)
    return {
        "patients": int(is_complete.sum()),
        "rank": [float(rank) for rank in rankdata(whole)],
        "interval": [percentile_interval(ranks[:, model]) for model in range(models)],
        "shares": shares,
        "kendall_tau": float(tau[np.isfinite(tau)].mean()) if np.isfinite(tau).any() else None,
    }


def _kendall_tau(whole: FloatArray, resampled: FloatArray) -> FloatArray:
    """Kendall's tau-b of `(M,)` with each of `(R, M)`, NaN where all of one are equal."""
    above = np.triu_indices(len(whole), k=1)
    order = np.sign(whole[above[0]] - whole[above[1]])
    orders = np.sign(resampled[:, above[0]] - resampled[:, above[1]])
    scale = np.sqrt((order**2).sum() * (orders**2).sum(axis=1))
    out = np.full(len(resampled), np.nan)
    np.divide(orders @ order, scale, out=out, where=scale > 0)
    return out


Walls = tuple[Rings, Rings]
"""Rings of the predicted mask and of the true one, of one volume."""


def wall_agreement(rings: Iterable[tuple[str, Phase, Walls]]) -> dict[str, dict[str, Any]]:
    """Mean error, bias, limits of agreement and correlation of each figure of the wall.

    Args:
        rings: Patient, phase and rings of each volume.

    Returns:
        By the names of `indices.csv`; those of segments are pooled over patients and segments. `pairs` is
        the number of values; figures that fewer than two patients have are left out.
    """
    by_patient: dict[str, dict[Phase, Walls]] = {}
    for patient, phase, of_volume in rings:
        by_patient.setdefault(patient, {})[phase] = of_volume
    pairs: dict[str, list[tuple[float, float]]] = {}
    for phases in by_patient.values():
        if len(phases) < len(Phase):
            continue
        found = [_values(measure_wall(*(phases[phase][side] for phase in Phase))) for side in (0, 1)]
        for name, measured in found[0].items():
            truth = found[1][name]
            pairs.setdefault(name, []).extend(
                (one, other)
                for one, other in zip(measured, truth, strict=True)
                if one is not None and other is not None
            )
    result = {}
    for name, values in pairs.items():
        if len(values) > 1:
            measured, truth = np.array(values).T
            figures = agreement(measured, truth, np.ones((1, len(values))))
            result[name] = {"pairs": len(values)} | {
                key: [known_value(end) for end in value] if isinstance(value, list) else known_value(value)
                for key, value in figures.items()
            }
    return result


def _values(wall: Wall) -> dict[str, tuple[float | None, ...]]:
    return {
        **{f"wall_{name}": (getattr(wall, name),) for name in ("mean_ed_mm", "mean_es_mm", "max_ed_mm")},
        **{f"strain_{name}": (value,) for name, value in asdict(wall.strain).items()},
        "segment_wall_ed_mm": wall.ed_mm,
        "segment_wall_es_mm": wall.es_mm,
        "segment_thickening_percent": wall.thickening_percent,
        "segment_wall_motion_mm": wall.motion_mm,
    }
