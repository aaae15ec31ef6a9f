"""Tests of geometry read from headers that contradict themselves."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume, is_label_map, read_volume, slices_last, write_image

AFFINE = np.diag([-1.5, -1.5, 10.0, 1.0])
ARRAY = np.random.default_rng(0).integers(0, 500, (12, 10, 9)).astype(np.int16)
VOXEL_MM3 = 22.5


def header_with(path: Path, **fields: object) -> Volume:
    """The array under a header made by hand, since nibabel would make its fields agree."""
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
    header = image.header.copy()
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + b"\0" * 4 + ARRAY.tobytes(order="F"))
    return read_volume(path)


def sform(affine: np.ndarray) -> dict[str, object]:
    return dict(zip(("srow_x", "srow_y", "srow_z"), affine[:3], strict=True))


def voxel_mm3(volume: Volume) -> float:
    return float(np.prod(volume.spacing_mm))


def test_a_header_that_agrees_with_itself_gives_no_warning(tmp_path: Path) -> None:
    volume = header_with(tmp_path / "a.nii")
    assert volume.warnings == ()
    assert volume.is_oriented
    assert voxel_mm3(volume) == pytest.approx(VOXEL_MM3)


def test_a_slice_distance_that_differs_between_sform_and_pixdim_is_reported(tmp_path: Path) -> None:
    volume = header_with(tmp_path / "a.nii", **sform(AFFINE @ np.diag([1, 1, 0.8, 1])))
    (warning,) = volume.warnings
    assert "1.5 x 1.5 x 8 mm by the sform" in warning
    assert "1.5 x 1.5 x 10 mm by pixdim" in warning
    assert "differ by 25%" in warning


@pytest.mark.parametrize(("qform_code", "is_oriented"), [(1, True), (0, False)])
def test_an_sform_that_is_a_placeholder_does_not_count(
    tmp_path: Path, qform_code: int, is_oriented: bool
) -> None:
    volume = header_with(tmp_path / "a.nii", qform_code=qform_code, **sform(np.eye(4)))
    assert voxel_mm3(volume) == pytest.approx(VOXEL_MM3)
    assert volume.is_oriented == is_oriented
    assert "the sform is a placeholder" in volume.warnings[0]


def test_an_sform_that_cannot_be_inverted_gives_way_to_the_qform(tmp_path: Path) -> None:
    volume = header_with(tmp_path / "a.nii", srow_y=(0, 0, 0, 0))
    assert voxel_mm3(volume) == pytest.approx(VOXEL_MM3)
    assert volume.warnings == ("the sform cannot be inverted: the qform is used",)


def test_sform_and_qform_that_turn_the_image_differently_are_reported(tmp_path: Path) -> None:
    volume = header_with(tmp_path / "a.nii", **sform(AFFINE @ np.diag([-1, 1, 1, 1])))
    assert ["turn the image differently" in warning for warning in volume.warnings] == [True]


def test_a_file_without_orientation_keeps_its_order_and_tells(tmp_path: Path) -> None:
    volume = header_with(tmp_path / "a.nii", sform_code=0, qform_code=0)
    assert np.array_equal(slices_last(volume)[0].array, ARRAY)
    assert "no sform, no qform" in volume.warnings[0]
    write_image(tmp_path / "again.nii.gz", volume)
    assert not read_volume(tmp_path / "again.nii.gz").is_oriented


def test_slices_that_are_shifted_in_plane_have_the_distance_of_their_planes(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 2] = 8.0
    volume = header_with(tmp_path / "a.nii", qform_code=0, **sform(sheared))
    assert voxel_mm3(volume) == pytest.approx(VOXEL_MM3)
    assert volume.warnings == (
        "slices are shifted in plane by up to 64.0 mm, they are stacked without the shift",
    )
    assert np.array_equal(slices_last(volume)[0].array, ARRAY)


@pytest.mark.parametrize(("code", "factor"), [(1, 1e-3), (2, 1.0), (3, 1e3), (0, 1.0)])
def test_units_of_space_become_millimetres(tmp_path: Path, code: int, factor: float) -> None:
    affine = np.diag([factor, factor, factor, 1]) @ AFFINE
    image = nib.Nifti1Image(ARRAY, affine)
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.spacing_mm == pytest.approx((1.5, 1.5, 10.0), rel=1e-5)
    assert volume.warnings == ()


@pytest.mark.parametrize(("code", "factor"), [(1, 1.0), (2, 1e-3), (3, 1.0), (2, 1e3)])
def test_a_unit_that_no_voxel_can_have_is_doubted(tmp_path: Path, code: int, factor: float) -> None:
    affine = np.diag([factor, factor, factor, 1]) @ AFFINE
    image = nib.Nifti1Image(ARRAY, affine)
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.spacing_mm == pytest.approx((1.5, 1.5, 10.0), rel=1e-5)
    assert "which no scanner has: the unit is taken for" in volume.warnings[0]


@pytest.mark.parametrize(("unit", "step"), [("sec", 0.03), ("msec", 30.0), ("usec", 3e4), ("unknown", 30.0)])
def test_units_of_time_become_seconds(tmp_path: Path, unit: str, step: float) -> None:
    image = nib.Nifti1Image(np.stack([ARRAY, ARRAY], axis=3), AFFINE)
    image.header.set_zooms((1.5, 1.5, 10.0, step))
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").frame_s == pytest.approx(0.03)


def test_complex_voxels_are_read_as_their_magnitude(tmp_path: Path) -> None:
    image = nib.Nifti1Image((ARRAY * (0.6 + 0.8j)).astype(np.complex64), AFFINE)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.array == pytest.approx(ARRAY, abs=1e-3)
    assert volume.warnings == ("complex voxels: their magnitude is used",)


def test_gzip_against_the_name_is_reported(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(ARRAY, AFFINE), tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").rename(tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"found .*a\.nii: it is packed by gzip, rename it to end in \.gz"):
        read_volume(tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(ARRAY, AFFINE), tmp_path / "b.nii")
    (tmp_path / "b.nii").rename(tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match=r"not packed by gzip, remove \.gz from its name"):
        read_volume(tmp_path / "b.nii.gz")


def test_an_array_beyond_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at most 300000000 voxels"):
        header_with(tmp_path / "a.nii", dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused_before_memory_is_taken(
    tmp_path: Path,
) -> None:
    shape = [3, 2000, 1000, 100, 1, 1, 1, 1]
    with pytest.raises(DataError, match=r"found too few bytes for the shape \(2000, 1000, 100\)"):
        header_with(tmp_path / "a.nii", dim=shape)
    packed = tmp_path / "b_seg.nii.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    with pytest.raises(DataError, match="found too few bytes"):
        read_volume(packed)
    assert is_label_map(packed)
