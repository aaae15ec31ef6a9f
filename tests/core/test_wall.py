"""Tests of the figures of the wall, on hearts whose contours are known."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.plausibility import HEART_FRAME
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.core.wall import Wall, find_rings, measure_strain, measure_wall
from pipelines.datasets.phantom.heart import ABSENT_MM, draw_heart, heart_surfaces
from pipelines.datasets.phantom.image import draw_scan, image_frame

SPACING = (1.25, 1.25, 8.0)
SLICES = 9
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = HEART_FRAME * SPACING
UPRIGHT = np.diag([-1.25, -1.25, 8.0, 1.0])
ANTERIOR, INFERIOR = (1, 7, 13), (4, 10, 15)

Radius = Callable[[np.ndarray], np.ndarray | float]


def a_heart(
    endo: Radius,
    epi: Radius,
    *,
    septum_deg: float = 170.0,
    affine: np.ndarray = OBLIQUE,
    shift_mm: tuple[float, float] = (0.0, 0.0),
) -> Volume:
    """A stack, base first, whose contours are functions of the angle from the middle of the septum.

    The angle grows from the septum over the anterior wall. To the apex both contours shrink to 0.8, with the
    wall as thick as at the base. The RV touches 120 degrees of the septum.
    """
    x, y = (np.arange(96) - 47.5) * 1.25 - shift_mm[0], (np.arange(96) - 47.5) * 1.25 - shift_mm[1]
    radius = np.hypot(x[:, None], y[None, :])
    turned = (np.arctan2(y[None, :], x[:, None]) - np.deg2rad(septum_deg)) % (2 * np.pi)
    label = np.zeros((96, 96, SLICES), np.uint8)
    for z in range(SLICES):
        less = 0.2 * np.max(endo(turned)) * z / (SLICES - 1)
        inner, outer = endo(turned) - less, epi(turned) - less
        near_septum = np.minimum(turned, 2 * np.pi - turned) < np.pi / 3
        label[(radius < outer + 15) & near_septum, z] = AcdcLabel.RV
        label[radius < outer, z] = AcdcLabel.MYO
        label[radius < inner, z] = AcdcLabel.LV
    return Volume(label, affine, SPACING)


def bump(turned: np.ndarray, at_deg: float) -> np.ndarray:
    """1 in the middle of a wall and 0 from 30 degrees beside it."""
    away = np.abs((np.rad2deg(turned) - at_deg + 180) % 360 - 180)
    return np.clip(1 - (away / 30) ** 2, 0, 1)


def walls(ed: Volume, es: Volume | None = None) -> Wall:
    rings = find_rings(ed)
    return measure_wall(rings, find_rings(es) if es else rings)


def largest(segments: tuple[float | None, ...], count: int) -> set[int]:
    """Numbers of the segments with the largest values."""
    return {int(index) + 1 for index in np.argsort(np.array(segments, dtype=float))[-count:]}


def test_an_even_wall_is_as_thick_in_all_segments_as_it_was_drawn() -> None:
    found = walls(a_heart(lambda _: 24.0, lambda _: 34.0))
    assert found.reason == ""
    assert found.ed_mm == pytest.approx([10.0] * 16, abs=0.25)
    assert (found.mean_ed_mm, found.max_ed_mm) == pytest.approx((10.0, 10.0), abs=0.25)
    assert found.thickening_percent == pytest.approx([0.0] * 16, abs=1e-6)
    assert found.motion_mm == pytest.approx([0.0] * 16, abs=1e-6)


@pytest.mark.parametrize("septum_deg", [95.0, 135.0, 170.0, 200.0, 250.0, 355.0])
def test_a_thick_anterior_wall_is_found_wherever_the_septum_lies(septum_deg: float) -> None:
    even = find_rings(a_heart(lambda _: 24.0, lambda _: 34.0, septum_deg=septum_deg))
    assert np.rad2deg(even.septum_rad or 0) % 360 == pytest.approx(septum_deg, abs=1)
    found = walls(a_heart(lambda _: 22.0, lambda at: 30.0 + 8 * bump(at, 90), septum_deg=septum_deg))
    assert largest(found.ed_mm, 3) == set(ANTERIOR)
    assert found.ed_mm[10] == pytest.approx(8.0, abs=0.4)


@pytest.mark.parametrize("affine", [OBLIQUE, UPRIGHT], ids=["oblique", "upright"])
def test_segments_are_the_same_in_every_storage_order(affine: np.ndarray) -> None:
    heart = a_heart(lambda _: 22.0, lambda at: 30.0 + 8 * bump(at, 90), affine=affine)
    expected = walls(heart)
    assert largest(expected.ed_mm, 3) == set(ANTERIOR)
    for axes in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        for signs in itertools.product((1, -1), repeat=3):
            found = walls(stored(heart, axes, signs))
            assert found.ed_mm == pytest.approx(expected.ed_mm), (axes, signs)


def stored(heart: Volume, axes: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same heart at the same place in space, with its voxels in another order."""
    array, affine = heart.array, heart.affine.copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    moved = affine.copy()
    moved[:3, :3] = affine[:3, :3][:, list(axes)]
    spacing = tuple(heart.spacing_mm[axis] for axis in axes)
    return replace(heart, array=array.transpose(axes), affine=moved, spacing_mm=spacing)


