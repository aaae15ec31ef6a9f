import math

import pytest
import torch
from torch import Tensor

from pipelines.training.loss import SegmentationLoss


def quarters() -> Tensor:
    """Label `(2, 1, 4, 4)` with four pixels of each class in each slice."""
    return torch.arange(4).repeat_interleave(4).reshape(1, 1, 4, 4).repeat(2, 1, 1, 1)


def logits(label: Tensor, certainty: float = 50.0) -> Tensor:
    return certainty * torch.nn.functional.one_hot(label[:, 0], 4).movedim(-1, 1).float()


def test_a_perfect_prediction_costs_nothing() -> None:
    assert SegmentationLoss()(logits(quarters()), quarters()).item() == pytest.approx(0.0, abs=1e-5)


# Every class has probability 1/4. With n of N = 4 n pixels, Dice is 2 (n/4) / (N/4 + n) = 1/4;
# cross-entropy is ln 4.
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.5])
def test_an_even_prediction_costs_what_a_hand_computes(weight: float) -> None:
    loss = SegmentationLoss(weight)(torch.zeros(2, 4, 4, 4), quarters())
    assert loss.item() == pytest.approx(0.75 + weight * math.log(4), abs=1e-4)


def test_a_wrong_certain_prediction_costs_all_of_dice() -> None:
    loss = SegmentationLoss(0.0)(logits((quarters() + 1) % 4), quarters())
    assert loss.item() == pytest.approx(1.0, abs=1e-4)


def test_heads_of_deep_supervision_count_half_as_much_each() -> None:
    heads = torch.stack((logits(quarters()), torch.zeros(2, 4, 4, 4), torch.zeros(2, 4, 4, 4)), dim=1)
    loss = SegmentationLoss()(heads, quarters())
    assert loss.item() == pytest.approx((0.5 + 0.25) * (0.75 + math.log(4)), abs=1e-4)
    main = SegmentationLoss()(heads.flip(1)[:, 1:], quarters())
    assert main.item() == pytest.approx(0.75 + math.log(4), abs=1e-4)


def test_dice_is_of_the_batch_so_that_a_slice_without_a_structure_does_not_count_against_it() -> None:
    label = quarters()
    label[1] = 0
    assert SegmentationLoss(0.0)(logits(label), label).item() == pytest.approx(0.0, abs=1e-5)
    # One pixel of LV too many in the empty slice: Dice of LV is 2 * 4 / (5 + 4) = 8/9.
    one_more = label.clone()
    one_more[1, 0, 0, 0] = 3
    loss = SegmentationLoss(0.0)(logits(one_more), label)
    assert loss.item() == pytest.approx((1 - 8 / 9) / 3, abs=1e-4)


def test_reduced_precision_is_lifted_to_float32() -> None:
    loss = SegmentationLoss()(logits(quarters(), 2.0).bfloat16().requires_grad_(), quarters())
    assert loss.dtype == torch.float32
    assert loss.requires_grad
