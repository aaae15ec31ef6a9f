"""The header of a volume that a client sent, looked at before anything is unpacked."""

import gzip
import math
import struct
from pathlib import Path
from typing import Final

import nibabel as nib
import SimpleITK as sitk

from pipelines.core.errors import DataError
from pipelines.core.volume import UNREADABLE

MOST_VOXELS: Final = 64_000_000
"""Voxels of the largest volume that is taken; a stack of 512 x 512 x 30 has 8 million."""

MOST_HEADER_BYTES: Final = 1_000_000
"""Longest header with its extensions."""

HEADERS: Final = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
"""Kinds of NIfTI by the length that their first four bytes tell."""


def sent_shape(path: Path) -> tuple[int, ...]:
    """Shape that a file claims to have, without its trailing ones beyond three dimensions.

    A few bytes can claim, and a small archive can hold, more than fits into memory.

    Args:
        path: Existing `.nii`, `.nii.gz` or `.nrrd` file.

    Raises:
        DataError: If it is no such image, or claims more than `MOST_VOXELS`.
    """
    name = path.name.lower()
    shape = _nrrd_shape(path) if name.endswith(".nrrd") else _nifti_shape(path)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if any(length < 1 for length in shape) or math.prod(shape) > MOST_VOXELS:
        raise DataError(f"expected an image of 1 to {MOST_VOXELS} voxels, found the shape {shape}")
    return shape


def _nifti_shape(path: Path) -> tuple[int, ...]:
    is_packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            start = stream.read(max(HEADERS))
            kind = HEADERS.get(struct.unpack("<i", start[:4])[0]) or HEADERS.get(
                struct.unpack(">i", start[:4])[0]
            )
            if kind is None:
                raise DataError("expected a NIfTI file, found a file that is no image")
            header = kind(start[: kind.sizeof_hdr], check=False)
            if not 0 <= header["vox_offset"] <= MOST_HEADER_BYTES:
                raise DataError(f"expected a header of at most {MOST_HEADER_BYTES} bytes, found more")
            return tuple(int(length) for length in header.get_data_shape())
    except (*UNREADABLE, struct.error) as error:
        raise DataError(f"expected a NIfTI file, found a file that is no image: {error}") from error


def _nrrd_shape(path: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError("expected an NRRD file, found a file that is no NRRD image") from error
    return (*map(int, reader.GetSize()), reader.GetNumberOfComponents())
