import numpy as np

from pipelines.core.labels import AcdcLabel
from pipelines.interaction.clicks import Click, largest_error, largest_slice_error


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
