"""NRRD files as 3D Slicer writes and reads them, with nibabel's geometry."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume

RAS_OF_LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nrrd(path: Path) -> Volume:
    """Volume of an NRRD file, `(X, Y, Z)` or with components last, in the file's own type.

    Args:
        path: Existing file.

    Raises:
        DataError: If it is no NRRD image.
    """
    try:
        image = sitk.ReadImage(str(path), imageIO="NrrdImageIO")
    except RuntimeError as error:
        raise DataError("expected an NRRD file, found a file that is no NRRD image") from error
    dimension = image.GetDimension()
    stored = sitk.GetArrayFromImage(image)
    # Components come last in ITK already; axes of space come first.
    array: npt.NDArray[Any] = stored.transpose(*reversed(range(dimension)), *range(dimension, stored.ndim))
    if dimension != 3:
        raise DataError(f"expected an image of 3 dimensions, found {array.shape}")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    dx, dy, dz = (float(length) for length in image.GetSpacing())
    return Volume(array, RAS_OF_LPS @ affine, (dx, dy, dz))


def write_nrrd(path: Path, mask: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> None:
    """Write a label map `(X, Y, Z)` as uint8 NRRD.

    Args:
        path: File to write, ending in `.nrrd`.
        mask: Label map.
        affine: `(4, 4)` voxel index to RAS+ millimetres; without shear, as ITK has no place for it.
    """
    to_lps = RAS_OF_LPS @ affine
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)