def test_the_anterior_wall_is_the_one_in_front_and_above() -> None:
    even, heart = (
        a_heart(lambda _: 22.0, lambda at, high=high: 30.0 + high * bump(at, 90)) for high in (0, 8)
    )
    voxels = np.argwhere((heart.array == AcdcLabel.MYO) & (even.array != AcdcLabel.MYO)).mean(axis=0)
    middle = np.argwhere(heart.array == AcdcLabel.LV).mean(axis=0)
    left, front, up = heart.affine[:3, :3] @ (voxels - middle) * (-1, 1, 1)
    assert min(left, front, up) > 0
    assert up > front
    assert largest(walls(heart).ed_mm, 3) == set(ANTERIOR)


def test_a_mirror_image_has_its_anterior_wall_on_the_other_side() -> None:
    heart = a_heart(lambda _: 22.0, lambda at: 30.0 + 8 * bump(at, 270))
    assert largest(walls(heart).ed_mm, 3) == set(INFERIOR)


def test_a_wall_that_stands_still_has_no_motion_and_no_thickening() -> None:
    ed = a_heart(lambda _: 25.0, lambda _: 34.0)
    still = a_heart(lambda at: 17.0 + 8 * (bump(at, 270) > 0), lambda _: 34.0)
    found = walls(ed, still)
    for number, (motion, thickening) in enumerate(
        zip(found.motion_mm, found.thickening_percent, strict=True), start=1
    ):
        assert motion is not None
        assert thickening is not None
        if number in (4, 10):
            assert abs(motion) < 1.5
            assert thickening < 20
        elif number in (1, 2, 6, 7, 8, 12, 13, 14):
            assert motion == pytest.approx(8.0, abs=0.5)
            assert thickening == pytest.approx(100 * 8 / 9, abs=6)


def test_a_heart_that_moves_as_a_whole_does_not_beat() -> None:
    moved = a_heart(lambda _: 24.0, lambda _: 34.0, shift_mm=(6.3, -4.1))
    found = walls(a_heart(lambda _: 24.0, lambda _: 34.0), moved)
    assert found.motion_mm == pytest.approx([0.0] * 16, abs=0.25)
    assert found.strain.endo_percent == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("inner_mm", [12.0, 16.0, 20.0])
