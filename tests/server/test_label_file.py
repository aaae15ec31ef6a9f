from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import UNMARKED
from pipelines.server.label_file import labels_beside, read_sent_label, read_sent_scribbles
from pipelines.server.nrrd import write_nrrd

from .conftest import write_nifti

IN_ORDER = [{"name": "rv", "idx": 1}, {"name": "myo", "idx": 2}, {"name": "lv", "idx": 3}]


@pytest.fixture
def image() -> Volume:
    return Volume(np.zeros((4, 5, 3), dtype=np.float32), np.diag([2.0, 2.0, 8.0, 1.0]), (2.0, 2.0, 8.0))


def label_like(image: Volume, *values: int) -> np.ndarray:
    array = np.zeros(image.array.shape, dtype=np.uint8)
    array.flat[: len(values)] = values
    return array


def test_values_are_kept_where_the_client_names_no_segments(image: Volume, tmp_path: Path) -> None:
    sent = label_like(image, 1, 2, 3)
    np.testing.assert_array_equal(read_sent_label(write_nifti(tmp_path / "a.nii.gz", sent), image), sent)


def test_values_follow_the_order_of_the_segments_and_not_their_idx(image: Volume, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", label_like(image, 1, 2))
    segments = [{"name": "background", "idx": 1}, {"name": "LV", "idx": 2}, {"name": "rv", "idx": 3}]
    assert read_sent_label(path, image, segments).flat[:3].tolist() == [3, 1, 0]


def test_an_nrrd_comes_back_as_it_was_written(image: Volume, tmp_path: Path) -> None:
    sent = label_like(image, 3, 1, 2)
    write_nrrd(tmp_path / "a.nrrd", sent, image.affine)
    np.testing.assert_array_equal(read_sent_label(tmp_path / "a.nrrd", image, IN_ORDER), sent)


@pytest.mark.parametrize(
    ("values", "segments", "reason"),
    [
        ((4,), [], r"expected label values \[0, 1, 2, 3\], found \[4\]"),
        ((2,), [{"name": "lv"}], r"expected label values \[0, 1\], found \[2\]"),
        ((1,), [{"name": "aorta"}], "expected each segment once and among rv, myo, lv, found aorta"),
        ((1,), [{"name": "lv"}, {"name": "lv"}], "each segment once"),
        ((1,), [{}], "each segment once"),
    ],
)
def test_unknown_values_and_names_are_refused(
    image: Volume, tmp_path: Path, values: tuple[int, ...], segments: list, reason: str
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", label_like(image, *values))
    with pytest.raises(DataError, match=reason):
        read_sent_label(path, image, segments)


def test_fractions_are_refused(image: Volume, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", label_like(image, 1).astype(np.float32) * 0.5)
    with pytest.raises(DataError, match="whole label values"):
        read_sent_label(path, image)


def test_another_grid_is_refused(image: Volume, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the label on the image's grid \(4, 5, 3\)"):
        read_sent_label(write_nifti(tmp_path / "a.nii.gz", np.zeros((4, 5, 2), np.uint8)), image)
    shifted = image.affine.copy()
    shifted[0, 3] = 1.0
    with pytest.raises(DataError, match="expected the image's affine"):
        read_sent_label(write_nifti(tmp_path / "b.nii.gz", label_like(image), shifted), image)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd"])
@pytest.mark.parametrize("content", [b"", b"no image", b"NRRD0004\ntype: uint8\n", b"\x1f\x8b\x08\x00"])
def test_a_file_that_is_no_image_is_refused(image: Volume, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="that is no (NRRD )?image|found zero bytes|packed by gzip"):
        read_sent_label(tmp_path / name, image)


def test_overlapping_segments_are_refused(image: Volume, tmp_path: Path) -> None:
    layers = sitk.JoinSeries([sitk.Image(4, 5, 3, sitk.sitkUInt8)] * 2)
    sitk.WriteImage(layers, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(DataError, match=r"found \(4, 5, 3, 2\); save all segments as one label map"):
        read_sent_label(tmp_path / "a.seg.nrrd", image)


def test_colours_are_refused(image: Volume, tmp_path: Path) -> None:
    rgb = np.zeros((4, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, image.affine), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="expected one label map"):
        read_sent_label(tmp_path / "a.nii.gz", image)


SPACING = (2.0, 2.0, 8.0)
AS_SLICER = [
    (name, number)
    for number, name in enumerate(
        ("rv", "myo", "lv", "background", "background_scribbles", "foreground_scribbles"), start=1
    )
]


@pytest.fixture
def scribble_file_image() -> Volume:
    return Volume(np.zeros((9, 5, 2), dtype=np.float32), np.diag([*SPACING, 1.0]), SPACING)


def row(*values: int) -> np.ndarray:
    """`(9, 5, 2)` with these values along the first axis in the middle of slice 0."""
    array = np.zeros((9, 5, 2), dtype=np.uint8)
    array[:, :, 0] = np.array(values, dtype=np.uint8)[:, None]
    return array


def test_background_strokes_are_what_lies_beside_them_and_is_not_the_structure(
    scribble_file_image: Volume, tmp_path: Path
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(3, 6, 3, 3, 3, 5, 2, 5, 0))
    found = read_sent_scribbles(path, scribble_file_image, AcdcLabel.LV, AS_SLICER)
    expected = [UNMARKED, 3, UNMARKED, UNMARKED, UNMARKED, 2, UNMARKED, 2, UNMARKED]
    assert found.strokes[:, 2, 0].tolist() == expected
    assert set(found.strokes[:, :, 1].flat) == {UNMARKED}
    assert found.mask[[0, 2, 3, 4, 6, 8], 2, 0].tolist() == [3, 3, 3, 3, 2, 0]
    assert set(found.mask.flat) == {0, 2, 3}


def test_values_are_those_of_the_segments_in_whatever_order(
    scribble_file_image: Volume, tmp_path: Path
) -> None:
    segments = [("background_scribbles", 1), ("lv", 2), ("foreground_scribbles", 7), ("myo", 4)]
    path = write_nifti(tmp_path / "a.nii.gz", row(1, 2, 7, 4, 0, 0, 0, 0, 0))
    found = read_sent_scribbles(path, scribble_file_image, AcdcLabel.LV, segments)
    assert found.strokes[:4, 2, 0].tolist() == [2, UNMARKED, 3, UNMARKED]
    assert found.mask[[1, 3, 4], 2, 0].tolist() == [3, 2, 0]


def test_without_segments_scribbles_count_after_the_labels(
    scribble_file_image: Volume, tmp_path: Path
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(5, 1, 2, 3, 4, 0, 0, 0, 0))
    found = read_sent_scribbles(path, scribble_file_image, AcdcLabel.RV)
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
    scribble_file_image: Volume, tmp_path: Path, values: tuple[int, ...], segments: list, reason: str
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(*values, *[0] * (9 - len(values))))
    with pytest.raises(DataError, match=reason):
        read_sent_scribbles(path, scribble_file_image, AcdcLabel.LV, segments)


def test_another_grid_is_refused_scribble_file(scribble_file_image: Volume, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", row(*[6] * 9)[:8])
    with pytest.raises(DataError, match=r"expected the label on the image's grid \(9, 5, 2\)"):
        read_sent_scribbles(path, scribble_file_image, AcdcLabel.LV, AS_SLICER)


def test_neighbours_are_looked_for_in_the_slice_and_in_millimetres() -> None:
    mask = np.full((3, 7, 7), 3, np.uint8)
    mask[1, 3, 0], mask[1, 0, 3] = 1, 2
    here = np.zeros(mask.shape, bool)
    here[1, 3, 3] = True
    assert labels_beside(mask, here, (8.0, 2.0, 1.0), label=AcdcLabel.LV) == [1]
    assert labels_beside(mask, here, (8.0, 1.0, 2.0), label=AcdcLabel.LV) == [2]
    elsewhere = np.roll(here, 1, axis=0)
    assert labels_beside(mask, elsewhere, (8.0, 1.0, 2.0), label=AcdcLabel.LV) == [0]
