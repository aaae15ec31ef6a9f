"""Whether one recipe beats another on the same images, over several seeds of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipelines.core.errors import DataError
from pipelines.datasets.chest_xray import Finding
from pipelines.evaluation.bootstrap import bootstrap_weights, percentile_interval
from pipelines.evaluation.classification import (
    BoolArray,
    FloatArray,
    IntArray,
    confusion,
    ranking_scores,
    scores_of,
)

Cases = Sequence[Mapping[str, Any]]

SCORES: Final = ("accuracy", "balanced_accuracy", "auroc")


@dataclass(frozen=True, slots=True)
class PairedScore:
    """One score of two recipes on the same patients.

    Attributes:
        name: The score.
        first: Of each seed of the first recipe.
        second: Of each seed of the second recipe.
        difference: Mean of the second minus mean of the first.
        interval: Its 95% interval, bootstrapped over patients, all seeds on the same resample.
        p_value: Two-sided, from the same resamples: how often the difference has the other sign, doubled.
    """

    name: str
    first: list[float]
    second: list[float]
    difference: float
    interval: list[float] | None
    p_value: float


def compare_recipes(first: Sequence[Cases], second: Sequence[Cases]) -> list[PairedScore]:
    """Scores of two recipes, and a paired bootstrap of their difference.

    Args:
        first: Cases of the evaluation of each seed of a recipe.
        second: The same of another recipe, of the same images.

    Raises:
        DataError: If there are none, or the evaluations are not of the same images.
    """
    if not first or not second:
        raise DataError(f"expected evaluations of two recipes, found {len(first)} and {len(second)}")
    reference = [case["image"] for case in first[0]]
    for cases in (*first, *second):
        if [case["image"] for case in cases] != reference:
            raise DataError("expected evaluations of the same images, found others; evaluate them again")
    truth = np.array([case["finding"] == Finding.PNEUMONIA for case in first[0]], dtype=np.int64)
    patients, owner = np.unique([case["patient"] for case in first[0]], return_inverse=True)
    weights = bootstrap_weights(len(patients))[:, owner]
    once = np.ones((1, len(truth)))
    found = []
    for name in SCORES:
        score = _SCORERS[name]
        values = [[float(score(truth, cases, once)[0]) for cases in recipe] for recipe in (first, second)]
        resampled = [
            np.mean([score(truth, cases, weights) for cases in recipe], axis=0) for recipe in (first, second)
        ]
        change = resampled[1] - resampled[0]
        found.append(
            PairedScore(
                name=name,
                first=values[0],
                second=values[1],
                difference=float(np.mean(values[1]) - np.mean(values[0])),
                interval=percentile_interval(change),
                p_value=min(1.0, 2 * float(min((change <= 0).mean(), (change >= 0).mean()))),
            )
        )
    return found


def _decision_score(name: str) -> Callable[[IntArray, Cases, FloatArray], FloatArray]:
    def score(truth: IntArray, cases: Cases, weights: FloatArray) -> FloatArray:
        decided: BoolArray = np.array([case["decision"] == Finding.PNEUMONIA for case in cases])
        return scores_of(confusion(truth, decided, weights))[name]

    return score


def _auroc(truth: IntArray, cases: Cases, weights: FloatArray) -> FloatArray:
    probability = np.array([case["probability"] for case in cases], dtype=np.float64)
    return ranking_scores(truth, probability, weights)[0]


_SCORERS: Final = {
    "accuracy": _decision_score("accuracy"),
    "balanced_accuracy": _decision_score("balanced_accuracy"),
    "auroc": _auroc,
}
