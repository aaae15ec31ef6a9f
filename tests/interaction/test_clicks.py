from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import (
    REACH_MM,
    UNMARKED,
    Click,
    Mask,
    largest_error,
    largest_slice_error,
    refine_by_scribbles,
    rim_scribbles,
)


def test_the_click_is_in_the_middle_of_the_largest_region_that_lacks_a_label() -> None:
    truth = np.zeros((20, 20, 3), dtype=np.uint8)
    truth[5:12, 5:12, 1] = AcdcLabel.LV
    truth[15:18, 15:18, 2] = AcdcLabel.RV
    assert largest_error(np.zeros_like(truth), truth) == Click(8, 8, 1, AcdcLabel.LV)


def test_what_is_there_and_should_not_be_is_clicked_as_background() -> None:
    present = np.zeros((20, 20, 2), dtype=np.uint8)
    present[2:7, 3:8, 0] = AcdcLabel.RV
    assert largest_error(present, np.zeros_like(present)) == Click(4, 5, 0, AcdcLabel.BACKGROUND)


def test_two_structures_that_lack_are_two_regions_even_where_they_touch() -> None:
    truth = np.zeros((12, 12), dtype=np.uint8)
    truth[2:6, 2:10] = AcdcLabel.MYO
    truth[6:9, 2:10] = AcdcLabel.LV
    found = largest_slice_error(np.zeros_like(truth), truth)
    assert found is not None
    assert (found.size, found.label) == (32, AcdcLabel.MYO)
    assert np.array_equal(found.region, truth == AcdcLabel.MYO)


def test_the_middle_of_a_region_lies_in_it_even_if_it_is_a_ring() -> None:
    rows, columns = np.ogrid[:40, :40]
    radius = np.hypot(rows - 20, columns - 20)
    truth = ((radius > 10) & (radius < 15)).astype(np.uint8) * AcdcLabel.MYO
    found = largest_slice_error(np.zeros_like(truth), truth)
    assert found is not None
    assert truth[found.center] == AcdcLabel.MYO


def test_a_perfect_mask_gets_no_click() -> None:
    mask = np.ones((4, 4, 2), dtype=np.uint8)
    assert largest_error(mask, mask.copy()) is None
    assert largest_slice_error(mask[:, :, 0], mask[:, :, 0]) is None


def dice(mask: Mask, truth: Mask, label: AcdcLabel) -> float:
    found, true = mask == label, truth == label
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def test_strokes_along_the_rims_give_the_heart_from_an_empty_mask(heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    strokes = rim_scribbles(truth, volume.spacing_mm)
    assert (strokes != UNMARKED).mean() < 0.2
    found = refine_by_scribbles(volume, np.zeros_like(truth), strokes)
    assert min(dice(found, truth, label) for label in (AcdcLabel.RV, AcdcLabel.MYO)) > 0.9
    assert dice(found, truth, AcdcLabel.LV) > 0.95


def test_strokes_stay_within_their_structure_and_in_slices_that_have_one(heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    emptied = truth.copy()
    emptied[:, :, 3] = 0
    strokes = rim_scribbles(emptied, volume.spacing_mm)
    marked = strokes != UNMARKED
    assert np.array_equal(strokes[marked], emptied[marked])
    assert not marked[:, :, 3].any()
    assert {int(label) for label in np.unique(strokes[:, :, 0])} == {0, 1, 2, 3, UNMARKED}


def test_a_thin_structure_gets_a_stroke_too() -> None:
    truth = np.zeros((20, 20, 1), dtype=np.uint8)
    truth[5, 3:17, 0] = AcdcLabel.MYO
    assert (rim_scribbles(truth, (1.5, 1.5, 8.0)) == AcdcLabel.MYO).any()


def test_a_stroke_takes_effect_in_its_slice_and_within_its_reach_only(heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    strokes = np.full(truth.shape, UNMARKED, dtype=np.uint8)
    strokes[36, 40:44, 1] = AcdcLabel.RV
    strokes[36, 24:32, 1] = AcdcLabel.LV
    present = np.where(truth == AcdcLabel.RV, 0, truth).astype(np.uint8)
    found = refine_by_scribbles(volume, present, strokes)
    marked = strokes != UNMARKED
    assert np.array_equal(found[marked], strokes[marked])
    changed = found != present
    assert not changed[:, :, [0, 2, 3]].any()
    rows, columns = np.nonzero(changed[:, :, 1])
    stroke = np.argwhere(marked[:, :, 1])
    distance = 1.5 * np.hypot(rows[:, None] - stroke[:, 0], columns[:, None] - stroke[:, 1]).min(axis=1)
    assert distance.max() <= REACH_MM


def test_the_order_of_axes_makes_no_difference(heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    strokes = rim_scribbles(truth, volume.spacing_mm)
    upright = refine_by_scribbles(volume, np.zeros_like(truth), strokes)
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, [2, 0, 1]]
    moved = Volume(np.moveaxis(volume.array, 2, 0), affine, (8.0, 1.5, 1.5))
    found = refine_by_scribbles(moved, np.moveaxis(np.zeros_like(truth), 2, 0), np.moveaxis(strokes, 2, 0))
    assert np.array_equal(np.moveaxis(found, 0, 2), upright)


def test_strokes_of_one_kind_only_fill_what_they_reach(heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    strokes = np.full(truth.shape, UNMARKED, dtype=np.uint8)
    strokes[30, 30, 1] = AcdcLabel.BACKGROUND
    found = refine_by_scribbles(volume, np.zeros_like(truth), strokes)
    assert not found.any()


def test_what_is_no_stroke_or_on_another_grid_is_refused(heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    with pytest.raises(DataError, match=r"expected strokes of 0 to 3 and 255 elsewhere, found \[7\]"):
        refine_by_scribbles(volume, truth, np.full_like(truth, 7))
    with pytest.raises(DataError, match="expected scribbles on the volume's grid"):
        refine_by_scribbles(volume, truth, truth[1:])
    with pytest.raises(DataError, match="expected mask on the volume's grid"):
        refine_by_scribbles(replace(volume, array=volume.array[1:]), truth, truth[1:])
