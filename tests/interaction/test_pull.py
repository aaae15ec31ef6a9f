import numpy as np
import pytest

from pipelines.core.labels import AcdcLabel
from pipelines.interaction.pull import KEEP, MOST_PULL, PULL, PULL_A_MM, connected, fulfil, keep, pull

CLICK = (20, 20)


def distance_mm() -> np.ndarray:
    rows, columns = np.ogrid[:41, :41]
    return np.hypot(rows - CLICK[0], columns - CLICK[1]).astype(np.float32)


def scores() -> np.ndarray:
    return np.zeros((4, 41, 41), dtype=np.float32)


def disc(radius: float) -> np.ndarray:
    """A structure around the click, background beyond it."""
    return np.where(distance_mm() <= radius, AcdcLabel.RV, AcdcLabel.BACKGROUND).astype(np.uint8)


def test_a_click_in_a_wide_fault_pulls_harder_and_farther_than_one_in_a_narrow_fault() -> None:
    wide, narrow = scores(), scores()
    pull(wide, disc(9.9), AcdcLabel.BACKGROUND, distance_mm())
    pull(narrow, disc(1.5), AcdcLabel.BACKGROUND, distance_mm())
    # the nearest background is 10 mm (2 mm) away: 6 and 8 to 10, 1 and 1 to 2
    assert wide[0][CLICK] == pytest.approx(PULL + PULL_A_MM * 10, rel=1e-5)
    assert narrow[0][CLICK] == pytest.approx(PULL + PULL_A_MM * 2, rel=1e-5)
    assert wide[0, 20, 28] > 0.7 * wide[0][CLICK]
    assert narrow[0, 20, 28] < 0.01 * narrow[0][CLICK]
    assert not wide[1:].any()


def test_a_structure_pulls_less_than_background_since_it_must_not_spread() -> None:
    everywhere, nowhere = scores(), scores()
    pull(everywhere, np.full((41, 41), 1, np.uint8), AcdcLabel.BACKGROUND, distance_mm())
    pull(nowhere, np.zeros((41, 41), np.uint8), AcdcLabel.LV, distance_mm())
    assert everywhere[0][CLICK] == pytest.approx(MOST_PULL[True])
    assert nowhere[3][CLICK] == pytest.approx(MOST_PULL[False])


def test_a_click_that_is_ignored_has_its_way_where_it_lies_and_fades() -> None:
    against = scores()
    against[2] += 6
    fulfil(against, AcdcLabel.LV, distance_mm())
    labels = against.argmax(axis=0)
    assert labels[CLICK] == AcdcLabel.LV
    assert labels[20, 26] == AcdcLabel.MYO
    before = against.copy()
    fulfil(against, AcdcLabel.LV, distance_mm())
    assert np.array_equal(against, before)


def test_a_pixel_keeps_its_label_unless_another_is_clearly_better() -> None:
    present = disc(5)
    little, much = scores(), scores()
    for held, ahead in ((little, 0.5 * KEEP), (much, 2 * KEEP)):
        held[3] += ahead
        keep(held, present, KEEP)
    assert np.array_equal(little.argmax(axis=0), present)
    assert (much.argmax(axis=0) == 3).all()


def test_only_what_is_connected_with_a_region_is_left() -> None:
    changed = np.zeros((10, 10), dtype=bool)
    changed[1:3, 1:3] = changed[6:9, 6:9] = True
    with_this = np.zeros_like(changed)
    with_this[2, 2:6] = True
    found = connected(changed, with_this)
    assert found[1:3, 1:3].all()
    assert found.sum() == 4
    assert not connected(changed, np.zeros_like(changed)).any()