def test_strain_of_a_known_contraction_is_off_by_less_than_one_point(inner_mm: float) -> None:
    outer_mm = np.sqrt(35.0**2 - 25.0**2 + inner_mm**2)  # the wall keeps its area
    ed = a_disc_stack(25.0, 35.0)
    found = measure_strain(find_rings(ed), find_rings(a_disc_stack(inner_mm, outer_mm)))
    middle = np.sqrt((inner_mm**2 + outer_mm**2) / (25.0**2 + 35.0**2))
    assert found.endo_percent == pytest.approx(100 * (inner_mm / 25 - 1), abs=1.0)
    assert found.epi_percent == pytest.approx(100 * (outer_mm / 35 - 1), abs=1.0)
    assert found.mid_percent == pytest.approx(100 * (middle - 1), abs=1.0)
    assert found.radial_percent == pytest.approx(10 * (outer_mm - inner_mm) - 100, abs=3.0)


def a_disc_stack(endo_mm: float, epi_mm: float) -> Volume:
    heart = a_heart(lambda _: endo_mm, lambda _: epi_mm)
    return replace(heart, array=np.repeat(heart.array[:, :, :1], SLICES, axis=2))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_strain_of_a_beating_phantom_is_off_by_less_than_two_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heart = draw_heart("NOR", rng)
    scan = draw_scan(heart, rng)
    phases = []
    for contraction in (0.0, 1.0):
        label = image_frame(scan, contraction, rng)[1].transpose(2, 1, 0)
        phases.append(find_rings(Volume(label, np.diag([*scan.spacing_mm, 1.0]), scan.spacing_mm)))
    surfaces = [heart_surfaces(heart, contraction, scan.depths_mm) for contraction in (0.0, 1.0)]
    common = sorted(phases[0].of_slice.keys() & phases[1].of_slice.keys())
    assert len(common) >= 4
    found = measure_strain(*phases)
    for name, measured in (("endo", found.endo_percent), ("epi", found.epi_percent)):
        before, after = (length_mm(getattr(one, name)[common]) for one in surfaces)
        assert measured == pytest.approx(100 * (after / before - 1), abs=2.0), name


def length_mm(radii: np.ndarray) -> float:
    """Length of contours `(D, ANGLES)` drawn around the long axis, summed."""
    assert (radii > ABSENT_MM).all()
    theta = np.deg2rad(np.arange(radii.shape[1]))
    points = np.stack([radii * np.cos(theta), radii * np.sin(theta)])
    return float(np.hypot(*(points - np.roll(points, 1, axis=2))).sum())


def test_no_segment_is_named_where_the_file_does_not_tell_how_it_lies() -> None:
    found = walls(replace(a_heart(lambda _: 24.0, lambda _: 34.0), is_oriented=False))
    assert "does not tell how the image lies" in found.reason
    assert found.ed_mm == (None,) * 16
    assert found.mean_ed_mm == pytest.approx(10.0, abs=0.25)


def test_no_segment_is_named_where_the_apex_comes_first_against_the_affine() -> None:
    heart = a_heart(lambda _: 24.0, lambda _: 34.0)
    found = walls(replace(heart, array=heart.array[:, :, ::-1]))
    assert "does not narrow from base to apex" in found.reason
    assert found.thickening_percent == (None,) * 16


def test_no_segment_is_named_without_a_right_ventricle() -> None:
    heart = a_heart(lambda _: 24.0, lambda _: 34.0)
    found = walls(replace(heart, array=np.where(heart.array == AcdcLabel.RV, 0, heart.array)))
    assert "the RV does not touch the wall" in found.reason


def test_an_open_ring_is_not_measured() -> None:
    heart = a_heart(lambda _: 24.0, lambda _: 34.0)
    open_base = heart.array.copy()
    open_base[:48, :, 0][open_base[:48, :, 0] == AcdcLabel.MYO] = 0
    assert 0 not in find_rings(replace(heart, array=open_base)).of_slice
    empty = replace(heart, array=np.zeros_like(heart.array))
    assert walls(heart, empty).reason == "no slice has a closed ring of myocardium at ES"
    assert walls(heart, empty).mean_ed_mm is None
    assert measure_strain(find_rings(heart), find_rings(empty)).endo_percent is None
