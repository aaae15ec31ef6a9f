import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.core.errors import ConfigError, DataError
from pipelines.datasets.duplicates import pixel_hash
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.classification import (
    best_threshold,
    calibration,
    chosen_threshold,
    compare_recipes,
    confusion,
    decision_scores,
    evaluate_xray,
    ranking_scores,
    read_cases,
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


class Brightness:
    """Takes the mean grey value for the probability."""

    threshold = 0.5

    def probability(self, pixels: np.ndarray) -> float:
        return float(pixels.mean())


def save(path: Path, level: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64), round(255 * level), np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three healthy patients, one of them too bright, and two with pneumonia, one with two images."""
    folder = tmp_path / "data"
    for number, level in enumerate((0.1, 0.3, 0.6)):
        save(folder / "NORMAL" / f"IM-{number:04d}-0001.png", level)
    save(folder / "PNEUMONIA" / "person1_virus_1.png", 0.9)
    save(folder / "PNEUMONIA" / "person1_virus_2.png", 0.8)
    save(folder / "PNEUMONIA" / "person2_bacteria_1.png", 0.7)
    return folder


def test_figures_are_those_of_the_decisions(root: Path, tmp_path: Path) -> None:
    metrics = evaluate_xray(root, tmp_path / "out", Brightness())
    assert metrics["summary"]["confusion_matrix"] == [[2, 1], [0, 3]]
    assert metrics["summary"]["accuracy"] == pytest.approx(5 / 6)
    assert metrics["summary"]["auroc"] == 1
    assert (metrics["summary"]["patients"], metrics["summary"]["images"]) == (5, 6)
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written["summary"] == metrics["summary"]
    assert {"accuracy", "f1", "auroc", "sensitivity", "specificity"} <= written["intervals"].keys()
    with (tmp_path / "out" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["is_correct"] for row in rows] == ["True", "True", "False", "True", "True", "True"]
    assert rows[3]["agent"] == "virus"


def test_pictures_are_files_and_in_tensorboard(root: Path, tmp_path: Path) -> None:
    evaluate_xray(root, tmp_path / "out", Brightness())
    for name in ("roc", "confusion", "calibration"):
        assert Image.open(tmp_path / "out" / f"{name}.png").size[0] > 300
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert {"test/roc", "test/confusion", "test/calibration"} <= set(events.Tags()["images"])
    assert "test/accuracy" in events.Tags()["scalars"]


def test_an_unreadable_image_is_listed_and_the_rest_goes_on(root: Path, tmp_path: Path) -> None:
    (root / "NORMAL" / "IM-0009-0001.png").write_text("text", encoding="utf-8")
    metrics = evaluate_xray(root, tmp_path / "out", Brightness())
    assert metrics["summary"]["images"] == 6
    assert [problem["patient"] for problem in metrics["problems"]] == ["IM-0009"]


def test_a_folder_without_both_classes_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected images in NORMAL and in PNEUMONIA"):
        evaluate_xray(root / "NORMAL", tmp_path / "out", Brightness())


def test_nothing_readable_is_an_error(root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="found none of 6; the last problem"):
        evaluate_xray(root, tmp_path / "out", Brightness())


def test_patients_that_the_weights_were_trained_on_are_named_and_left_out_on_request(
    root: Path, tmp_path: Path
) -> None:
    image = root / "PNEUMONIA" / "person1_virus_1.png"
    seen = frozenset({pixel_hash(read_xray(image).pixels)})
    metrics = evaluate_xray(root, tmp_path / "all", Brightness(), seen=seen)
    (patient,) = metrics["seen_patients"]
    assert metrics["summary"]["images"] == 6
    metrics = evaluate_xray(root, tmp_path / "unseen", Brightness(), seen=seen, unseen_only=True)
    assert metrics["seen_patients"] == [patient]
    assert metrics["summary"]["images"] == 4  # both films of that patient are left out
    assert evaluate_xray(root, tmp_path / "unknown", Brightness())["seen_patients"] is None
    with pytest.raises(ConfigError, match=r"expected weights with a list of the images .* found none"):
        evaluate_xray(root, tmp_path / "refused", Brightness(), unseen_only=True)


def test_an_evaluation_of_hearts_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"cases": [{"patient": "a", "dice": {}}]}', encoding="utf-8")
    with pytest.raises(DataError, match="expected an evaluation of radiographs .*, found one of hearts"):
        read_cases(tmp_path)


def cases(noise: float, seed: int, count: int = 200) -> list[dict[str, Any]]:
    """Images whose probability is their truth and noise; two images a patient."""
    generator = np.random.default_rng(seed)
    found = []
    for index in range(count):
        truth = index // 2 % 2
        probability = float(np.clip(truth * 0.6 + 0.2 + noise * generator.standard_normal(), 0, 1))
        found.append(
            {
                "image": f"{index}.png",
                "patient": f"p{index // 2}",
                "finding": ("NORMAL", "PNEUMONIA")[truth],
                "probability": probability,
                "decision": "PNEUMONIA" if probability >= 0.5 else "NORMAL",
            }
        )
    return found


def test_the_better_recipe_is_better_with_an_interval_above_zero() -> None:
    first, second = ([cases(noise, seed) for seed in range(3)] for noise in (0.45, 0.15))
    found = {score.name: score for score in compare_recipes(first, second)}
    truth = [case["finding"] == "PNEUMONIA" for case in first[0]]
    expected = [roc_auc_score(truth, [case["probability"] for case in recipe]) for recipe in first]
    assert found["auroc"].first == pytest.approx(expected)
    accuracy = found["accuracy"]
    assert accuracy.second == pytest.approx(
        [np.mean([case["decision"] == case["finding"] for case in recipe]) for recipe in second]
    )
    assert accuracy.difference == pytest.approx(np.mean(accuracy.second) - np.mean(accuracy.first))
    for score in found.values():
        assert score.interval is not None
        assert 0 < score.interval[0] < score.difference < score.interval[1]
        assert score.p_value < 0.01


def test_a_recipe_against_itself_makes_no_difference() -> None:
    recipe = [cases(0.3, seed) for seed in range(2)]
    for score in compare_recipes(recipe, recipe):
        assert score.difference == 0
        assert score.interval == [0, 0]
        assert score.p_value == 1


def test_two_of_the_same_kind_do_not_differ_significantly() -> None:
    first, second = [cases(0.3, 1)], [cases(0.3, 2)]
    found = {score.name: score for score in compare_recipes(first, second)}
    assert found["auroc"].p_value > 0.05


def test_other_images_or_none_are_refused() -> None:
    with pytest.raises(DataError, match="of the same images"):
        compare_recipes([cases(0.3, 1)], [cases(0.3, 1)[::-1]])
    with pytest.raises(DataError, match="two recipes, found 0 and 1"):
        compare_recipes([], [cases(0.3, 1)])
