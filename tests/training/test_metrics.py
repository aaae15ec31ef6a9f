import math

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor

from pipelines.training.handlers import ClassMetrics, VolumeMetrics


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


def test_all_scores_are_numbers_of_the_engine_and_the_one_it_is_attached_as_is_among_them() -> None:
    engine = Engine(lambda engine, batch: (list(torch.tensor([[2.0, 0.0], [0.0, 2.0]])), [0, 1]))
    ClassMetrics(lambda output: output, prefix="val_").attach(engine, "val_auroc")
    metrics = engine.run([0]).metrics
    assert metrics["val_auroc"] == metrics["val_accuracy"] == 1.0
    assert all(isinstance(value, float) for value in metrics.values())


def onehot(*values: int) -> Tensor:
    """One-hot `(4, 1, 1, n)` of n voxels in a row."""
    return torch.nn.functional.one_hot(torch.tensor(values), 4).T[:, None, None].float()


def metrics() -> VolumeMetrics:
    return VolumeMetrics(lambda output: output)


def test_scores_are_as_by_hand() -> None:
    label, prediction = onehot(1, 1, 2, 2, 3, 0), onehot(1, 0, 2, 2, 2, 3)
    probability = 0.5 * label
    probability[0] += 0.5
    metric = metrics()
    metric.update(([prediction], [probability], [label]))
    found = metric.compute()
    assert found["val_dice_rv"] == pytest.approx(2 / 3)
    assert found["val_dice_myo"] == pytest.approx(4 / 5)
    assert found["val_dice_lv"] == 0.0
    assert found["val_iou_rv"] == pytest.approx(1 / 2)
    assert found["val_iou_myo"] == pytest.approx(2 / 3)
    assert found["val_iou_lv"] == 0.0
    # 2 (n/2) / (n/2 + n) = 2/3 for each structure
    assert found["val_dice_loss"] == pytest.approx(1 / 3)


def test_volumes_count_alike_whatever_their_size() -> None:
    metric = metrics()
    small, large = onehot(1, 2, 3), onehot(*[1, 2, 3] * 10)
    metric.update(([small], [small], [small]))
    metric.update(([onehot(*[0] * 30)], [onehot(*[0] * 30)], [large]))
    found = metric.compute()
    assert found["val_dice_rv"] == 0.5
    assert found["val_dice_loss"] == 0.5


def test_a_structure_absent_from_both_masks_does_not_count() -> None:
    metric = metrics()
    whole, without_lv = onehot(1, 2, 3), onehot(1, 2, 0)
    metric.update(([whole, without_lv], [whole, without_lv], [whole, without_lv]))
    assert metric.compute()["val_dice_lv"] == 1.0
    metric.reset()
    metric.update(([without_lv], [without_lv], [without_lv]))
    found = metric.compute()
    assert math.isnan(found["val_dice_lv"])
    assert math.isnan(found["val_iou_lv"])
    assert found["val_dice_myo"] == 1.0
    assert found["val_dice_loss"] == 0.0


def test_a_structure_seen_where_there_is_none_counts_as_missed() -> None:
    metric = metrics()
    metric.update(([onehot(1, 2, 3)], [onehot(1, 2, 3)], [onehot(1, 2, 0)]))
    assert metric.compute()["val_dice_lv"] == 0.0
