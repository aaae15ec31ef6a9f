"""How firm a ranking of models is: ranks over bootstrap resamples of the patients."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from pipelines.evaluation.bootstrap import FloatArray, percentile_interval


@dataclass(frozen=True, slots=True)
class RankStability:
    """Ranks of M models by their mean over patients, 1 the best; equal models share the mean rank.

    Attributes:
        patients: Number of patients that all models have the figure for.
        rank: Of each model on all patients.
        interval: 95% interval of each model's rank over the resamples.
        shares: For each model and each rank 1 to M the share of resamples; a shared rank counts
            half for both sides where it lies between two.
        kendall_tau: Mean over resamples of Kendall's tau-b with the ranking on all patients,
            1 if it never changes; None if all models are equal.
    """

    patients: int
    rank: list[float]
    interval: list[list[float] | None]
    shares: list[list[float]]
    kendall_tau: float | None


def rank_stability(
    values: FloatArray, weights: FloatArray, *, is_higher_better: bool = True
) -> RankStability | None:
    """Ranks of models, and how they change if patients are drawn again.

    Args:
        values: `(M, P)` figure of each model and patient; a patient with a NaN is left out.
        weights: `(R, P)` how often each patient counts in each resample.
        is_higher_better: Whether a larger figure is a better one.

    Returns:
        The ranks, or None without a patient that all models have the figure for.

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
    return RankStability(
        patients=int(is_complete.sum()),
        rank=[float(rank) for rank in rankdata(whole)],
        interval=[percentile_interval(ranks[:, model]) for model in range(models)],
        shares=shares,
        kendall_tau=float(tau[np.isfinite(tau)].mean()) if np.isfinite(tau).any() else None,
    )


def _kendall_tau(whole: FloatArray, resampled: FloatArray) -> FloatArray:
    """Kendall's tau-b of `(M,)` with each of `(R, M)`, NaN where all of one are equal."""
    above = np.triu_indices(len(whole), k=1)
    order = np.sign(whole[above[0]] - whole[above[1]])
    orders = np.sign(resampled[:, above[0]] - resampled[:, above[1]])
    scale = np.sqrt((order**2).sum() * (orders**2).sum(axis=1))
    out = np.full(len(resampled), np.nan)
    np.divide(orders @ order, scale, out=out, where=scale > 0)
    return out
