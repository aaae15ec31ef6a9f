import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pipelines.evaluation.classification import (
    best_threshold,
    calibration,
    chosen_threshold,
    confusion,
    decision_scores,
    ranking_scores,
    scores_of,
    summarise_classification,
)

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
PROBABILITY = np.array([0.1, 0.2, 0.3, 0.8, 0.2, 0.6, 0.7, 0.8, 0.9, 0.95])
PATIENTS = list("aabbccddee")


def test_rows_are_the_truth_and_columns_the_decision() -> None:
    assert confusion(TRUTH, PROBABILITY >= 0.5).tolist() == [[3, 1], [1, 5]]


def test_scores_have_their_textbook_values() -> None:
    scores = decision_scores(TRUTH, PROBABILITY >= 0.5)
    assert scores == pytest.approx(
        {
            "accuracy": 0.8,
            "balanced_accuracy": (5 / 6 + 3 / 4) / 2,
            "precision": 5 / 6,
            "recall": 5 / 6,
            "f1": 5 / 6,
        }
    )


def test_a_class_that_is_absent_gives_nan_not_one() -> None:
    scores = scores_of(confusion(np.ones(3, dtype=np.int64), np.array([True, True, False])))
    assert np.isnan(scores["specificity"])
    assert np.isnan(scores["balanced_accuracy"])
    assert scores["sensitivity"] == pytest.approx(2 / 3)


def test_weights_count_an_image_as_often_as_it_was_drawn() -> None:
    weights = np.array([[2.0] * 4 + [1.0] * 6])
    assert confusion(TRUTH, PROBABILITY >= 0.5, weights).tolist() == [[[6, 2], [1, 5]]]


def test_threshold_lies_in_the_middle_of_the_best_gap() -> None:
    truth = np.array([0, 0, 1, 1])
    assert best_threshold(truth, np.array([0.1, 0.4, 0.6, 0.9])) == pytest.approx(0.5)
    assert best_threshold(truth, np.array([0.1, 0.2, 0.3, 0.4])) == pytest.approx(0.25)


def test_a_threshold_of_a_useless_classifier_still_lies_between_0_and_1() -> None:
    assert 0 < best_threshold(np.array([0, 1]), np.array([0.5, 0.5])) < 1


def test_calibration_error_is_the_weighted_distance_from_the_diagonal() -> None:
    truth, probability = np.array([0, 1, 1, 1]), np.array([0.25, 0.25, 0.85, 0.85])
    curve, error = calibration(truth, probability)
    assert curve == [
        {"probability": 0.25, "share": 0.5, "images": 2},
        {"probability": pytest.approx(0.85), "share": 1.0, "images": 2},
    ]
    assert error == pytest.approx(0.5 * 0.25 + 0.5 * 0.15)


def test_calibration_of_certain_answers_is_exact() -> None:
    _, error = calibration(np.array([0, 1]), np.array([0.0, 1.0]))
    assert error == 0


def test_summary_holds_every_figure_with_its_interval() -> None:
    metrics = summarise_classification(TRUTH, PROBABILITY, PATIENTS, threshold=0.5, resamples=200)
    summary = metrics["summary"]
    assert summary["confusion_matrix"] == [[3, 1], [1, 5]]
    assert summary["auroc"] == pytest.approx(19 / 24)
    assert (summary["images"], summary["patients"], summary["threshold"]) == (10, 5, 0.5)
    for name in ("accuracy", "f1", "sensitivity", "specificity", "auroc", "auprc"):
        low, high = metrics["intervals"][name]
        assert 0 <= low <= summary[name] <= high <= 1, name


def test_intervals_draw_a_patients_images_together() -> None:
    # One patient with nine wrong images: with images drawn alone, none could be missed altogether.
    truth = np.ones(10, dtype=np.int64)
    probability = np.array([0.9] + [0.1] * 9)
    metrics = summarise_classification(truth, probability, ["a"] + ["b"] * 9, threshold=0.5, resamples=400)
    assert metrics["intervals"]["sensitivity"] == [0.0, 1.0]


def test_of_one_class_there_is_no_auroc() -> None:
    metrics = summarise_classification(
        np.ones(3, dtype=np.int64), np.full(3, 0.7), list("abc"), threshold=0.5, resamples=20
    )
    assert metrics["summary"]["auroc"] is None
    assert metrics["intervals"]["auroc"] is None
    assert metrics["summary"]["accuracy"] == 1


def test_ranking_scores_are_those_of_scikit_learn_also_with_ties_and_weights() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 60)
    probability = np.round(np.clip(0.3 * truth + generator.random(60) * 0.7, 0, 1), 1)
    weights = generator.integers(0, 4, (5, 60)).astype(float)
    auroc, auprc = ranking_scores(truth, probability, weights)
    for row, first, second in zip(weights, auroc, auprc, strict=True):
        assert first == pytest.approx(roc_auc_score(truth, probability, sample_weight=row))
        assert second == pytest.approx(average_precision_score(truth, probability, sample_weight=row))


def test_a_threshold_is_moved_only_where_it_helps_beyond_chance() -> None:
    truth = np.tile([0, 1], 50)
    patients = [f"p{number}" for number in range(100)]
    low = np.where(truth, 0.4, 0.1)
    threshold, gain = chosen_threshold(truth, low, patients)
    assert threshold == pytest.approx(0.25)
    assert gain == pytest.approx([0.5, 0.5])
    nearly = np.where(truth, 0.9, 0.1)
    nearly[1] = 0.45  # one film of a hundred would gain by a lower threshold
    threshold, gain = chosen_threshold(truth, nearly, patients)
    assert threshold == 0.5
    assert gain is not None
    assert gain[0] <= 0
