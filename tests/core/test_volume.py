import errno
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import DataError, OutputError
from pipelines.core.plausibility import slice_axis
from pipelines.core.volume import (
    Volume,
    check_same_grid,
    read_label,
    read_volume,
    slices_last,
    write_label,
)

AFFINE = np.diag([1.5, 1.25, 8.0, 1.0])
Writer = Callable[..., Path]


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def oblique(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    cos, sin = np.cos(0.4), np.sin(0.4)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag(spacing_mm)
    affine[:3, 3] = (10, -20, 30)
    return affine


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("slices", [1, 3, 40])
def test_an_image_is_read_with_its_geometry(
    tmp_path: Path, write_nifti: Writer, suffix: str, slices: int
) -> None:
    path = write_nifti(tmp_path / f"image{suffix}", ramp(4, 5, slices), AFFINE)
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, ramp(4, 5, slices))
    assert volume.spacing_mm == (1.5, 1.25, 8.0)
    assert np.array_equal(volume.affine, AFFINE)
    assert volume.path == path
    assert volume.frame_s is None


def test_the_spacing_of_an_oblique_image_is_the_length_of_its_axes(
    tmp_path: Path, write_nifti: Writer
) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii", ramp(3, 3, 3), oblique((1.5, 1.25, 8.0))))
    assert volume.spacing_mm == pytest.approx((1.5, 1.25, 8.0))


def test_a_cine_has_frames_and_the_time_between_them(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(4, 5, 3, 2), AFFINE)
    image.header.set_zooms((1.5, 1.25, 8.0, 0.03))
    nib.save(image, tmp_path / "cine.nii.gz")
    volume = read_volume(tmp_path / "cine.nii.gz")
    assert volume.array.shape == (4, 5, 3, 2)
    assert volume.frame_s == pytest.approx(0.03)
    assert np.array_equal(volume.frame(1).array, ramp(4, 5, 3, 2)[..., 1])


def test_a_cine_of_one_frame_is_a_volume(tmp_path: Path, write_nifti: Writer) -> None:
    assert read_volume(write_nifti(tmp_path / "a.nii", ramp(4, 5, 3, 1))).array.shape == (4, 5, 3)


def test_a_truncated_gzip_is_refused(tmp_path: Path, write_nifti: Writer) -> None:
    noise = np.random.default_rng(0).integers(0, 30000, (32, 32, 8)).astype(np.int16)
    path = write_nifti(tmp_path / "a.nii.gz", noise)
    whole = path.read_bytes()
    for length in (len(whole) // 2, 40, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.nii\.gz.*truncated, copy it again"):
            read_volume(path)


def test_a_damaged_gzip_is_refused(tmp_path: Path, write_nifti: Writer) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).random((16, 16, 8)))
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a readable NIfTI file"):
        read_volume(path)


def test_a_header_of_an_unknown_data_type_is_refused(tmp_path: Path, write_nifti: Writer) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp(4, 5, 3))
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 70, 4096)
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a readable NIfTI file"):
        read_volume(path)


