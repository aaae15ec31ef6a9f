import pytest
import torch

from pipelines.training.checks.recipe import constant_mask_dice, stops_falling


def test_a_mask_that_ignores_the_image_is_perfect_where_all_labels_are_alike() -> None:
    label = torch.tensor([[[1, 1, 2, 3]]])
    assert constant_mask_dice(label.repeat(3, 1, 1), label) == 1.0


def test_dice_of_the_best_mask_is_what_a_hand_computes() -> None:
    # Structure 1 lies at the first pixel in both known slices and at the second in one: masks of one pixel
    # have Dice 2*2/(2+3) = 0.8, of two 2*3/(4+3) = 6/7, so the mask has both.
    # Unseen there is one of them: 2/3.
    known = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]]])
    unseen = torch.tensor([[[1, 0, 0, 0]]])
    assert constant_mask_dice(known, unseen) == pytest.approx(2 / 3)


def test_a_mask_elsewhere_finds_nothing() -> None:
    assert constant_mask_dice(torch.tensor([[[2, 0]]]), torch.tensor([[[0, 2]]])) == 0.0


@pytest.mark.parametrize(
    ("losses", "stalled"),
    [
        ([3.0, 2.0, 1.0], False),
        ([4.0, 4.0, 1.0, 1.0, 0.99, 0.99], True),
        ([4.0, 4.0, 1.0, 1.0, 0.97, 0.97], False),
        ([4.0, 4.0, 1.0, 1.0, 1.5, 1.5], True),
        ([1.0, 1.0], False),
    ],
)
def test_a_fall_of_less_than_a_fiftieth_is_none(losses: list[float], stalled: bool) -> None:
    assert stops_falling(losses) is stalled
