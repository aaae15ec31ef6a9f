"""Writer of small DICOM files as a fixture of every test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


@pytest.fixture
def write_dicom() -> Callable[..., Path]:
    """Writes a 2 x 2 MR image with the given tags in place of the usual ones; None leaves a tag out."""

    def write(path: Path, **tags: Any) -> Path:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        usual: dict[str, Any] = {
            "SOPClassUID": meta.MediaStorageSOPClassUID,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "PatientID": "anna",
            "Modality": "MR",
            "SliceThickness": 8.0,
            "Rows": 2,
            "Columns": 2,
            "PixelSpacing": [1.5, 1.5],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [0, 0, 0],
            "InstanceNumber": 1,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            "PixelData": np.arange(4, dtype="<u2").tobytes(),
        }
        for name, value in (usual | tags).items():
            if value is not None:
                setattr(image, name, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, image, **strict())
        return path

    return write


def strict() -> dict[str, bool]:
    """Option for a whole file header, which pydicom 3 renamed."""
    if int(pydicom.__version__.split(".")[0]) >= 3:
        return {"enforce_file_format": True}
    return {"write_like_original": False}
