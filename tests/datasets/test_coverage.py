"""Tests of what an image covers in millimetres."""

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.plausibility import HEART_FRAME
from pipelines.core.volume import Volume
from pipelines.datasets.duplicates import check_coverage


def volume(shape: tuple[int, ...], spacing_mm: tuple[float, float, float], frame: np.ndarray) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = frame @ np.diag(spacing_mm)
    return Volume(np.random.default_rng(0).random(shape, np.float32), affine, spacing_mm)


BODY = np.diag([-1.0, -1.0, 1.0])


def test_an_ordinary_stack_has_no_warning() -> None:
    for frame in (BODY, HEART_FRAME):
        assert check_coverage(volume((200, 180, 10), (1.5, 1.5, 8.0), frame)) == []


@pytest.mark.parametrize("shape", [(6, 200, 10), (10, 216, 256, 30), (20, 20, 10)])
def test_what_is_too_small_for_a_heart_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="expected slices at least 50 mm wide, found"):
        check_coverage(volume(shape, (1.5, 1.5, 8.0), BODY))


def test_a_voxel_size_in_centimetres_is_reported() -> None:
    with pytest.raises(DataError, match=r"found 30 x 27 mm; the voxel size may be in centimetres: multiply"):
        check_coverage(volume((200, 180, 10), (0.15, 0.15, 0.8), BODY))


def test_a_stack_too_short_or_too_long_for_a_heart_is_reported() -> None:
    (short,) = check_coverage(volume((200, 180, 10), (1.5, 1.5, 2.0), BODY))
    assert "the 10 slices cover 20 mm, too little" in short
    (long,) = check_coverage(volume((200, 180, 300), (1.5, 1.5, 8.0), BODY))
    assert "cover 2400 mm, more than a heart: frames may be stored as slices" in long


def test_a_field_wider_than_any_scanner_is_reported() -> None:
    assert check_coverage(volume((1024, 1024, 10), (0.4, 0.4, 8.0), BODY)) == []
    (warning,) = check_coverage(volume((1024, 1024, 10), (1.5, 1.5, 8.0), BODY))
    assert "the slices are 1536 x 1536 mm wide, more than any scanner sees" in warning


def test_a_long_axis_view_is_reported() -> None:
    (warning,) = check_coverage(volume((200, 180, 1), (1.5, 1.5, 8.0), HEART_FRAME[:, [0, 2, 1]]))
    assert "this may be no short-axis stack" in warning


def test_slices_and_frames_that_are_exchanged_are_reported() -> None:
    rng = np.random.default_rng(0)
    slices = rng.normal(size=(60, 60, 9, 1)).astype(np.float32)
    beat = np.cos(np.linspace(0, 2 * np.pi, 13)).astype(np.float32)
    cine = slices * (1 + 0.1 * beat)
    right = volume(cine.shape, (1.5, 1.5, 8.0), BODY)
    assert check_coverage(Volume(cine, right.affine, right.spacing_mm)) == []
    (warning,) = check_coverage(Volume(cine.transpose(0, 1, 3, 2), right.affine, right.spacing_mm))
    assert "slices and frames may be exchanged" in warning


def test_frames_of_one_slice_that_are_stored_as_slices_are_reported() -> None:
    plane = np.random.default_rng(0).normal(size=(60, 60, 1)).astype(np.float32)
    beat = np.cos(np.linspace(0, 2 * np.pi, 13)).astype(np.float32)
    place = volume((60, 60, 13), (1.5, 1.5, 8.0), BODY)
    (warning,) = check_coverage(Volume(plane * (1 + 0.2 * beat), place.affine, place.spacing_mm))
    assert "frames may be stored as slices" in warning


def test_slices_without_a_picture_are_reported_with_their_frames() -> None:
    still = volume((60, 60, 10), (1.5, 1.5, 8.0), BODY)
    still.array[:, :, [4, 9]] = 0
    (warning,) = check_coverage(still)
    assert warning == "slices 5, 10 without a picture (one value alone): volumes may be too small"
    cine = volume((60, 60, 6, 5), (1.5, 1.5, 8.0), BODY)
    cine.array[:, :, 3:, 2] = 7
    (warning,) = check_coverage(cine)
    assert warning.startswith("slices 4, 5, 6 without a picture (one value alone) in frame 3: volumes may")


def test_slices_that_are_stored_twice_are_reported() -> None:
    once = volume((60, 60, 6), (1.5, 1.5, 8.0), BODY)
    twice = np.ascontiguousarray(once.array[:, :, [0, 1, 1, 2, 3, 4, 5, 5]])
    (warning,) = check_coverage(Volume(twice, once.affine, once.spacing_mm))
    assert warning.startswith("slices 3, 8 with the voxels of the slice before: stored twice, volumes may be")
