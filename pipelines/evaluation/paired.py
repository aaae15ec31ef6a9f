"""Whether one model beats another on the same patients: differences, intervals and corrected tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from pipelines.evaluation.bootstrap import FloatArray, percentile_interval


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A figure of two models on the same patients.

    Attributes:
        patients: Number of patients for whom both have the figure.
        difference: Mean over patients of the second minus the first; None without patients.
        interval: Its 95% interval by bootstrap of patients, both models on the same resample;
            None with fewer than two patients.
        better: Patients for whom the second is better.
        worse: Patients for whom the second is worse; the others are equal.
        p_value: Two-sided p-value of the Wilcoxon signed-rank test over patients, 1 where all are
            equal, None without patients.
    """

    patients: int
    difference: float | None
    interval: list[float] | None
    better: int
    worse: int
    p_value: float | None


def paired_difference(
    first: FloatArray, second: FloatArray, weights: FloatArray, *, is_higher_better: bool = True
) -> PairedDifference:
    """Difference of two models by patient; patients who lack the figure in either are left out.

    The test pairs patients, not volumes: the two phases of a heart are not independent. It is exact
    up to 50 patients without ties, and takes the normal approximation otherwise.

    Args:
        first: `(P,)` figure of each patient, NaN where it is not defined.
        second: `(P,)` the same of the other model.
        weights: `(R, P)` how often each patient counts in each resample.
        is_higher_better: Whether a larger figure is a better one.

    References:
        Wilcoxon, Biometrics Bulletin 1(6), 1945, doi:10.2307/3001968.
    """
    is_defined = np.isfinite(first) & np.isfinite(second)
    change = (second - first)[is_defined]
    if not change.size:
        return PairedDifference(0, None, None, 0, 0, None)
    drawn = weights[:, is_defined]
    count = drawn.sum(axis=1)
    resampled = (drawn @ change)[count > 0] / count[count > 0]
    gains = change if is_higher_better else -change
    return PairedDifference(
        patients=int(change.size),
        difference=float(change.mean()),
        interval=percentile_interval(resampled) if change.size > 1 else None,
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        p_value=float(wilcoxon(change).pvalue) if np.any(change) else 1.0,
    )


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
