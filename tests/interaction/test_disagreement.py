import numpy as np
import pytest

from pipelines.interaction.disagreement import disagreement


def masks(*columns: list[int]) -> list[np.ndarray]:
    return [np.array(column, dtype=np.uint8).reshape(-1, 1, 1) for column in columns]


def test_masks_that_agree_do_not_disagree() -> None:
    assert disagreement(masks([0, 1, 2, 3], [0, 1, 2, 3])) == 0.0


def test_structures_that_neither_mask_has_count_as_agreement() -> None:
    assert disagreement(masks([0, 0], [0, 0])) == 0.0


def test_it_is_one_minus_the_mean_dice_of_the_structures_over_all_pairs() -> None:
    # LV: 1 of 1 and 2 voxels; RV and myocardium in none. The third mask is the first.
    first, second = [3, 0, 0], [3, 3, 0]
    pair = 1 - (1 + 1 + 2 / 3) / 3
    assert disagreement(masks(first, second)) == pytest.approx(pair)
    assert disagreement(masks(first, second, first)) == pytest.approx(2 * pair / 3)
