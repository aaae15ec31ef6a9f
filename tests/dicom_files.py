"""Writer of a DICOM series for tests."""

from pathlib import Path

import nibabel as nib
import numpy as np
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
