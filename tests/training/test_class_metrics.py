import math

import pytest
import torch

from pipelines.training.class_metrics import ClassMetrics


def scores(logits: list[list[float]], labels: list[int]) -> dict[str, float]:
    metric = ClassMetrics(lambda output: output, prefix="val_")
    for start in range(0, len(labels), 2):  # in batches
        metric.update((list(torch.tensor(logits[start : start + 2])), labels[start : start + 2]))
    return metric.compute()


def test_scores_of_batches_are_those_of_all_images_together() -> None:
    found = scores([[2, 0], [0, 2], [0, 1], [3, 0], [0, 3]], [0, 1, 0, 1, 1])
    assert found["val_accuracy"] == pytest.approx(3 / 5)
    assert found["val_recall"] == pytest.approx(2 / 3)
    assert found["val_auroc"] == pytest.approx(4 / 6)
    assert found["val_loss"] > 0


def test_auroc_of_one_class_is_not_defined() -> None:
    assert math.isnan(scores([[2, 0], [0, 2]], [1, 1])["val_auroc"])