def test_a_zero_byte_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(DataError, match=r"found zero bytes in .*a\.nii\.gz"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("no image", encoding="utf-8")
    with pytest.raises(DataError, match="expected a readable NIfTI file"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_with_nan_or_infinity_is_refused(tmp_path: Path, write_nifti: Writer, value: float) -> None:
    array = ramp(4, 5, 3).astype(np.float32)
    array[1, 2, :2] = value
    with pytest.raises(DataError, match="found 2 NaN or infinite voxels"):
        read_volume(write_nifti(tmp_path / "a.nii.gz", array))


def test_a_constant_image_is_refused(tmp_path: Path, write_nifti: Writer) -> None:
    with pytest.raises(DataError, match="found the constant 7 in"):
        read_volume(write_nifti(tmp_path / "a.nii.gz", np.full((4, 5, 3), 7, np.int16)))


def test_unsigned_intensities_that_were_stored_as_signed_are_restored(
    tmp_path: Path, write_nifti: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    unsigned = np.array([100, 30000, 33000, 65000], np.uint16).reshape(2, 2, 1)
    volume = read_volume(write_nifti(tmp_path / "a.nii.gz", unsigned.view(np.int16)))
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, unsigned)
    assert volume.is_unwrapped
    assert "a.nii.gz stores unsigned intensities as int16" in caplog.text


@pytest.mark.parametrize("values", [(-1000, 3000), (-20000, 100), (0, 32767)])
def test_signed_intensities_stay_as_they_are(
    tmp_path: Path, write_nifti: Writer, values: tuple[int, int]
) -> None:
    signed = np.array([*values, 0, 1], np.int16).reshape(2, 2, 1)
    volume = read_volume(write_nifti(tmp_path / "a.nii.gz", signed))
    assert np.array_equal(volume.array, signed)
    assert not volume.is_unwrapped


@pytest.mark.parametrize("shape", [(4, 5, 3, 2, 2), (4, 5)])
def test_an_image_of_another_dimension_is_refused(
    tmp_path: Path, write_nifti: Writer, shape: tuple[int, ...]
) -> None:
    with pytest.raises(DataError, match=f"expected a 3-D volume or a 4-D cine, found {len(shape)}-D"):
        read_volume(write_nifti(tmp_path / "a.nii.gz", ramp(*shape)))


def test_an_rgb_image_is_refused(tmp_path: Path, write_nifti: Writer) -> None:
    rgb = np.zeros((4, 5, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(DataError, match="expected a grey image, found RGB voxels"):
        read_volume(write_nifti(tmp_path / "a.nii.gz", rgb))


@pytest.mark.parametrize("wrong", [0.0, -1.5])
@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("has_sform", [True, False])
def test_a_spacing_of_zero_or_less_is_refused(
    tmp_path: Path, write_nifti: Writer, wrong: float, axis: int, has_sform: bool
) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp(4, 5, 3), AFFINE)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 80 + 4 * axis, wrong)
    struct.pack_into("<hh", content, 252, 0, int(has_sform))
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"expected positive voxel spacing in mm, found .*{wrong}"):
        read_volume(path)


def test_a_flat_affine_is_refused(tmp_path: Path, write_nifti: Writer) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp(4, 5, 3), AFFINE)
    content = bytearray(path.read_bytes())
    struct.pack_into("<4f", content, 296, 1.5, 0, 0, 0)  # the second row of the sform as the first
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected an affine that can be inverted|expected positive voxel"):
        read_volume(path)


def test_a_label_is_read_as_integers(tmp_path: Path, write_nifti: Writer) -> None:
    array = np.array([0, 1, 2, 3], np.float32).reshape(2, 2, 1)
    label = read_label(write_nifti(tmp_path / "a.nii.gz", array))
    assert label.array.dtype == np.uint8
    assert np.array_equal(label.array, array)


@pytest.mark.parametrize("value", [7, -1, 0.5, np.nan])
def test_a_label_with_another_value_is_refused(tmp_path: Path, write_nifti: Writer, value: float) -> None:
    array = np.zeros((2, 2, 2), np.float32)
    array[0, 0, 0] = value
    with pytest.raises(DataError, match=rf"expected label values 0 to 3 .*, found \[{float(value)}\]"):
        read_label(write_nifti(tmp_path / "a.nii.gz", array))


def test_a_written_label_is_read_back_with_its_affine(tmp_path: Path) -> None:
    mask = (ramp(3, 4, 5) % 4).astype(np.uint8)
    write_label(tmp_path / "new" / "mask.nii.gz", mask, oblique((1.5, 1.25, 8.0)))
    label = read_label(tmp_path / "new" / "mask.nii.gz")
    assert np.array_equal(label.array, mask)
    assert np.allclose(label.affine, oblique((1.5, 1.25, 8.0)), atol=1e-6)
    assert nib.load(tmp_path / "new" / "mask.nii.gz").get_data_dtype() == np.uint8


