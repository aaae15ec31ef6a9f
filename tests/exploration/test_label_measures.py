import numpy as np
import pytest
from small_hearts import GREY, heart_image, heart_label

from pipelines.core.labels import UNLABELLED, AcdcLabel
from pipelines.exploration.label_measures import check_label, measure_label

SPACING = (2.0, 2.0, 10.0)


def test_volumes_and_voxels_are_those_of_the_label() -> None:
    label = heart_label()
    measures = measure_label(heart_image(label, 0), label, SPACING, 5.0)
    lv = int((label == AcdcLabel.LV).sum())
    assert measures.voxels[AcdcLabel.LV] == lv
    assert measures.volume_ml[AcdcLabel.LV] == pytest.approx(lv * 0.04)
    assert sum(measures.voxels.values()) == label.size


def test_snr_and_cnr_are_contrasts_over_the_noise() -> None:
    label = heart_label()
    measures = measure_label(heart_image(label, 0), label, SPACING, 5.0)
    assert measures.snr_blood == pytest.approx(GREY[AcdcLabel.LV] / 5, rel=0.02)
    assert measures.cnr == pytest.approx((GREY[AcdcLabel.LV] - GREY[AcdcLabel.MYO]) / 5, rel=0.02)
    assert measures.snr_pool == pytest.approx(GREY[AcdcLabel.LV] / 5, rel=0.1)


def test_what_cannot_be_told_is_none() -> None:
    empty = np.zeros((48, 40, 4), np.uint8)
    measures = measure_label(heart_image(empty, 0), empty, SPACING, 5.0)
    assert (measures.snr_blood, measures.snr_pool, measures.cnr) == (None, None, None)
    label = heart_label()
    assert measure_label(heart_image(label, 0), label, SPACING, None).cnr is None


def test_a_sound_label_has_no_finding() -> None:
    assert check_label(heart_label(), SPACING) == []


def test_holes_are_found_in_their_slices() -> None:
    label = heart_label()
    label[28, 20, 1] = 0
    label[28, 19:21, 3] = 0
    label[9, 20, 2] = 0
    assert check_label(label, SPACING) == [
        "LV and myocardium enclose background (3 px) in slices 2, 4",
        "RV encloses background (1 px) in slice 3",
    ]


def test_small_islands_are_found_and_large_ones_only_once() -> None:
    label = heart_label()
    label[44:46, 36, 0] = AcdcLabel.LV
    assert check_label(label, SPACING) == ["LV has small islands (2 voxels in 1)"]
    label[42:47, 34:38, 0] = AcdcLabel.LV
    assert [text for text in check_label(label, SPACING) if "LV" in text and "islands" in text] == []
    assert "LV is in 2 separate pieces" in check_label(label, SPACING)


def test_what_plausibility_says_of_masks_is_said_of_labels() -> None:
    label = heart_label()
    label[label == AcdcLabel.RV] = 0
    assert "RV is empty" in check_label(label, SPACING)
    assert check_label(label, SPACING, structures=(AcdcLabel.MYO, AcdcLabel.LV)) == []


def test_voxels_that_nobody_labelled_count_as_background() -> None:
    label = heart_label()
    marked = label.copy()
    marked[:4] = UNLABELLED
    assert measure_label(heart_image(label, 0), marked, SPACING, 5.0).findings == []
