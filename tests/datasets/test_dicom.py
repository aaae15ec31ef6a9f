"""Tests of the DICOM reader on generated series with known geometry."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import generate_uid

from pipelines.core.errors import DataError
from pipelines.datasets.dicom import read_series

Tags = dict[str, Any]
Save = Callable[[list[Tags]], list[Path]]


def rotation() -> np.ndarray:
    """Right-handed oblique rotation, columns: row direction, column direction, normal (LPS)."""
    a, b = np.radians(25.0), np.radians(-40.0)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


@dataclass
class FakeSeries:
    """A cine series whose voxel at column x, row y, slice z, frame t is 1000t + 100z + 10y + x."""

    slices: int = 3
    frames: int = 2
    columns: int = 6
    rows: int = 4
    slice_gap_mm: float = 10.0
    row_gap_mm: float = 1.5
    column_gap_mm: float = 1.25
    origin_lps: tuple[float, float, float] = (-20.0, 35.0, 12.0)
    uid: str = field(default_factory=generate_uid)

    def value(self, x: Any, y: Any, z: int, t: int) -> Any:
        return 1000 * t + 100 * z + 10 * y + x

    def affine(self) -> np.ndarray:
        lps = np.eye(4)
        lps[:3, :3] = rotation() * [self.column_gap_mm, self.row_gap_mm, self.slice_gap_mm]
        lps[:3, 3] = self.origin_lps
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps

    def image(self, z: int, t: int) -> Tags:
        direction = rotation()
        position = np.array(self.origin_lps) + direction[:, 2] * self.slice_gap_mm * z
        x, y = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        return {
            "SeriesInstanceUID": self.uid,
            "ImageOrientationPatient": [f"{value:.9f}" for value in direction[:, :2].T.ravel()],
            "ImagePositionPatient": [f"{value:.6f}" for value in position],
            "PixelSpacing": [self.row_gap_mm, self.column_gap_mm],
            "TriggerTime": 40.0 * t,
            "InstanceNumber": 1 + z * self.frames + t,
            "Rows": self.rows,
            "Columns": self.columns,
            "PixelData": self.value(x, y, z, t).astype("<u2").tobytes(),
        }

    def images(self) -> list[Tags]:
        return [self.image(z, t) for z in range(self.slices) for t in range(self.frames)]


@pytest.fixture
def save(write_dicom: Callable[..., Path], tmp_path: Path) -> Save:
    """Writes images to numbered files."""
    return lambda images: [
        write_dicom(tmp_path / f"IM{number:04d}.dcm", **tags) for number, tags in enumerate(images)
    ]


def shuffled(images: list[Tags]) -> list[Tags]:
    random.Random(3).shuffle(images)
    return images


def test_shuffled_oblique_cine_has_every_voxel_in_its_place(save: Save) -> None:
    series = FakeSeries()
    volume, warnings = read_series(save(shuffled(series.images())))
    assert volume.array.shape == (6, 4, 3, 2)
    assert volume.array.dtype == np.float32
    assert volume.array[5, 2, 1, 1] == series.value(5, 2, 1, 1) == 1125
    assert all(
        volume.array[index] == series.value(*index)
        for index in np.ndindex(volume.array.shape)  # type: ignore[arg-type]
    )
    assert warnings == []


def test_affine_is_the_oblique_one_with_spacing_from_positions(save: Save) -> None:
    series = FakeSeries()
    volume, _ = read_series(save(shuffled(series.images())))
    np.testing.assert_allclose(volume.affine, series.affine(), atol=1e-4)
    assert volume.spacing_mm == pytest.approx((1.25, 1.5, 10.0), abs=1e-4)
    np.testing.assert_allclose(nib.affines.voxel_sizes(volume.affine), volume.spacing_mm, atol=1e-6)


def test_frame_time_comes_from_trigger_times(save: Save) -> None:
    volume, _ = read_series(save(FakeSeries(frames=3).images()))
    assert volume.frame_s == pytest.approx(0.04)


def test_one_frame_gives_a_3d_volume(save: Save) -> None:
    volume, _ = read_series(save(FakeSeries(frames=1).images()))
    assert volume.array.shape == (6, 4, 3)
    assert volume.frame_s is None


def test_one_slice_takes_its_thickness(save: Save) -> None:
    volume, _ = read_series(save(FakeSeries(slices=1).images()))
    assert volume.array.shape == (6, 4, 1, 2)
    assert volume.spacing_mm[2] == 8.0


def test_instance_numbers_order_frames_without_trigger_times(save: Save) -> None:
    images = FakeSeries().images()
    for image in images:
        image["TriggerTime"] = None
    volume, _ = read_series(save(shuffled(images)))
    assert volume.array[0, 0, 0].tolist() == [0, 1000]


def test_frames_that_nothing_orders_are_an_error(save: Save) -> None:
    images = FakeSeries().images()
    for image in images:
        image |= {"TriggerTime": 0.0, "InstanceNumber": 1}
    with pytest.raises(DataError, match="order the 2 frames"):
        read_series(save(images))


def test_rescale_slope_and_intercept_are_applied(save: Save) -> None:
    images = FakeSeries().images()
    for image in images:
        image |= {"RescaleSlope": 2, "RescaleIntercept": -50}
    volume, _ = read_series(save(images))
    assert volume.array[5, 2, 1, 1] == 2 * 1125 - 50


def test_copies_of_a_file_count_once(save: Save, tmp_path: Path) -> None:
    paths = save(FakeSeries().images())
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(paths[3].read_bytes())
    volume, _ = read_series([*paths, copy])
    assert volume.array.shape == (6, 4, 3, 2)


def test_missing_slice_is_an_error_that_names_the_gap(save: Save) -> None:
    series = FakeSeries()
    images = [series.image(z, t) for z in (0, 1, 3) for t in range(2)]
    with pytest.raises(DataError, match="gap of 20.0 mm between slices 2 and 3"):
        read_series(save(images))


def test_missing_frame_is_an_error_that_names_the_slice(save: Save) -> None:
    series = FakeSeries()
    images = [series.image(z, t) for z in range(3) for t in range(2) if (z, t) != (1, 1)]
    with pytest.raises(DataError, match="expected 2 frames in each of the 3 slices, found slice 2: 1"):
        read_series(save(images))


def test_uneven_slice_spacing_is_a_warning(save: Save) -> None:
    images = FakeSeries(frames=1).images()
    shifted = np.array(images[2]["ImagePositionPatient"], dtype=float) + 2.0 * rotation()[:, 2]
    images[2]["ImagePositionPatient"] = [f"{value:.6f}" for value in shifted]
    volume, warnings = read_series(save(images))
    assert volume.spacing_mm[2] == pytest.approx(11.0, abs=1e-4)
    assert warnings == ["slice spacing varies from 10.0 to 12.0 mm, its mean is used"]


def test_slices_shifted_in_plane_are_a_warning(save: Save) -> None:
    images = FakeSeries(frames=1).images()
    shifted = np.array(images[2]["ImagePositionPatient"], dtype=float) + 5.0 * rotation()[:, 0]
    images[2]["ImagePositionPatient"] = [f"{value:.6f}" for value in shifted]
    _, warnings = read_series(save(images))
    assert warnings == ["slices are shifted in plane by up to 5.0 mm, they are stacked without the shift"]


def test_two_orientations_in_one_series_are_an_error(save: Save) -> None:
    images = FakeSeries(frames=1).images()
    images[1]["ImageOrientationPatient"] = [1, 0, 0, 0, 1, 0]
    with pytest.raises(DataError, match="parallel slices"):
        read_series(save(images))


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry_is_an_error_that_names_the_tag(save: Save, tag: str) -> None:
    images = FakeSeries(frames=1).images()
    images[0][tag] = None
    with pytest.raises(DataError, match=tag):
        read_series(save(images))


def test_images_of_two_sizes_are_an_error(save: Save) -> None:
    other = FakeSeries(frames=1, columns=8)
    images = FakeSeries(frames=1, uid=other.uid).images()
    with pytest.raises(DataError, match="in every image of a series"):
        read_series(save([*images[:2], other.image(2, 0)]))


def test_enhanced_multi_frame_dicom_is_an_error_that_names_a_way_out(save: Save) -> None:
    images = FakeSeries(frames=1).images()
    images[0]["NumberOfFrames"] = 20
    with pytest.raises(DataError, match="dcm2niix"):
        read_series(save(images))


def test_colour_dicom_is_an_error(save: Save) -> None:
    images = FakeSeries(frames=1).images()
    images[0]["SamplesPerPixel"] = 3
    with pytest.raises(DataError, match="grey image"):
        read_series(save(images))


def test_truncated_pixels_are_an_error(save: Save) -> None:
    paths = save(FakeSeries(frames=1).images())
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    with pytest.raises(DataError, match="can be decoded"):
        read_series(paths)


def test_constant_series_is_an_error(save: Save) -> None:
    images = FakeSeries(frames=1).images()
    for image in images:
        image["PixelData"] = bytes(len(image["PixelData"]))
    with pytest.raises(DataError, match="contrast"):
        read_series(save(images))