def test_a_disk_that_fills_up_leaves_no_half_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(image: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipelines.core.volume.nib.save", write_half)
    with pytest.raises(OutputError, match=r"cannot write .*mask\.nii\.gz: No space left on device"):
        write_label(tmp_path / "mask.nii.gz", np.zeros((2, 2, 2), np.uint8), AFFINE)
    assert list(tmp_path.iterdir()) == []


def volume(shape: tuple[int, ...], affine: np.ndarray = AFFINE) -> Volume:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(ramp(*shape), affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def test_a_label_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"image's grid \(4, 5, 3\), found \(5, 4, 3\)"):
        check_same_grid(volume((4, 5, 3)), volume((5, 4, 3)))


def test_a_label_of_another_affine_is_refused_beyond_rounding() -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 0.005
    check_same_grid(volume((4, 5, 3)), volume((4, 5, 3), moved))
    moved[0, 3] = 1.5
    with pytest.raises(DataError, match=r"found one that differs by 1\.5"):
        check_same_grid(volume((4, 5, 3)), volume((4, 5, 3), moved))


@pytest.mark.parametrize(
    ("spacing_mm", "axis"),
    [
        ((1.5, 1.5, 8.0), 2),
        ((8.0, 1.5, 1.5), 0),
        ((1.5, 8.0, 1.5), 1),
        ((1.0, 1.0, 1.0), 2),
        ((2.0, 1.5, 1.5), 2),  # 1.33 times the others is not thick
    ],
)
def test_the_slice_axis_is_the_one_of_thick_voxels(spacing_mm: tuple[float, float, float], axis: int) -> None:
    assert slice_axis(spacing_mm) == axis


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_move_last_and_points_stay_where_they_are(axis: int) -> None:
    spacing = [1.5, 1.25, 1.0]
    spacing[axis] = 8.0
    original = volume((4, 5, 6), oblique((spacing[0], spacing[1], spacing[2])))
    stack, undo = slices_last(original)
    assert stack.spacing_mm[2] == pytest.approx(8.0)
    assert np.array_equal(undo(stack.array), original.array)
    to_file = np.linalg.inv(original.affine) @ stack.affine
    for moved in np.ndindex(*stack.array.shape):
        index = tuple(np.round(to_file @ (*moved, 1))[:3].astype(int))
        assert stack.array[moved] == original.array[index]


def test_the_frames_of_a_cine_stay_last() -> None:
    cine = volume((3, 4, 5, 2), np.diag([8.0, 1.5, 1.5, 1.0]))
    stack, undo = slices_last(cine)
    assert stack.array.shape == (4, 5, 3, 2)
    assert np.array_equal(undo(stack.array), cine.array)


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    voxels = ramp(10, 10, 10).astype(np.float64)
    voxels[3, 4, 5] = 1e300
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "image.nii.gz")
    with pytest.raises(DataError, match=r"found 1 NaN or infinite voxels \(as float32\)"):
        read_volume(tmp_path / "image.nii.gz")


@pytest.mark.parametrize("damage", ["checksum", "end"])
def test_a_packed_file_whose_checksum_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "image.nii.gz"
    nib.save(nib.Nifti1Image(ramp(10, 10, 10), AFFINE), path)
    assert read_volume(path).array.max() == 999
    packed = bytearray(path.read_bytes())
    packed[-8] ^= 1
    path.write_bytes(packed if damage == "checksum" else packed[:-8])
    with pytest.raises(DataError, match="it may be truncated, copy it again"):
        read_volume(path)


def test_voxels_that_would_begin_within_the_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.nii"
    nib.save(nib.Nifti1Image(ramp(10, 10, 10), AFFINE), path)
    stored = bytearray(path.read_bytes())
    stored[108:112] = struct.pack("<f", 0)
    path.write_bytes(stored)
    with pytest.raises(
        DataError, match=r"expected voxels from byte 352 on, found byte 0, .* correct vox_offset"
    ):
        read_volume(path)
