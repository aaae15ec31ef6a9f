"""How well a quality score foretells Dice: correlations, error, and the flag, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pipelines.evaluation.classification import confusion, ranking_scores, scores_of
from pipelines.evaluation.statistics import RESAMPLES, agreement, bootstrap_weights, percentile_interval
from pipelines.quality.fit import FloatArray, true_dice
from pipelines.quality.measure import Measured
from pipelines.quality.model import FLAGGED_BELOW


def quality_figures(
    images: Sequence[Measured], predicted: FloatArray, threshold: float, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Figures for the clean images, for those with faults, and for all.

    Args:
        images: Measured images.
        predicted: `(N,)` mean Dice predicted for each.
        threshold: Predicted mean Dice below which an image is flagged.
        resamples: Bootstrap resamples, which draw patients.

    Returns:
        For `clean`, `faulty` and `all`: `images`, `patients`, `bad` (true mean Dice below
        `FLAGGED_BELOW`), and by figure its `value` and 95% `interval`: `pearson`, `spearman`, `mae`,
        `auroc`, `sensitivity` and `specificity` of the flag; None where a figure is not defined. A part
        without images is left out.
    """
    clean = np.array([image.is_clean for image in images])
    parts = {"clean": clean, "faulty": ~clean, "all": np.ones(len(images), dtype=bool)}
    return {
        name: _part(
            [images[index] for index in np.flatnonzero(inside)], predicted[inside], threshold, resamples
        )
        for name, inside in parts.items()
        if inside.any()
    }


def _part(
    images: Sequence[Measured], predicted: FloatArray, threshold: float, resamples: int
) -> dict[str, Any]:
    truth = true_dice(images)
    names, owner = np.unique([image.patient for image in images], return_inverse=True)
    plain = np.ones((1, len(images)))
    drawn = bootstrap_weights(len(names), resamples=resamples)[:, owner]
    values, resampled = (_statistics(predicted, truth, threshold, weights) for weights in (plain, drawn))
    figures = {
        name: {"value": float(values[name][0]), "interval": percentile_interval(resampled[name])}
        for name in values
    }
    bad = int((truth < FLAGGED_BELOW).sum())
    return {"images": len(images), "patients": len(names), "bad": bad, **figures}


def _statistics(
    predicted: FloatArray, truth: FloatArray, threshold: float, weights: FloatArray
) -> dict[str, FloatArray]:
    """Each figure `(R,)` for weights `(R, N)` of the images."""
    bad = (truth < FLAGGED_BELOW).astype(np.int64)
    linear = agreement(predicted, truth, weights)
    # The ranks are those among all images: a resample does not rank anew.
    ranked = agreement(rankdata(predicted), rankdata(truth), weights)
    flag = scores_of(confusion(bad, predicted < threshold, weights))
    return {
        "pearson": np.asarray(linear["pearson"]),
        "spearman": np.asarray(ranked["pearson"]),
        "mae": np.asarray(linear["mae"]),
        "auroc": ranking_scores(bad, 1 - predicted, weights)[0],
        "sensitivity": np.asarray(flag["sensitivity"]),
        "specificity": np.asarray(flag["specificity"]),
    }
