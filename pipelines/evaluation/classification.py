"""Evaluation of a classifier on labelled radiographs: figures with intervals, and recipes compared."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from pipelines.core.errors import ConfigError, DataError, expecting
from pipelines.core.files import output_folder, read_json, write_csv, write_json
from pipelines.core.progress import track
from pipelines.core.records import Problem
from pipelines.datasets.duplicates import pixel_hash
from pipelines.datasets.xray_image import Finding, XrayRecord, decide, read_chest_xray, read_xray
from pipelines.evaluation.segmentation import NOTHING_KNOWN, patients_seen
from pipelines.evaluation.statistics import (
    RESAMPLES,
    bootstrap_weights,
    known_value,
    percentile_interval,
)
from pipelines.figures.xray_figures import write_figures
from pipelines.models.xray import XrayModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CALIBRATION_BINS = 10
"""Bins of equal width of the calibration curve and its expected error."""


def confusion(
    truth: IntArray, decided: BoolArray, weights: FloatArray | None = None
) -> IntArray | FloatArray:
    """Counts `(..., 2, 2)`, rows the truth, columns the decision, normal first.

    Args:
        truth: `(N,)` 0 normal, 1 pneumonia.
        decided: `(N,)` whether pneumonia was decided.
        weights: `(R, N)` how often each image counts in each resample; without it each counts once.
    """
    cell = 2 * truth + decided
    if weights is None:
        return np.bincount(cell, minlength=4).reshape(2, 2)
    columns = [weights[:, cell == index].sum(axis=1) for index in range(4)]
    return np.stack(columns, axis=1).reshape(-1, 2, 2)


def scores_of(counts: IntArray | FloatArray) -> dict[str, FloatArray]:
    """Scores of confusion matrices `(..., 2, 2)`; NaN where a class is absent.

    Precision, recall and F1 are those of pneumonia; recall is the sensitivity.
    """
    normal, false_alarm = counts[..., 0, 0], counts[..., 0, 1]
    missed, found = counts[..., 1, 0], counts[..., 1, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = found / (found + missed)
        specificity = normal / (normal + false_alarm)
        return {
            "accuracy": (normal + found) / counts.sum(axis=(-2, -1)),
            "balanced_accuracy": (recall + specificity) / 2,
            "precision": found / (found + false_alarm),
            "recall": recall,
            "f1": 2 * found / (2 * found + false_alarm + missed),
            "sensitivity": recall,
            "specificity": specificity,
        }


def decision_scores(truth: IntArray, decided: BoolArray) -> dict[str, float]:
    """Scores of one set of decisions, as in `scores_of`, without the two names given twice."""
    scores = scores_of(confusion(truth, decided))
    return {name: float(scores[name]) for name in scores if name not in ("sensitivity", "specificity")}


def best_threshold(truth: IntArray, probability: FloatArray) -> float:
    """Threshold with the largest balanced accuracy (Youden's J); of an interval of equals, its middle.

    Args:
        truth: `(N,)` 0 normal, 1 pneumonia; both must occur.
        probability: `(N,)` of pneumonia.

    References:
        Youden, Cancer 3, 1950, doi:10.1002/1097-0142(1950)3:1<32::aid-cncr2820030106>3.0.co;2-3.
    """
    false_rate, true_rate, thresholds = roc_curve(truth, probability, drop_intermediate=False)
    best = int(np.argmax(true_rate - false_rate))
    upper = thresholds[best]
    below = probability[probability < upper]
    lower = below.max() if below.size else 0.0
    return float((min(upper, 1.0) + lower) / 2)


PLAIN_THRESHOLD = 0.5


def chosen_threshold(
    truth: IntArray, probability: FloatArray, patients: Sequence[str]
) -> tuple[float, list[float] | None]:
    """Threshold for use: the best of `best_threshold` if it is better beyond chance, else 0.5.

    The best of one sample follows its noise, and was worse on other patients than 0.5.

    Args:
        truth: `(N,)` 0 normal, 1 pneumonia; both must occur.
        probability: `(N,)` of pneumonia.
        patients: `(N,)` patient of each image.

    Returns:
        The threshold, and the 95% interval, by bootstrap of patients, of the gain in balanced accuracy of the
        best one over 0.5.
    """
    best = best_threshold(truth, probability)
    owner = np.unique(np.asarray(patients), return_inverse=True)[1]
    weights = bootstrap_weights(int(owner.max()) + 1)[:, owner]
    at_best, at_plain = (
        scores_of(confusion(truth, probability >= threshold, weights))["balanced_accuracy"]
        for threshold in (best, PLAIN_THRESHOLD)
    )
    interval = percentile_interval(at_best - at_plain)
    return (best if interval and interval[0] > 0 else PLAIN_THRESHOLD), interval


def calibration(truth: IntArray, probability: FloatArray) -> tuple[list[dict[str, float]], float]:
    """Calibration curve and expected calibration error over bins of equal width.

    Returns:
        For each bin that holds an image: mean `probability`, `share` of pneumonia and `images`;
        and the mean of their differences, weighted by images.

    References:
        Guo et al., ICML 2017, arXiv:1706.04599.
    """
    curve, error = calibration_curve(bin_sums(truth, probability))
    return [{"images" if name == "count" else name: point[name] for name in point} for point in curve], error


def bin_sums(truth: IntArray, probability: FloatArray) -> FloatArray:
    """Count, sum of probabilities and sum of truths in bins of equal width, `(3, CALIBRATION_BINS)`.

    Sums of several parts add up to those of the whole.

    Args:
        truth: `(N,)` 0 or 1.
        probability: `(N,)` of 1.
    """
    bins = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    parts = [np.bincount(bins, weights, minlength=CALIBRATION_BINS) for weights in (None, probability, truth)]
    return np.stack(parts).astype(np.float64)


def calibration_curve(sums: FloatArray) -> tuple[list[dict[str, float]], float]:
    """Calibration curve and expected calibration error from the sums of `bin_sums`.

    Returns:
        For each bin that is not empty: mean `probability`, `share` of ones and `count`; and the
        mean of their differences, weighted by count, 0.0 if all are empty.
    """
    curve: list[dict[str, float]] = []
    error = 0.0
    for count, probability, ones in sums.T[sums[0] > 0]:
        curve.append(
            {"probability": float(probability / count), "share": float(ones / count), "count": int(count)}
        )
        error += abs(probability - ones)
    return curve, float(error / max(sums[0].sum(), 1))


def ranking_scores(
    truth: IntArray, probability: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """AUROC and average precision (AUPRC) of each resample, `(R,)`; NaN where a class is absent.

    They are those of scikit-learn with `sample_weight`, for thousands of resamples at once.

    Args:
        truth: `(N,)` 0 normal, 1 pneumonia.
        probability: `(N,)` of pneumonia.
        weights: `(R, N)` how often each image counts.
    """
    order = np.argsort(-probability, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(probability[order]) != 0])
    ranked = weights[:, order]
    positive = np.add.reduceat(ranked * truth[order], starts, axis=1)
    negative = np.add.reduceat(ranked * (1 - truth[order]), starts, axis=1)
    found, false = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    positives, negatives = found[:, -1], false[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        below = negatives[:, None] - false + negative / 2
        auroc = (positive * below).sum(axis=1) / (positives * negatives)
        precision = found / np.maximum(found + false, 1e-12)
        auprc = (positive * precision).sum(axis=1) / positives
    is_defined = (positives > 0) & (negatives > 0)
    return np.where(is_defined, auroc, np.nan), np.where(is_defined, auprc, np.nan)


def summarise_classification(
    truth: IntArray,
    probability: FloatArray,
    patients: Sequence[str],
    *,
    threshold: float,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Metrics of a set of images, with 95% bootstrap intervals over patients.

    Args:
        truth: `(N,)` 0 normal, 1 pneumonia.
        probability: `(N,)` of pneumonia.
        patients: `(N,)` patient of each image; a patient's images are drawn together.
        threshold: Probability from which pneumonia is decided.
        resamples: Number of bootstrap resamples.

    Returns:
        `summary` with the scores of `scores_of`, `auroc`, `auprc`, `ece`, `confusion_matrix`
        (rows the truth, columns the decision, normal first), `threshold` and counts;
        `intervals` by score; and `calibration`. A figure that is not defined is None.
    """
    decided = probability >= threshold
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    weights = bootstrap_weights(len(names), resamples=resamples)[:, owner]
    counts = confusion(truth, decided)
    curve, error = calibration(truth, probability)
    values: dict[str, Any] = {name: known_value(value) for name, value in scores_of(counts).items()}
    resampled = scores_of(confusion(truth, decided, weights))
    resampled["auroc"], resampled["auprc"] = ranking_scores(truth, probability, weights)
    once = np.ones((1, len(truth)))
    for name, figure in zip(("auroc", "auprc"), ranking_scores(truth, probability, once), strict=True):
        values[name] = known_value(figure)
    summary = values | {
        "ece": error,
        "confusion_matrix": counts.tolist(),
        "threshold": threshold,
        "images": len(truth),
        "patients": len(names),
    }
    intervals = {name: percentile_interval(figures) for name, figures in resampled.items()}
    return {"summary": summary, "intervals": intervals, "calibration": curve}


METRICS_NAME = "metrics.json"
COLUMNS = ("image", "patient", "finding", "agent", "probability", "decision", "is_correct")

logger = logging.getLogger(__name__)


def evaluate_xray(
    root: Path,
    output: Path,
    classifier: XrayModel,
    *,
    records: Sequence[XrayRecord] | None = None,
    seen: frozenset[str] | None = None,
    unseen_only: bool = False,
) -> dict[str, Any]:
    """Classify every labelled radiograph, and write figures, a table and pictures.

    An image that cannot be read is listed under `problems`, and the rest goes on.

    Args:
        root: Existing folder with `NORMAL` or `PNEUMONIA` at any depth.
        output: Folder for `metrics.json`, `metrics.csv` (a row per image), `roc.png`,
            `confusion.png`, `calibration.png` and TensorBoard entries; made if it does not exist.
        classifier: Classifies one image at a time.
        records: Images to evaluate in place of all in `root`.
        seen: Hashes of the images that the weights were trained on, None if they are not known.
        unseen_only: Leave out the patients that the weights were trained on.

    Returns:
        The content of `metrics.json`: see `summarise_classification`, with `cases` and `problems`; and
            `seen_patients`, those that the weights were trained on, whether measured or left out, or None
            if nothing is known of that.

    Raises:
        ConfigError: If `unseen_only` where nothing is known of what was seen.
        DataError: If there is no image that can be evaluated.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    if unseen_only and seen is None:
        raise ConfigError(NOTHING_KNOWN)
    problems: list[Problem] = []
    if records is None:
        dataset = read_chest_xray(root)
        records, problems = dataset.records, list(dataset.problems)
    seen_patients = patients_seen(records, seen, lambda record: pixel_hash(read_xray(record.image).pixels))
    if unseen_only:
        records = [record for record in records if record.patient not in set(seen_patients or [])]
    cases: list[dict[str, Any]] = []
    for record in track(records, lambda one: one.image.name):
        try:
            cases.append(_case(record, classifier))
        except DataError as error:
            logger.warning("skipped %s: %s", record.image, error)
            problems.append(Problem(record.patient, record.image, str(error)))
    if not cases:
        raise DataError(
            f"expected an image that can be evaluated below {root}, found none of {len(records)}; "
            f"the last problem: {problems[-1].reason if problems else 'no images'}"
        )
    truth, probability = truth_and_probability(cases)
    patients = [case["patient"] for case in cases]
    metrics = summarise_classification(truth, probability, patients, threshold=classifier.threshold)
    metrics |= {"cases": cases, "problems": [asdict(problem) for problem in problems]}
    metrics |= {"seen_patients": seen_patients, "unseen_only": unseen_only}
    write_figures(metrics, output)
    write_csv(output / "metrics.csv", COLUMNS, cases)
    write_json(output / METRICS_NAME, metrics)
    return metrics


def read_cases(evaluation: Path) -> list[dict[str, Any]]:
    """Cases of an evaluation.

    Raises:
        DataError: If there is none.
    """
    path = evaluation / METRICS_NAME
    with expecting(f"an evaluation of 'thorax evaluate' at {path}"):
        cases: list[dict[str, Any]] = read_json(path)["cases"]
        is_of_radiographs = all("probability" in case for case in cases)
    if not is_of_radiographs:
        raise DataError(
            f"expected an evaluation of radiographs at {path}, found one of hearts; those are "
            "analysed by 'thorax analyse'"
        )
    return cases


def truth_and_probability(cases: Sequence[Mapping[str, Any]]) -> tuple[IntArray, FloatArray]:
    """`(N,)` labels, 1 for pneumonia, and probabilities of the cases of an evaluation."""
    truth = np.array([case["finding"] == Finding.PNEUMONIA for case in cases], dtype=np.int64)
    return truth, np.array([case["probability"] for case in cases], dtype=np.float64)


def _case(record: XrayRecord, classifier: XrayModel) -> dict[str, Any]:
    probability = classifier.probability(read_xray(record.image).pixels)
    decision = decide(probability, classifier.threshold)
    return {
        "image": str(record.image),
        "patient": record.patient,
        "finding": record.finding.value,
        "agent": record.agent,
        "probability": probability,
        "decision": decision.value,
        "is_correct": decision is record.finding,
    }


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
    truth, _ = truth_and_probability(first[0])
    patients, owner = np.unique([case["patient"] for case in first[0]], return_inverse=True)
    weights = bootstrap_weights(len(patients))[:, owner]
    once = np.ones((1, len(truth)))
    found = []
    for name in SCORES:
        whole, drawn = (
            [[_recipe_score(name, truth, cases, counts) for cases in recipe] for recipe in (first, second)]
            for counts in (once, weights)
        )
        values = [[float(value[0]) for value in recipe] for recipe in whole]
        resampled = [np.mean(recipe, axis=0) for recipe in drawn]
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


def _recipe_score(name: str, truth: IntArray, cases: Cases, weights: FloatArray) -> FloatArray:
    if name == "auroc":
        return ranking_scores(truth, truth_and_probability(cases)[1], weights)[0]
    decided: BoolArray = np.array([case["decision"] == Finding.PNEUMONIA for case in cases])
    return scores_of(confusion(truth, decided, weights))[name]
