import numpy as np
import pytest
import torch

from pipelines.core.labels import AcdcLabel
from pipelines.models.certainty import expected_dice


def test_dice_is_that_of_the_mask_with_the_probabilities_as_truth() -> None:
    probabilities = torch.zeros(4, 2, 2, 1)
    probabilities[AcdcLabel.LV] = torch.tensor([[0.9, 0.7], [0.4, 0.0]])[..., None]
    mask = np.zeros((2, 2, 1), np.uint8)
    mask[0, :, 0] = AcdcLabel.LV
    found = expected_dice(probabilities, mask)
    assert found[AcdcLabel.LV] == pytest.approx(2 * (0.9 + 0.7) / (2 + 2.0))
    assert found[AcdcLabel.RV] == 0.0


def test_a_network_that_is_sure_promises_one() -> None:
    mask = np.full((3, 3, 2), AcdcLabel.MYO, np.uint8)
    probabilities = torch.zeros(4, 3, 3, 2)
    probabilities[AcdcLabel.MYO] = 1
    assert expected_dice(probabilities, mask)[AcdcLabel.MYO] == 1.0
