"""Tests of the order in which stacks are given to networks."""

import itertools

import numpy as np
import pytest
import torch

from pipelines.core.plausibility import BODY_FRAME, HEART_FRAME, stack_order
from pipelines.core.volume import Volume, slices_last

ORDERS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
ACDC = np.diag([-1.5, -1.25, 10.0, 1.0])


def stored(volume: Volume, axes: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same voxels at the same places, with the axes of the file in another order and direction."""
    array, affine = volume.array.transpose(axes), volume.affine.copy()
    affine[:, :3] = volume.affine[:, axes]
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    first, second, third = (volume.spacing_mm[axis] for axis in axes)
    return Volume(array, affine, (first, second, third))


def stack(affine: np.ndarray) -> Volume:
    dx, dy, dz = np.linalg.norm(affine[:3, :3], axis=0)
    array = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    return Volume(array, affine, (float(dx), float(dy), float(dz)))


def along(frame: np.ndarray, spacing_mm: tuple[float, float, float], degrees: float = 0.0) -> np.ndarray:
    turn = np.deg2rad(degrees)
    about = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about @ frame @ np.diag(spacing_mm)
    affine[:3, 3] = (3, -4, 5)
    return affine


def test_a_stack_of_acdc_stays_as_it_is() -> None:
    volume = stack(ACDC)
    found, _ = slices_last(volume)
    assert np.array_equal(found.array, volume.array)
    assert np.array_equal(found.affine, ACDC)


@pytest.mark.parametrize(
    "affine",
    [
        ACDC,
        np.diag([-1.5, -1.5, 1.5, 1.0]),
        along(HEART_FRAME, (1.5, 1.25, 10.0)),
        along(HEART_FRAME, (1.5, 1.5, 1.5), 20.0),
        along(BODY_FRAME, (1.5, 1.25, 10.0), 45.0),
    ],
    ids=["ACDC", "cubic voxels", "oblique", "oblique, cubic voxels", "turned by 45 degrees"],
)
@pytest.mark.parametrize(("axes", "signs"), ORDERS)
def test_all_48_orders_of_storage_give_the_same_stack(
    affine: np.ndarray, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    volume = stack(affine)
    expected, _ = slices_last(volume)
    file = stored(volume, axes, signs)
    found, undo = slices_last(file)
    assert np.array_equal(found.array, expected.array)
    assert np.allclose(found.affine, expected.affine)
    assert found.spacing_mm == expected.spacing_mm
    assert np.array_equal(undo(found.array), file.array)


@pytest.mark.parametrize("degrees", [-25.0, 0.0, 25.0])
def test_an_oblique_stack_has_the_base_the_rv_and_the_anterior_wall_first(degrees: float) -> None:
    """A heart that lies in the body as hearts do, in a stack whose axes run as a scanner's may."""
    affine = along(HEART_FRAME[:, [1, 0, 2]] * (-1, 1, -1), (1.4, 1.4, 9.0), degrees)
    order = stack_order(affine, (1.4, 1.4, 9.0))
    found = order.affine(affine, (4, 5, 6))[:3, :3]
    apex, septum_to_lateral, anterior_to_inferior = (-1, 1, -1), (-1, -1, 0), (1, -1, -2)
    assert found[:, 2] @ apex > 0
    assert found[:, 0] @ septum_to_lateral > 0
    assert found[:, 1] @ anterior_to_inferior > 0


def test_directions_of_a_heart_are_square_to_each_other_and_mirrored_as_in_acdc() -> None:
    assert np.allclose(HEART_FRAME.T @ HEART_FRAME, np.eye(3))
    assert np.linalg.det(HEART_FRAME) == pytest.approx(-1)


def test_an_index_goes_the_way_of_its_voxel() -> None:
    volume = stored(stack(ACDC), (2, 0, 1), (1, -1, -1))
    order = stack_order(volume.affine, volume.spacing_mm)
    moved = order.to_stack(volume.array)
    for index in np.ndindex(*volume.array.shape):
        assert moved[order.index(index, volume.array.shape)] == volume.array[index]


def test_without_an_orientation_the_stored_order_is_kept_but_for_thick_slices_last() -> None:
    order = stack_order(np.diag([9.0, 1.5, 1.5, 1.0]), (9.0, 1.5, 1.5), is_oriented=False)
    assert order.axes == (1, 2, 0)
    assert order.reversed == ()


def test_a_single_slice_that_runs_backwards_keeps_steps_that_pytorch_takes() -> None:
    affine = np.diag([-1.5, -1.5, -8.0, 1.0])
    order = stack_order(affine, (1.5, 1.5, 8.0))
    assert 2 in order.reversed
    stack = order.to_stack(np.arange(20.0).reshape(4, 5, 1))
    assert torch.from_numpy(np.ascontiguousarray(stack)).shape == (4, 5, 1)
    assert np.array_equal(order.to_file(stack)[..., 0], np.arange(20.0).reshape(4, 5))
