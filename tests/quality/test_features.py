import math

import numpy as np
import pytest

from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.core.volume import Volume
from pipelines.models.predictor import Prediction
from pipelines.quality.features import agreement, neighbour_overlap, partner_features, quick_features

SPACING = (1.0, 1.0, 10.0)


def image(mask: np.ndarray) -> Volume:
    return Volume(mask.astype(np.float32), np.diag([*SPACING, 1.0]), SPACING)


def test_neighbours_overlap_by_the_dice_of_slices_that_both_have_the_structure() -> None:
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[0:4, 0:4, 0] = AcdcLabel.LV
    mask[0:4, 0:4, 1] = AcdcLabel.LV
    mask[0:4, 0:2, 2] = AcdcLabel.LV
    assert neighbour_overlap(mask, AcdcLabel.LV) == pytest.approx((1 + 2 * 8 / 24) / 2)
    assert neighbour_overlap(mask[..., :1], AcdcLabel.LV) == 0.0


def test_two_masks_without_the_structure_do_not_agree_on_a_heart() -> None:
    empty = np.zeros((4, 4, 2), np.uint8)
    assert agreement(empty, empty, AcdcLabel.LV) == 0.0
    assert set(partner_features(empty, empty).values()) == {0.0}


def test_partner_is_the_dice_of_the_two_masks() -> None:
    first, second = np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)
    first[:2], second[1:2] = AcdcLabel.RV, AcdcLabel.RV
    assert partner_features(first, second)["partner_rv"] == pytest.approx(2 * 4 / 12)


def test_quick_features_of_a_mask_tell_size_certainty_and_warnings() -> None:
    mask = np.zeros((40, 40, 6), np.uint8)
    mask[10:20, 10:20, 1:5] = AcdcLabel.LV  # 100 mm2 in 4 slices of 10 mm: 4 mL, without a ring
    certainty = dict.fromkeys(FOREGROUND, 0.8)
    found = quick_features(Prediction(mask, {}, certainty), image(mask))
    assert found["log_ml_lv"] == pytest.approx(math.log(4.0))
    assert found["log_ml_rv"] == pytest.approx(math.log(0.1))
    assert found["certainty_myo"] == 0.8
    assert found["neighbours_lv"] == 1.0
    # RV and myocardium are empty, and 4 mL are too few.
    assert found["warnings_lv"] == found["warnings_rv"] == 3.0


def test_slices_on_another_axis_give_the_same_features() -> None:
    mask = np.zeros((40, 40, 6), np.uint8)
    mask[10:20, 10:20, 1:5] = AcdcLabel.LV
    certainty = dict.fromkeys(FOREGROUND, 0.8)
    turned = np.moveaxis(mask, 2, 0)
    volume = Volume(turned.astype(np.float32), np.diag([10.0, 1.0, 1.0, 1.0]), (10.0, 1.0, 1.0))
    assert quick_features(Prediction(turned, {}, certainty), volume) == quick_features(
        Prediction(mask, {}, certainty), image(mask)
    )
