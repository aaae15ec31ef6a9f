from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import Click, Mask
from pipelines.interaction.corrector import Corrector
from pipelines.interaction.field import Window
from pipelines.models.member import field_affine

NATIVE = np.diag([1.0, 2.0, 8.0, 1.0])
FIELD = np.diag([1.5, 1.5, 8.0, 1.0])
CLICK = Click(90, 30, 0, AcdcLabel.LV)


def test_a_click_keeps_its_place_to_a_fraction_of_a_pixel() -> None:
    window = Window.around(CLICK, 64, FIELD, NATIVE, (192, 192))
    row, column = window.position(CLICK)[0].tolist()
    assert row + window.corner[0] == pytest.approx(90 / 1.5)
    assert column + window.corner[1] == pytest.approx(30 * 2 / 1.5)


@pytest.mark.parametrize(("place", "corner"), [(0, 0), (60, 8), (287, 128)])
def test_the_window_stays_in_the_field(place: int, corner: int) -> None:
    click = replace(CLICK, i=place, j=0)
    assert Window.around(click, 64, FIELD, NATIVE, (192, 192)).corner == (corner, 0)


def test_masks_lie_in_the_window_where_the_image_does(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    wide = np.diag([0.8, 1.2, 1, 1])
    native = replace(volume, affine=volume.affine @ wide, spacing_mm=(1.2, 1.8, 8.0))
    cavity = replace(native, array=np.where(truth == AcdcLabel.LV, 100, 0).astype(np.float32))
    field = corrector.member.prepare(cavity)
    click = Click(36, 28, 1, AcdcLabel.LV)
    window = Window.around(click, 64, field.affine.numpy(), field_affine(native), tuple(field.shape[1:3]))
    image = field.as_tensor()[1][window.box].movedim(-1, 0)
    bright = image > (image.min() + image.max()) / 2
    found = window.to_field(truth)[:, AcdcLabel.LV] > 0
    overlap = 2 * (bright & found).sum() / (bright.sum() + found.sum())
    assert overlap > 0.97
    assert np.array_equal(window.to_field(truth).sum(dim=1).numpy(), np.ones((4, 64, 64)))


def test_beyond_the_volume_is_background() -> None:
    window = Window.around(CLICK, 64, FIELD, NATIVE, (192, 192))
    masks = window.to_field(np.full((4, 4, 2), AcdcLabel.LV, dtype=np.uint8))
    assert masks[:, AcdcLabel.BACKGROUND].min() == 1
