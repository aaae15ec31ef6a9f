"""Tests of the DICOM reader on generated series with known geometry."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_fixtures import strict
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from pipelines.core.errors import DataError
from pipelines.datasets.dicom import read_series
from pipelines.datasets.dicom_file import group_series

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

    def array(self) -> np.ndarray:
        """Its voxels `(X, Y, Z, T)`."""
        shape = (self.columns, self.rows, self.slices, self.frames)
        return np.array([self.value(*index) for index in np.ndindex(shape)], np.float32).reshape(shape)

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
    volume = read_series(save(shuffled(series.images())))
    warnings = list(volume.warnings)
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
    volume = read_series(save(shuffled(series.images())))
    np.testing.assert_allclose(volume.affine, series.affine(), atol=1e-4)
    assert volume.spacing_mm == pytest.approx((1.25, 1.5, 10.0), abs=1e-4)
    np.testing.assert_allclose(nib.affines.voxel_sizes(volume.affine), volume.spacing_mm, atol=1e-6)


def test_frame_time_comes_from_trigger_times(save: Save) -> None:
    volume = read_series(save(FakeSeries(frames=3).images()))
    assert volume.frame_s == pytest.approx(0.04)


def test_one_frame_gives_a_3d_volume(save: Save) -> None:
    volume = read_series(save(FakeSeries(frames=1).images()))
    assert volume.array.shape == (6, 4, 3)
    assert volume.frame_s is None


def test_one_slice_takes_its_thickness(save: Save) -> None:
    volume = read_series(save(FakeSeries(slices=1).images()))
    assert volume.array.shape == (6, 4, 1, 2)
    assert volume.spacing_mm[2] == 8.0


def test_instance_numbers_order_frames_without_trigger_times(save: Save) -> None:
    images = FakeSeries().images()
    for image in images:
        image["TriggerTime"] = None
    volume = read_series(save(shuffled(images)))
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
    volume = read_series(save(images))
    assert volume.array[5, 2, 1, 1] == 2 * 1125 - 50


def test_copies_of_a_file_count_once(save: Save, tmp_path: Path) -> None:
    paths = save(FakeSeries().images())
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(paths[3].read_bytes())
    volume = read_series([*paths, copy])
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
    volume = read_series(save(images))
    warnings = list(volume.warnings)
    assert volume.spacing_mm[2] == pytest.approx(11.0, abs=1e-4)
    assert warnings == ["slice spacing varies from 10.0 to 12.0 mm, its mean is used"]


def test_slices_shifted_in_plane_are_a_warning(save: Save) -> None:
    images = FakeSeries(frames=1).images()
    shifted = np.array(images[2]["ImagePositionPatient"], dtype=float) + 5.0 * rotation()[:, 0]
    images[2]["ImagePositionPatient"] = [f"{value:.6f}" for value in shifted]
    warnings = list(read_series(save(images)).warnings)
    assert warnings == ["slices are shifted in plane by up to 5.0 mm, they are stacked without the shift"]


def test_two_orientations_as_frequent_are_an_error(save: Save) -> None:
    images = FakeSeries(slices=2, frames=1).images()
    images[1]["ImageOrientationPatient"] = [1, 0, 0, 0, 1, 0]
    with pytest.raises(DataError, match="parallel slices"):
        read_series(save(images))


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry_is_an_error_that_names_the_tag(save: Save, tag: str) -> None:
    images = FakeSeries(frames=1).images()
    images[0][tag] = None
    with pytest.raises(DataError, match=tag):
        read_series(save(images))


def test_a_localiser_in_the_series_is_left_out_with_a_warning(save: Save) -> None:
    series = FakeSeries()
    localiser = series.image(1, 0) | {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "InstanceNumber": 99}
    volume = read_series(save([*series.images(), localiser]))
    warnings = list(volume.warnings)
    np.testing.assert_array_equal(volume.array, series.array())
    assert warnings == ["1 of 7 images in other directions (a localiser?) are left out: IM0006.dcm"]


def test_a_parallel_localiser_between_the_slices_is_left_out_with_a_warning(save: Save) -> None:
    series = FakeSeries(frames=4)
    localiser = series.image(1, 0)  # 3 mm above a slice
    above = np.array(localiser["ImagePositionPatient"], dtype=float) + 3.0 * rotation()[:, 2]
    localiser["ImagePositionPatient"] = [f"{value:.6f}" for value in above]
    volume = read_series(save([*series.images(), localiser]))
    warnings = list(volume.warnings)
    np.testing.assert_array_equal(volume.array, series.array())
    assert warnings == ["slice 3 has 1 of 4 frames and is left out"]


def test_a_slice_of_another_size_is_resampled_to_the_others(save: Save) -> None:
    series = FakeSeries(columns=9, rows=7)
    images = [image for image in series.images() if image["InstanceNumber"] not in (3, 4)]
    for t in range(2):
        # Every second pixel of slice 1, so that the plane between them is known.
        coarse = series.image(1, t) | {"Rows": 4, "Columns": 5, "PixelSpacing": [3.0, 2.5]}
        x, y = np.meshgrid(np.arange(5), np.arange(4))
        coarse["PixelData"] = series.value(2 * x, 2 * y, 1, t).astype("<u2").tobytes()
        images.append(coarse)
    volume = read_series(save(images))
    warnings = list(volume.warnings)
    np.testing.assert_allclose(volume.array, series.array(), atol=1e-2)
    np.testing.assert_allclose(volume.affine, series.affine(), atol=1e-4)
    assert warnings == [
        "slice 2 has 5 x 4 pixels of 2.5 x 3 mm, the others 9 x 7 pixels of 1.25 x 1.5 mm: it is resampled"
    ]


def test_a_cropped_first_slice_lies_where_it_was(save: Save) -> None:
    series = FakeSeries()
    images = [image for image in series.images() if image["InstanceNumber"] > 2]
    for t in range(2):
        x, y = np.meshgrid(np.arange(2, 6), np.arange(1, 4))
        moved = rotation()[:, :2] @ [2 * series.column_gap_mm, 1 * series.row_gap_mm]
        images.append(
            series.image(0, t)
            | {
                "Rows": 3,
                "Columns": 4,
                "ImagePositionPatient": [f"{v:.6f}" for v in np.array(series.origin_lps) + moved],
                "PixelData": series.value(x, y, 0, t).astype("<u2").tobytes(),
            }
        )
    volume = read_series(save(images))
    np.testing.assert_allclose(volume.array[2:, 1:], series.array()[2:, 1:], atol=1e-2)
    np.testing.assert_allclose(volume.affine, series.affine(), atol=1e-4)


@pytest.mark.parametrize(("slice_index", "frame"), [(0, 0), (1, 2), (2, 5)])
@pytest.mark.parametrize("tag", ["TriggerTime", "InstanceNumber"])
def test_a_missing_frame_is_left_out_in_all_slices(
    save: Save, slice_index: int, frame: int, tag: str
) -> None:
    series = FakeSeries(frames=6)
    images = [series.image(z, t) for z in range(3) for t in range(6) if (z, t) != (slice_index, frame)]
    if tag == "InstanceNumber":
        images = [image | {"TriggerTime": None} for image in images]
    volume = read_series(save(shuffled(images)))
    warnings = list(volume.warnings)
    np.testing.assert_array_equal(volume.array, np.delete(series.array(), frame, axis=3))
    assert warnings == [f"frame {frame + 1} is missing in slice {slice_index + 1} and left out in all slices"]


def test_frames_go_by_acquisition_time_before_instance_numbers(save: Save) -> None:
    series = FakeSeries(frames=3)
    images = series.images()
    for tag, value in (("AcquisitionTime", "235959.{}"), ("ContentTime", "10005{}")):
        for image in images:
            t = (image["InstanceNumber"] - 1) % 3
            # Numbered backwards.
            image |= {"TriggerTime": None, tag: value.format(t), "AcquisitionNumber": 1}
        numbered = [image | {"InstanceNumber": 100 - image["InstanceNumber"]} for image in images]
        volume = read_series(save(shuffled(numbered)))
        np.testing.assert_array_equal(volume.array, series.array())


def again(image: Tags, **tags: Any) -> Tags:
    """The same slice and time with 5 more in each pixel."""
    pixels = np.frombuffer(image["PixelData"], "<u2") + 5
    return image | {"PixelData": pixels.astype("<u2").tobytes()} | tags


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionNumber": 2},
        {"AcquisitionTime": "110000"},
        {"SeriesInstanceUID": "1.2.9", "SeriesNumber": 190},
        {},
    ],
)
@pytest.mark.parametrize("beat", [1.0, 0.93])
def test_the_last_scan_of_a_slice_counts_and_is_reported(save: Save, tags: Tags, beat: float) -> None:
    series = FakeSeries(frames=4)
    first = [
        image | {"AcquisitionNumber": 1, "AcquisitionTime": "100000", "SeriesNumber": 7}
        for image in series.images()
    ]
    second = [
        again(first[4 + t], **({"InstanceNumber": 100 + t, "TriggerTime": beat * 40.0 * t} | tags))
        for t in range(4)
    ]
    volume = read_series(save(shuffled([*first, *second])))
    warnings = list(volume.warnings)
    expected = series.array()
    expected[:, :, 1] += 5
    np.testing.assert_array_equal(volume.array, expected)
    assert warnings == ["slice 2 was scanned 2 times, the last scan counts"]


def test_a_second_scan_that_was_broken_off_does_not_count(save: Save) -> None:
    series = FakeSeries(frames=4)
    broken_off = [
        again(series.image(1, t), InstanceNumber=100 + t, SeriesInstanceUID="1.2.9") for t in range(2)
    ]
    volume = read_series(save([*series.images(), *broken_off]))
    warnings = list(volume.warnings)
    np.testing.assert_array_equal(volume.array, series.array())
    assert warnings == ["slice 2 was scanned 2 times, the last scan counts"]


def test_images_with_one_instance_uid_are_all_read(save: Save) -> None:
    series = FakeSeries()
    volume = read_series(save([image | {"SOPInstanceUID": "1.2.3.4"} for image in series.images()]))
    np.testing.assert_array_equal(volume.array, series.array())


def test_images_of_one_place_and_time_that_differ_are_no_copies(save: Save) -> None:
    image = FakeSeries(slices=1, frames=1).image(0, 0) | {"SOPInstanceUID": "1.2.3.4"}
    with pytest.raises(DataError, match="order the 2 frames"):
        read_series(save([image, again(image)]))


@pytest.mark.parametrize(
    ("magnitude", "phase"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}),
        ({"ComplexImageComponent": "MAGNITUDE"}, {"ComplexImageComponent": "PHASE"}),
    ],
)
def test_phases_among_magnitudes_are_left_out(save: Save, magnitude: Tags, phase: Tags) -> None:
    series = FakeSeries()
    images = [image | magnitude for image in series.images()]
    phases = [again(image, InstanceNumber=50 + n, **phase) for n, image in enumerate(series.images())]
    volume = read_series(save([*images, *phases]))
    warnings = list(volume.warnings)
    np.testing.assert_array_equal(volume.array, series.array())
    assert warnings == ["6 images of phases or velocities are left out"]
    with pytest.raises(DataError, match="expected images of magnitudes"):
        read_series(save(phases))


@pytest.mark.parametrize(
    ("tag", "values", "words"),
    [
        ("EchoTime", (1.2, 2.4), "echo times 1.2, 2.4"),
        ("InversionTime", (100, 180), "inversion times 100.0, 180.0"),
        ("ImageType", (["ORIGINAL", "PRIMARY", "FAT"], ["ORIGINAL", "PRIMARY", "WATER"]), "FAT, WATER"),
    ],
)
def test_several_contrasts_of_a_slice_are_refused(save: Save, tag: str, values: Any, words: str) -> None:
    images = FakeSeries().images()
    first = [image | {tag: values[0]} for image in images]
    second = [again(image, **{tag: values[1], "InstanceNumber": 50 + n}) for n, image in enumerate(images)]
    with pytest.raises(DataError, match=f"expected one contrast in a series, found the .*{words}"):
        read_series(save([*first, *second]))


def test_images_of_two_patients_or_studies_are_refused(save: Save) -> None:
    first, *others = FakeSeries().images()
    for tag in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID"):
        with pytest.raises(DataError, match="expected the images of one (patient|study), found 2"):
            read_series(save([first | {tag: "19000101"}, *others]))


def test_another_modality_or_body_part_is_a_warning(save: Save) -> None:
    images = [image | {"Modality": "CT", "BodyPartExamined": "HEAD"} for image in FakeSeries().images()]
    warnings = list(read_series(save(images)).warnings)
    assert warnings == [
        "its modality is CT: the networks know cardiac MRI only",
        "its body part is HEAD: not a heart?",
    ]


def enhanced(path: Path, images: list[Tags]) -> Path:
    """One enhanced MR file with these images as its frames."""
    frames = []
    for image in images:
        frame = {
            "PlanePositionSequence": {"ImagePositionPatient": image["ImagePositionPatient"]},
            "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": image["TriggerTime"]},
            "PixelValueTransformationSequence": {"RescaleSlope": 2, "RescaleIntercept": -50},
        }
        frames.append(groups(frame))
    first = images[0]
    shared = groups(
        {
            "PlaneOrientationSequence": {"ImageOrientationPatient": first["ImageOrientationPatient"]},
            "PixelMeasuresSequence": {"PixelSpacing": first["PixelSpacing"], "SliceThickness": 8},
            "MRImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", "FUNCTION", "NONE"]},
        }
    )
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.4.1",
        generate_uid(),
    )
    file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID, file.SeriesInstanceUID, file.Modality = "1.2", first["SeriesInstanceUID"], "MR"
    file.Rows, file.Columns, file.NumberOfFrames, file.SamplesPerPixel = (
        first["Rows"],
        first["Columns"],
        len(images),
        1,
    )
    file.PhotometricInterpretation, file.PixelRepresentation = "MONOCHROME2", 0
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.InstanceNumber = 15, first["InstanceNumber"]
    file.PerFrameFunctionalGroupsSequence, file.SharedFunctionalGroupsSequence = frames, [shared]
    file.PixelData = b"".join(image["PixelData"] for image in images)
    pydicom.dcmwrite(path, file, **strict())
    return path


def groups(content: dict[str, Tags]) -> Dataset:
    dataset = Dataset()
    for sequence, tags in content.items():
        item = Dataset()
        for tag, value in tags.items():
            setattr(item, tag, value)
        setattr(dataset, sequence, [item])
    return dataset


@pytest.mark.parametrize("files", ["one", "one a slice"])
def test_enhanced_multi_frame_files_are_read_as_single_frames_are(tmp_path: Path, files: str) -> None:
    series = FakeSeries(frames=3)
    images = series.images()
    if files == "one":
        paths = [enhanced(tmp_path / "stack.dcm", shuffled(images))]
    else:
        paths = [enhanced(tmp_path / f"{z}.dcm", shuffled(images[3 * z : 3 * z + 3])) for z in range(3)]
    (found,), problems = group_series(paths)
    assert problems == []
    volume = read_series(found.files)
    warnings = list(volume.warnings)
    np.testing.assert_array_equal(volume.array, 2 * series.array() - 50)
    np.testing.assert_allclose(volume.affine, series.affine(), atol=1e-4)
    assert volume.frame_s == pytest.approx(0.04)
    assert warnings == []


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


def test_white_that_is_least_is_turned_round(save: Save) -> None:
    series = FakeSeries(frames=1)
    images = [series.image(z, 0) | {"PhotometricInterpretation": "MONOCHROME1"} for z in range(3)]
    inverted = read_series(save(images))
    plain = read_series(save([series.image(z, 0) for z in range(3)]))
    assert np.array_equal(inverted.array, -plain.array)


def test_padding_is_no_brighter_than_the_picture(save: Save) -> None:
    series = FakeSeries(frames=1)
    images = [series.image(z, 0) | {"PixelPaddingValue": series.value(2, 3, 0, 0)} for z in range(3)]
    volume = read_series(save(images))
    assert volume.array[2, 3, 0] == 0
    assert volume.array[2, 2, 0] == series.value(2, 2, 0, 0)


@pytest.mark.parametrize(
    "value", [("US", [0, 1]), ("LO", "none")], ids=["two padding values", "text for a padding value"]
)
def test_a_padding_value_that_is_no_number_says_nothing_of_the_pixels(save: Save, value: Any) -> None:
    series = FakeSeries(frames=1)
    paths = save([series.image(z, 0) for z in range(3)])
    expected = read_series(paths).array
    for path in paths:
        file = pydicom.dcmread(path)
        file.add_new((0x0028, 0x0120), *value)
        file.save_as(path)
    assert np.array_equal(read_series(paths).array, expected)


def test_an_empty_limit_of_the_padding_leaves_the_value_alone(save: Save) -> None:
    series = FakeSeries(frames=1)
    images = [series.image(z, 0) | {"PixelPaddingValue": series.value(2, 3, 0, 0)} for z in range(3)]
    paths = save(images)
    for path in paths:
        file = pydicom.dcmread(path)
        file.add_new((0x0028, 0x0121), "US", None)
        file.save_as(path)
    assert read_series(paths).array[2, 3, 0] == 0


@pytest.mark.parametrize("shift", [0, 4], ids=["data of its own", "pixels in the upper bits"])
def test_an_overlay_elsewhere_takes_no_bits_from_the_picture(save: Save, shift: int) -> None:
    series = FakeSeries(frames=1)
    images = []
    for image in (series.image(z, 0) for z in range(3)):
        pixels = np.frombuffer(image["PixelData"], "<u2") << shift | 0x8000
        images.append(image | {"PixelData": pixels.tobytes(), "BitsStored": 12, "HighBit": 11 + shift})
    paths = save(images)
    for path in paths:
        file = pydicom.dcmread(path)
        file.add_new((0x6000, 0x0102), "US", 0)
        if not shift:
            file.add_new((0x6000, 0x3000), "OW", bytes(2))
        file.save_as(path)
    assert read_series(paths).array.min() >= 0x8000


def test_drawings_in_unused_bits_are_left_out(save: Save) -> None:
    series = FakeSeries(frames=1)
    plain = [series.image(z, 0) for z in range(3)]
    drawn = []
    for image in plain:
        pixels = np.frombuffer(image["PixelData"], "<u2") | 0x8000
        drawn.append(image | {"PixelData": pixels.tobytes(), "BitsStored": 12, "HighBit": 11})
    paths = save(drawn)
    for path in paths:
        file = pydicom.dcmread(path)
        file.add_new((0x6000, 0x0102), "US", 15)
        file.save_as(path)
    assert np.array_equal(read_series(paths).array, read_series(save(plain)).array)
