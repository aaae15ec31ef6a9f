import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import Click, Mask
from pipelines.interaction.corrector import (
    AT_BORDER,
    CERTAIN,
    PER_DEPTH,
    Corrector,
    Window,
    added_by_click,
    connected,
    impose_click,
)
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.heart import field_affine

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


def stripes(*bands: tuple[int, int, AcdcLabel]) -> Mask:
    """`(41, 41)` background with bands of rows, each from and up to."""
    mask = np.zeros((41, 41), dtype=np.uint8)
    for first, end, kind in bands:
        mask[first:end] = kind
    return mask


def test_a_click_means_a_fault_twice_as_wide_as_it_is_deep() -> None:
    mask = stripes((0, 20, AcdcLabel.RV))
    # the last row of the structure is 2 mm away from the click, that is four rows of 0.5 mm
    added = added_by_click(mask, Click(23, 5, 0, AcdcLabel.RV), (0.5, 3.0))
    near, far = PER_DEPTH
    assert added[[19, 23, 27], 30].tolist() == [AT_BORDER, AT_BORDER - near, AT_BORDER - near - far]
    assert added[23, 5] > 0 > added[27, 5]
    assert (added == added[:, :1]).all()


def test_the_size_of_a_structure_that_a_slice_lacks_is_left_to_the_network() -> None:
    assert not added_by_click(stripes(), Click(20, 20, 0, AcdcLabel.LV), (1.5, 1.5)).any()


def island(size: int) -> Mask:
    mask = stripes((0, 8, AcdcLabel.RV))
    mask[20 : 20 + size, 20 : 20 + size] = AcdcLabel.RV
    return mask


def test_a_click_in_the_middle_of_an_island_means_all_of_it() -> None:
    mask = island(9)
    added = added_by_click(mask, Click(24, 24, 0, AcdcLabel.BACKGROUND), (1.0, 1.0))
    assert (added[20:29, 20:29] == CERTAIN).all()
    assert (added == CERTAIN).sum() == 81
    beside = added_by_click(mask, Click(21, 21, 0, AcdcLabel.BACKGROUND), (1.0, 1.0))
    assert not (beside == CERTAIN).any()


def test_a_cavity_within_its_wall_is_no_island() -> None:
    mask = stripes((5, 35, AcdcLabel.MYO))
    mask[16:25, 16:25] = AcdcLabel.LV
    assert not (added_by_click(mask, Click(20, 20, 0, AcdcLabel.MYO), (1.0, 1.0)) == CERTAIN).any()


def test_a_click_that_is_ignored_has_its_way_where_it_lies_and_fades() -> None:
    rows, columns = np.ogrid[:41, :41]
    distance_mm = np.hypot(rows - 20, columns - 20)
    ahead = np.full((41, 41), -6, dtype=np.float32)
    impose_click(ahead, distance_mm)
    assert ahead[20, 20] > 0 > ahead[20, 26]
    before = ahead.copy()
    impose_click(ahead, distance_mm)
    assert np.array_equal(ahead, before)


def test_only_what_is_connected_with_a_region_is_left() -> None:
    changed = np.zeros((10, 10), dtype=bool)
    changed[1:3, 1:3] = changed[6:9, 6:9] = True
    with_this = np.zeros_like(changed)
    with_this[2, 2:6] = True
    found = connected(changed, with_this)
    assert found[1:3, 1:3].all()
    assert found.sum() == 4
    assert not connected(changed, np.zeros_like(changed)).any()


AXIS_ORDERS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
CLICKS = (Click(36, 38, 1, AcdcLabel.RV), Click(34, 20, 2, AcdcLabel.BACKGROUND))


