"""Tests of DICOM segmentations against the slices that they refer to."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom_image

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.datasets.dicom import order_series, read_series
from pipelines.inference.dicom_objects import write_dicom_seg

SHAPE = (6, 5, 3)


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Three slices in files of another order, 6 columns and 5 rows."""
    pixels = np.random.default_rng(0).integers(0, 900, SHAPE)
    for z in range(SHAPE[2]):
        path = tmp_path / "series" / f"{SHAPE[2] - z}.dcm"
        write_dicom_image(path, pixels[:, :, z], z_mm=8.0 * z, time_ms=0, number=z + 1, series="1.2.3.4")
        image = pydicom.dcmread(path)
        image.FrameOfReferenceUID = "1.2.3.9"
        image.save_as(path)
    return sorted((tmp_path / "series").iterdir())


def a_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 2, 0] = AcdcLabel.RV
    mask[2:4, 1, 1] = AcdcLabel.MYO
    mask[5, 4, 2] = AcdcLabel.LV
    return mask


def test_segments_lie_in_their_slices_and_name_the_structures(series: list[Path], tmp_path: Path) -> None:
    slices = [group[0] for group in order_series(series)[0]]
    path = tmp_path / "x_seg.dcm"
    write_dicom_seg(a_mask(), slices, path, title="ED")
    found = pydicom.dcmread(path)
    assert (found.Modality, found.StudyInstanceUID, found.PatientID) == ("SEG", "1.2.3", "generated")
    labels = {one.SegmentNumber: one.SegmentLabel for one in found.SegmentSequence}
    assert labels == {1: "RV", 2: "MYO", 3: "LV"}
    volume = read_series(series)
    frames = found.pixel_array
    back = np.zeros(SHAPE, np.uint8)
    for frame, pixels in zip(found.PerFrameFunctionalGroupsSequence, frames, strict=True):
        lps = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        inside = np.linalg.inv(volume.affine) @ [-lps[0], -lps[1], lps[2], 1]
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        z = round(inside[2])
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert source == pydicom.dcmread(slices[z]).SOPInstanceUID
        back[:, :, z][pixels.T > 0] = number
    np.testing.assert_array_equal(back, a_mask())


def test_the_same_mask_has_the_same_uids_and_another_has_not(series: list[Path], tmp_path: Path) -> None:
    slices = [group[0] for group in order_series(series)[0]]
    other = a_mask()
    other[0, 0, 0] = AcdcLabel.LV
    for name, mask in (("a", a_mask()), ("b", a_mask()), ("c", other)):
        write_dicom_seg(mask, slices, tmp_path / name)
    a, b, c = (pydicom.dcmread(tmp_path / name) for name in "abc")
    assert a.SOPInstanceUID == b.SOPInstanceUID != c.SOPInstanceUID
    assert a.SeriesInstanceUID == b.SeriesInstanceUID == c.SeriesInstanceUID


def test_an_empty_mask_can_be_written(series: list[Path], tmp_path: Path) -> None:
    slices = [group[0] for group in order_series(series)[0]]
    write_dicom_seg(np.zeros(SHAPE, np.uint8), slices, tmp_path / "x_seg.dcm")
    assert not pydicom.dcmread(tmp_path / "x_seg.dcm").pixel_array.any()


def test_images_that_do_not_fit_are_refused(series: list[Path], tmp_path: Path) -> None:
    slices = [group[0] for group in order_series(series)[0]]
    with pytest.raises(DataError, match="expected an image for each of 3 slices, found 2"):
        write_dicom_seg(a_mask(), slices[:2], tmp_path / "x.dcm")
    with pytest.raises(DataError, match=r"expected \(5, 6\) pixels in every slice, found \(6, 5\)"):
        write_dicom_seg(a_mask().transpose(1, 0, 2), slices, tmp_path / "x.dcm")
    image = pydicom.dcmread(slices[1])
    del image.FrameOfReferenceUID
    image.save_as(slices[1])
    with pytest.raises(DataError, match="expected FrameOfReferenceUID for a DICOM SEG"):
        write_dicom_seg(a_mask(), slices, tmp_path / "x.dcm")
    assert not (tmp_path / "x.dcm").exists()
