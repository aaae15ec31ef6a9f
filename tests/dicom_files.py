"""Writer of a DICOM series for tests."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk


def write_dicom_series(cine: Path, folder: Path) -> None:
    """The first frame of a cine as a DICOM series, one file a slice."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    stack = np.asarray(nib.load(cine).dataobj)[..., 0]
    for z in range(stack.shape[2]):
        image = sitk.GetImageFromArray(stack[:, :, z].T.astype(np.uint16))
        image.SetSpacing((1.4, 1.4))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
            "0008|0018": f"1.2.3.4.{z + 1}",  # of the image
            "0008|0060": "MR",
            "0010|0020": "phantom",
            "0020|000d": "1.2.3",  # of the study
            "0020|000e": "1.2.3.4",  # of the series
            "0020|0013": str(z + 1),
            "0020|0032": f"0\\0\\{8 * z}",  # position
            "0020|0037": "1\\0\\0\\0\\1\\0",  # direction
            "0018|0050": "8",  # slice thickness, mm
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{z:03}.dcm"))
        writer.Execute(image)


def write_dicom_image(
    path: Path, pixels: np.ndarray, *, z_mm: float, time_ms: float, number: int, series: str, name: str = ""
) -> None:
    """One DICOM file from pixels `(X, Y)`, with 1.4 mm pixels, 8 mm slices and upright directions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", series
    dataset.Modality, dataset.PatientID, dataset.SeriesDescription = "MR", "generated", name
    dataset.InstanceNumber, dataset.TriggerTime = number, time_ms
    dataset.ImagePositionPatient = [0, 0, z_mm]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1.4, 1.4], 8
    dataset.Columns, dataset.Rows = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.T.astype(np.uint16).tobytes()
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.save_as(path, write_like_original=False)
