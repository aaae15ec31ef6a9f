"""Tests of single DICOM files: without a meta header, compressed, cut off, of another kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_pixel_data_frame
from pydicom.uid import generate_uid

from pipelines.core.cardiac import PatientFacts, Sex
from pipelines.core.errors import DataError
from pipelines.datasets.dicom import read_series
from pipelines.datasets.dicom_file import decode, is_dicom, read_dataset, read_facts, read_header, read_images

WriteDicom = Callable[..., Path]


def test_first_bytes_tell_dicom_from_other_files(tmp_path: Path, write_dicom: WriteDicom) -> None:
    text = tmp_path / "notes"
    text.write_text("no image", encoding="utf-8")
    assert is_dicom(write_dicom(tmp_path / "IM1", SeriesInstanceUID=generate_uid()))
    assert not is_dicom(text)
    assert not is_dicom(tmp_path)
    with pytest.raises(DataError, match="readable DICOM"):
        read_header(text)


@pytest.mark.parametrize("is_implicit", [True, False])
def test_a_file_without_meta_header_is_read(
    tmp_path: Path, write_dicom: WriteDicom, *, is_implicit: bool
) -> None:
    whole = write_dicom(tmp_path / "whole.dcm", SeriesInstanceUID="1.2.3")
    bare = Dataset(pydicom.dcmread(whole))
    bare.is_little_endian, bare.is_implicit_VR = True, is_implicit
    bare.save_as(tmp_path / "bare", write_like_original=True)
    assert (tmp_path / "bare").read_bytes()[128:132] != b"DICM"
    assert is_dicom(tmp_path / "bare")
    found, expected = (read_series([path]).array for path in (tmp_path / "bare", whole))
    np.testing.assert_array_equal(found, expected)


def test_jpeg_ls_has_the_values_of_the_file_without_compression() -> None:
    plain, packed = (Path(get_testdata_file(f"MR_small{name}.dcm")) for name in ("", "_jpeg_ls_lossless"))
    np.testing.assert_array_equal(decode(read_dataset(packed), packed), decode(read_dataset(plain), plain))


@pytest.fixture
def jpeg_lossless(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A file in JPEG Lossless and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 4000, (64, 48)).astype(np.uint16)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.Execute(sitk.GetImageFromArray(pixels[None]))
    return tmp_path / "packed.dcm", pixels


def test_jpeg_lossless_is_decoded_before_it_is_rescaled(jpeg_lossless: tuple[Path, np.ndarray]) -> None:
    path, pixels = jpeg_lossless
    image = pydicom.dcmread(path)
    image.RescaleSlope, image.RescaleIntercept = 3, -7
    image.save_as(path)
    dataset = read_dataset(path)
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    np.testing.assert_array_equal(decode(dataset, path)[0], pixels)


def test_a_compressed_image_that_is_cut_off_is_an_error(jpeg_lossless: tuple[Path, np.ndarray]) -> None:
    path, _ = jpeg_lossless
    image = pydicom.dcmread(path)
    frame = next(generate_pixel_data_frame(image.PixelData, 1))
    image.PixelData = encapsulate([frame[: len(frame) // 2]])
    image.save_as(path)
    with pytest.raises(DataError, match="can be decoded"):
        decode(read_dataset(path), path)


def test_sizes_that_no_image_has_are_refused_before_memory_is_taken(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    path = write_dicom(tmp_path / "large.dcm", Rows=65535, Columns=65535)
    with pytest.raises(DataError, match="4294836225 pixels"):
        decode(read_dataset(path), path)


def test_a_segmentation_is_no_image(tmp_path: Path, write_dicom: WriteDicom) -> None:
    with pytest.raises(DataError, match="found a DICOM segmentation"):
        read_images(write_dicom(tmp_path / "seg.dcm", Modality="SEG"))


def test_an_image_whose_header_is_cut_off_is_an_error(tmp_path: Path, write_dicom: WriteDicom) -> None:
    whole = write_dicom(tmp_path / "whole.dcm", SeriesInstanceUID="1.2.3")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(DataError, match="cut.dcm"):
        read_images(cut)


def test_facts_of_the_patient_come_with_their_units(tmp_path: Path, write_dicom: WriteDicom) -> None:
    path = write_dicom(tmp_path / "a.dcm")
    assert read_facts(path) == PatientFacts()
    header = pydicom.dcmread(path)
    header.PatientSize, header.PatientWeight, header.PatientSex = 1.8, 80, "F"
    header.PatientBirthDate, header.StudyDate, header.NominalInterval = "19600301", "20200301", 800
    header.Manufacturer, header.ManufacturerModelName, header.MagneticFieldStrength = "Maker", "Scan 1", 1.5
    header.save_as(path)
    found = read_facts(path)
    assert found.scanner == "Maker Scan 1 1.5 T"
    assert (found.height_cm, found.weight_kg, found.sex) == (180.0, 80.0, Sex.FEMALE)
    assert (found.age_years, found.heart_rate_bpm) == pytest.approx((60.0, 75.0), abs=0.01)
    assert found.study_date == "2020-03-01"
    header.PatientAge, header.HeartRate, header.PatientSex = "006M", 62, "O"
    header.save_as(path)
    found = read_facts(path)
    assert (found.age_years, found.heart_rate_bpm, found.sex) == (0.5, 62.0, None)
