"""Statistics over weighted patients, so that one pass gives an estimate or all its bootstrap resamples.

Every function takes `weights` `(R, P)`: how often each of P patients counts in
each of R resamples. One row of ones gives the plain estimate.
"""

import warnings

import numpy as np
import numpy.typing as npt

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


def percentile_interval(resampled: FloatArray, *, percent: float = 95) -> list[float] | None:
    """Lower and upper end of the percentile interval, None if no resample is defined."""
    defined = resampled[np.isfinite(resampled)]
    if defined.size == 0:
        return None
    tail = (100 - percent) / 2
    return [float(end) for end in np.percentile(defined, (tail, 100 - tail))]


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
