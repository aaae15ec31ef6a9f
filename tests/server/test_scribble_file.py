"""Scribbles in a label map of all segments."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import UNMARKED
from pipelines.server.scribble_file import labels_beside, read_sent_scribbles

from .conftest import write_nifti

SPACING = (2.0, 2.0, 8.0)
AS_SLICER = [
    (name, number)
    for number, name in enumerate(
        ("rv", "myo", "lv", "background", "background_scribbles", "foreground_scribbles"), start=1
    )
]


@pytest.fixture
def image() -> Volume:
    return Volume(np.zeros((9, 5, 2), dtype=np.float32), np.diag([*SPACING, 1.0]), SPACING)


def row(*values: int) -> np.ndarray:
    """`(9, 5, 2)` with these values along the first axis in the middle of slice 0."""
    array = np.zeros((9, 5, 2), dtype=np.uint8)
    array[:, :, 0] = np.array(values, dtype=np.uint8)[:, None]
    return array


def test_background_strokes_are_what_lies_beside_them_and_is_not_the_structure(
    image: Volume, tmp_path: Path
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(3, 6, 3, 3, 3, 5, 2, 5, 0))
    found = read_sent_scribbles(path, image, AcdcLabel.LV, AS_SLICER)
    expected = [UNMARKED, 3, UNMARKED, UNMARKED, UNMARKED, 2, UNMARKED, 2, UNMARKED]
    assert found.strokes[:, 2, 0].tolist() == expected
    assert set(found.strokes[:, :, 1].flat) == {UNMARKED}
    assert found.mask[[0, 2, 3, 4, 6, 8], 2, 0].tolist() == [3, 3, 3, 3, 2, 0]
    assert set(found.mask.flat) == {0, 2, 3}


def test_values_are_those_of_the_segments_in_whatever_order(image: Volume, tmp_path: Path) -> None:
    segments = [("background_scribbles", 1), ("lv", 2), ("foreground_scribbles", 7), ("myo", 4)]
    path = write_nifti(tmp_path / "a.nii.gz", row(1, 2, 7, 4, 0, 0, 0, 0, 0))
    found = read_sent_scribbles(path, image, AcdcLabel.LV, segments)
    assert found.strokes[:4, 2, 0].tolist() == [2, UNMARKED, 3, UNMARKED]
    assert found.mask[[1, 3, 4], 2, 0].tolist() == [3, 2, 0]


def test_without_segments_scribbles_count_after_the_labels(image: Volume, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(5, 1, 2, 3, 4, 0, 0, 0, 0))
    found = read_sent_scribbles(path, image, AcdcLabel.RV)
    assert found.strokes[:5, 2, 0].tolist() == [1, UNMARKED, UNMARKED, UNMARKED, 3]


@pytest.mark.parametrize(
    ("values", "segments", "reason"),
    [
        ((1, 2, 3), AS_SLICER, "expected strokes of the foreground or the background, found none"),
        ((9,), AS_SLICER, r"expected label values of the segments that were named, found \[9\]"),
        ((1,), [("aorta", 1)], "expected each segment once and among rv, myo, lv"),
        ((1,), [("lv", 1), ("lv", 2)], "expected each segment once"),
        ((1,), [("lv", 1), ("rv", 1)], "expected each segment once"),
    ],
)
def test_what_is_no_file_with_scribbles_is_refused(
    image: Volume, tmp_path: Path, values: tuple[int, ...], segments: list, reason: str
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(*values, *[0] * (9 - len(values))))
    with pytest.raises(DataError, match=reason):
        read_sent_scribbles(path, image, AcdcLabel.LV, segments)


def test_another_grid_is_refused(image: Volume, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(*[6] * 9)[:8])
    with pytest.raises(DataError, match=r"expected the label on the image's grid \(9, 5, 2\)"):
        read_sent_scribbles(path, image, AcdcLabel.LV, AS_SLICER)


def test_neighbours_are_looked_for_in_the_slice_and_in_millimetres() -> None:
    mask = np.full((3, 7, 7), 3, np.uint8)
    mask[1, 3, 0], mask[1, 0, 3] = 1, 2
    here = np.zeros(mask.shape, bool)
    here[1, 3, 3] = True
    assert labels_beside(mask, here, (8.0, 2.0, 1.0), label=AcdcLabel.LV) == [1]
    assert labels_beside(mask, here, (8.0, 1.0, 2.0), label=AcdcLabel.LV) == [2]
    elsewhere = np.roll(here, 1, axis=0)
    assert labels_beside(mask, elsewhere, (8.0, 1.0, 2.0), label=AcdcLabel.LV) == [0]
