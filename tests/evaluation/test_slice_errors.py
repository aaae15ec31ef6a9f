import numpy as np
import pytest

from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Phase
from pipelines.evaluation.slice_errors import Position, measure_slices, pooled_dice, slice_positions


def heart(widths: list[int]) -> np.ndarray:
    """A stack whose slices have myocardium as wide as given, 0 for none, and the LV inside."""
    mask = np.zeros((20, 20, len(widths)), np.uint8)
    for index, width in enumerate(widths):
        mask[5 : 5 + width, 5:15, index] = AcdcLabel.MYO
        mask[6 : 5 + width, 6:14, index] = AcdcLabel.LV if width else 0
    return mask


def test_the_labelled_ventricle_is_cut_into_thirds() -> None:
    positions = slice_positions(heart([0, 10, 10, 9, 8, 5, 3, 0]))
    base, mid, apex = Position.BASE, Position.MID, Position.APEX
    assert positions == [Position.ABOVE, base, base, mid, mid, apex, apex, Position.BELOW]


def test_the_base_is_found_at_either_end() -> None:
    assert slice_positions(heart([3, 8, 10])) == [Position.APEX, Position.MID, Position.BASE]


def test_one_labelled_slice_is_mid() -> None:
    assert slice_positions(heart([0, 10, 0])) == [Position.ABOVE, Position.MID, Position.BELOW]


def test_the_right_ventricle_alone_has_no_thirds() -> None:
    mask = np.zeros((8, 8, 3), np.uint8)
    mask[2:4, 2:4] = AcdcLabel.RV
    assert set(slice_positions(mask)) == {Position.ABOVE}


def measured(mask: np.ndarray, truth: np.ndarray) -> list:
    return measure_slices(mask, truth, (1.0, 2.0, 10.0), patient="p1", group="NOR", phase=Phase.ED)


def test_missed_and_invented_slices_are_told_with_their_volume() -> None:
    truth, mask = np.zeros((2, 10, 10, 3), np.uint8)
    truth[:5, :4, 0] = mask[:5, :4, 1] = AcdcLabel.MYO
    truth[:2, :4, 2] = mask[:1, :4, 2] = AcdcLabel.MYO
    first, second, third = measured(mask, truth)
    assert [part.kind for part in (first, second, third)] == ["missed", "invented", ""]
    assert first.error_ml == pytest.approx(20 * 20 / 1000)
    assert (first.dice, third.dice) == pytest.approx((0.0, 8 / 12))
    assert pooled_dice([first, second, third]) == pytest.approx(8 / 52)


def test_structures_that_nobody_labelled_are_not_measured() -> None:
    mask = np.full((4, 4, 2), AcdcLabel.RV, np.uint8)
    found = measure_slices(
        mask,
        np.zeros_like(mask),
        (1, 1, 1),
        patient="p",
        group="",
        phase=Phase.ES,
        structures=(AcdcLabel.LV,),
    )
    assert found == []
    assert pooled_dice(found) is None


def test_masks_of_two_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match="one shape"):
        measured(np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.uint8))
