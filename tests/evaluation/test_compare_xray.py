from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipelines.core.errors import DataError
from pipelines.evaluation.compare_xray import compare_recipes


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