def turned(volume: Volume, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same points in space with axes in another order and running the other way."""
    array, affine = volume.array.transpose(order), volume.affine.copy()
    affine[:, :3] = volume.affine[:, order]
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    spacing = tuple(volume.spacing_mm[axis] for axis in order)
    return Volume(array, affine, (spacing[0], spacing[1], spacing[2]))


def turned_click(
    click: Click, shape: tuple[int, ...], order: tuple[int, ...], signs: tuple[int, ...]
) -> Click:
    places = [click.index[axis] if sign > 0 else shape[axis] - 1 - click.index[axis]
              for axis, sign in zip(order, signs, strict=True)]  # fmt: skip
    return Click(*places, click.label)


def test_a_clicked_voxel_has_its_label_in_the_end_and_of_two_clicks_on_it_the_later_holds(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    clicks = [*CLICKS, replace(CLICKS[0], label=AcdcLabel.MYO)]
    found = corrector.open(volume).correct(truth, clicks)
    assert found[36, 38, 1] == AcdcLabel.MYO
    assert found[34, 20, 2] == AcdcLabel.BACKGROUND


@pytest.mark.parametrize(("order", "signs"), AXIS_ORDERS)
def test_the_click_lands_on_its_voxel_and_the_mask_stays_on_its_grid_in_every_order_of_axes(
    order: tuple[int, ...],
    signs: tuple[int, ...],
    corrector: Corrector,
    heart: tuple[Volume, Mask],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, truth = heart
    monkeypatch.setattr("pipelines.interaction.corrector.REACH_MM", 9.0)
    monkeypatch.setattr("pipelines.interaction.corrector.NEIGHBOUR_REACH_MM", 6.0)
    image, mask = (turned(replace(volume, array=array), order, signs) for array in (volume.array, truth))
    clicks = [turned_click(click, truth.shape, order, signs) for click in CLICKS]
    found = corrector.open(image).correct(mask.array, clicks)
    assert [found[click.index] for click in clicks] == [click.label for click in clicks]
    flipped = np.flip(found, [axis for axis, sign in enumerate(signs) if sign < 0])
    changed = flipped.transpose(np.argsort(order)) != truth
    assert changed.any()
    rows, columns, slices = np.nonzero(changed)
    distance_mm = np.min(
        [
            1.5 * np.hypot(rows - click.i, columns - click.j) + 1000 * (abs(slices - click.k) > 1)
            for click in CLICKS
        ],
        axis=0,
    )
    assert distance_mm.max() <= 9.0


def test_an_oblique_volume_gives_what_the_same_voxels_give_upright(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    angle = np.deg2rad(25)
    rotation = np.eye(4)
    rotation[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    oblique = replace(volume, affine=rotation @ volume.affine)
    upright = corrector.open(volume).correct(truth, CLICKS)
    assert (corrector.open(oblique).correct(truth, CLICKS) != upright).mean() < 0.001


def test_nothing_changes_beyond_the_reach_of_a_click(
    corrector: Corrector, heart: tuple[Volume, Mask], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, truth = heart
    monkeypatch.setattr("pipelines.interaction.corrector.REACH_MM", 9.0)
    monkeypatch.setattr("pipelines.interaction.corrector.NEIGHBOUR_REACH_MM", 6.0)
    click = Click(36, 40, 1, AcdcLabel.LV)
    changed = corrector.open(volume).correct(truth, [click]) != truth
    distance_mm = 1.5 * np.hypot(*np.ogrid[-36:36, -40:24])
    assert changed[:, :, 1].any()
    assert distance_mm[changed[:, :, 1]].max() <= 9.0
    assert all(distance_mm[changed[:, :, z]].max(initial=0) <= 6.0 for z in (0, 2))
    assert not changed[:, :, 3].any()


class Certain:
    """Stands for a network that is sure of one label in a square of its window, of background elsewhere."""

    def __init__(self, corrector: Corrector, label: AcdcLabel, half_px: int) -> None:
        self.prepare = corrector.member.prepare
        self.label, self.half_px = label, half_px

    def logits(self, slices: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(slices), 4, *slices.shape[2:])
        found[:, AcdcLabel.BACKGROUND] = 8
        square = slice(32 - self.half_px, 32 + self.half_px)
        found[:, self.label, square, square] = 16
        return found


def test_a_structure_new_to_a_slice_is_as_large_as_the_network_finds_it(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    sure = Corrector(Certain(corrector, AcdcLabel.LV, half_px=3))  # type: ignore[arg-type]
    found = sure.open(volume).correct(np.zeros_like(truth), [Click(36, 28, 3, AcdcLabel.LV)], one_slice=True)
    assert 25 <= (found == AcdcLabel.LV).sum() <= 49


def test_a_later_click_keeps_what_an_earlier_one_has_settled(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    nothing = Corrector(Certain(corrector, AcdcLabel.BACKGROUND, half_px=32))  # type: ignore[arg-type]
    # Two clicks in the RV of the first slice; all of it is nearer to the one or to the other.
    settled, removed = Click(36, 52, 0, AcdcLabel.RV), Click(30, 46, 0, AcdcLabel.BACKGROUND)
    found = nothing.open(volume).correct(truth, [removed], settled=[settled], one_slice=True)[:, :, 0]
    before = truth[:, :, 0] == AcdcLabel.RV
    rows, columns = np.nonzero(before & (found != AcdcLabel.RV))
    assert len(rows)
    to_removed = np.hypot(rows - removed.i, columns - removed.j)
    assert (to_removed < np.hypot(rows - settled.i, columns - settled.j)).all()
    alone = nothing.open(volume).correct(truth, [removed], one_slice=True)[:, :, 0]
    assert ((alone != AcdcLabel.RV) & before).sum() > len(rows)


def test_a_click_takes_an_island_away_at_once_whatever_the_network_finds(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    sure = Corrector(Certain(corrector, AcdcLabel.RV, half_px=32))  # type: ignore[arg-type]
    mask = truth.copy()
    mask[:, :, 0] = 0
    mask[26:47, 35:54, 0] = AcdcLabel.RV
    found = sure.open(volume).correct(mask, [Click(36, 44, 0, AcdcLabel.BACKGROUND)], one_slice=True)
    assert not found[:, :, 0].any()
    assert np.array_equal(found[:, :, 1:], mask[:, :, 1:])


def test_a_click_changes_nothing_but_to_its_own_label(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    found = corrector.open(volume).correct(truth, CLICKS[:1])
    changed = found != truth
    assert changed.any()
    assert (found[changed] == CLICKS[0].label).all()


def test_a_click_on_what_is_right_changes_nothing(corrector: Corrector, heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    assert np.array_equal(corrector.open(volume).correct(truth, [Click(36, 28, 1, AcdcLabel.LV)]), truth)


def test_one_slice_mode_changes_the_slice_of_the_click_only(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    changed = corrector.open(volume).correct(truth, [CLICKS[0]], one_slice=True) != truth
    assert changed[:, :, 1].any()
    assert not changed[:, :, [0, 2, 3]].any()


def test_click_by_click_gives_the_same_as_all_at_once(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    at_once = corrector.open(volume).correct(truth, CLICKS)
    opened = corrector.open(volume)
    first = opened.correct(truth, CLICKS[:1])
    assert np.array_equal(opened.correct(first, CLICKS[1:], settled=CLICKS[:1]), at_once)


def test_no_click_changes_nothing_and_the_given_mask_is_never_written_to(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    before = truth.copy()
    assert np.array_equal(corrector.open(volume).correct(truth, []), truth)
    corrector.open(volume).correct(truth, CLICKS)
    assert np.array_equal(truth, before)


def test_a_click_in_the_corner_of_a_volume_wider_than_the_field_is_honoured(corrector: Corrector) -> None:
    array = np.random.default_rng(0).normal(100, 20, (260, 260, 2)).astype(np.float32)
    volume = Volume(array, np.diag([1.5, 1.5, 8.0, 1.0]), (1.5, 1.5, 8.0))
    mask = np.zeros(array.shape, dtype=np.uint8)
    found = corrector.open(volume).correct(mask, [Click(0, 259, 1, AcdcLabel.LV)])
    assert found[0, 259, 1] == AcdcLabel.LV


def test_what_does_not_fit_the_volume_is_refused(corrector: Corrector, heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    with pytest.raises(DataError, match=r"expected a mask on the volume's grid \(72, 64, 4\)"):
        corrector.open(volume).correct(truth[:-1], CLICKS)
    for click in (Click(72, 0, 0, AcdcLabel.LV), Click(0, 0, -1, AcdcLabel.LV)):
        with pytest.raises(DataError, match="expected a click within"):
            corrector.open(volume).correct(truth, [click])
    cine = replace(volume, array=np.stack([volume.array] * 2, axis=-1))
    with pytest.raises(DataError, match="give the frames one by one"):
        corrector.open(cine)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose the network they fit"):
        Corrector.load(weights=ACDC_BUNDLE / "models" / "unet" / "model.pt")
