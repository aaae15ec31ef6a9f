"""Which files the server reads: regular ones, whole in themselves, that claim no more than it can hold.

Every file of a client and every file among the studies passes here before a library sees it. A few bytes
can claim, and a small archive can hold, more than fits into memory, and several formats can name another file
as the place of their data; what is read here is the header only, and what it may say is listed.
"""

import gzip
import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ImplicitVRLittleEndian

from pipelines.core.errors import DataError
from pipelines.core.volume import UNREADABLE, Volume, check_packing, read_grid, read_volume
from pipelines.datasets.dicom import read_series
from pipelines.datasets.dicom_file import UNREADABLE as UNREADABLE_DICOM
from pipelines.datasets.dicom_file import group_series, is_dicom, read_header
from pipelines.datasets.xray_image import FORMATS
from pipelines.inference.inputs import NIFTI_SUFFIXES
from pipelines.server.nrrd import MAX_HEADER_BYTES, read_nrrd, read_nrrd_header

MAX_VOXELS: Final = 128_000_000
"""Voxels of the largest volume or cine; one of 512 x 512 x 14 voxels and 30 frames has 110 million."""

MAX_FRAME_VOXELS: Final = 10_000_000
"""Voxels of the largest frame, which takes seconds to measure; 30 slices of 512 x 512 have 8 million."""

MAX_PIXELS: Final = 40_000_000
"""Pixels of the largest picture; a detector of 43 x 43 cm has up to 18 million."""

MAX_ALONG_AXIS: Final = 1024
"""Voxels along one axis, and frames."""

MIN_EXTENT_MM: Final = 0.01
"""Shortest side of a volume in mm; one of no length can be turned into no grid."""

MAX_EXTENT_MM: Final = 1000.0
"""Longest side of a volume in mm: networks see it on a grid of their own, which grows with it."""

MAX_VOXEL_BYTES: Final = 8

NIFTI_HEADERS: Final = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
"""Kinds of NIfTI by the length that their first four bytes tell."""

CIFTI_INTENTS: Final = range(3000, 3100)
"""Intents of NIfTI files whose extension is XML that decides how the data are read."""

STILL_IMAGES: Final = frozenset(
    f"1.2.840.10008.1.2{tail}"
    for tail in ("", ".1", ".2", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91")
)
"""Transfer syntaxes of single images that the file holds itself: plain, RLE, JPEG, JPEG-LS and JPEG 2000.

Not among them are deflated files, of which every look unpacks all, films, and those that name a server.

References:
    DICOM PS3.5, annex A, https://dicom.nema.org/medical/dicom/current/output/chtml/part05/chapter_a.html
"""

COUNT_TAGS: Final = ("Columns", "NumberOfFrames", "SamplesPerPixel")


def check_study(path: Path, root: Path) -> None:
    """Make sure that what was found among the studies may be read.

    Args:
        path: File, or link to a folder, in the studies folder.
        root: Studies folder.

    Raises:
        DataError: If it lies elsewhere, is no regular file, or its header is not admitted.
    """
    check_within(path, root)
    if path.is_dir():
        return
    check_regular(path)
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        claimed_shape(path)
    elif is_dicom(path):
        check_dicom([path])


def check_within(path: Path, root: Path) -> None:
    """Make sure that a path leads to no place outside of a folder.

    Raises:
        DataError: If it does.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"expected a file of the studies folder, found the link {path} to another place; copy it"
        )


def check_regular(path: Path) -> None:
    """Make sure that a path is a regular file: opening a pipe or a device may never end.

    Raises:
        DataError: If it is none.
    """
    if not path.is_file():
        raise DataError(
            f"expected a regular file, found nothing, a folder, a pipe or a device at {path}; remove it"
        )


def claimed_shape(path: Path) -> tuple[int, ...]:
    """Shape that a volume claims to have, without its trailing ones beyond three dimensions.

    Args:
        path: Existing `.nii`, `.nii.gz` or `.nrrd` file.

    Raises:
        DataError: If it is no regular file of that format with its data in it, or claims more than the limits
            above.
    """
    check_regular(path)
    status = path.stat()
    shape, spacing_mm, dtype = _claims(path, status.st_mtime_ns, status.st_size)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not shape or any(length < 1 for length in shape) or math.prod(shape) > MAX_VOXELS:
        raise DataError(f"expected an image of 1 to {MAX_VOXELS} voxels, found the shape {shape}")
    if math.prod(shape[:3]) > MAX_FRAME_VOXELS:
        raise DataError(f"expected at most {MAX_FRAME_VOXELS} voxels a frame, found the shape {shape}")
    if max(shape) > MAX_ALONG_AXIS:
        raise DataError(f"expected at most {MAX_ALONG_AXIS} voxels along each axis, found the shape {shape}")
    if dtype.itemsize > MAX_VOXEL_BYTES:
        raise DataError(f"expected at most {MAX_VOXEL_BYTES} bytes a voxel, found {dtype.itemsize}")
    sides = [float(length * step) for length, step in zip(shape, spacing_mm, strict=False)]
    if not all(MIN_EXTENT_MM <= side <= MAX_EXTENT_MM for side in sides):
        found = " x ".join(f"{side:.4g}" for side in sides)
        raise DataError(
            f"expected sides of {MIN_EXTENT_MM} to {MAX_EXTENT_MM:.0f} mm, found {found}; check the spacing"
        )
    return shape


def check_volume(path: Path) -> None:
    """Make sure that a NIfTI file can be read as a whole.

    Raises:
        DataError: As for `claimed_shape` and `read_volume`.
    """
    claimed_shape(path)
    read_volume(path)


def check_dicom(paths: Sequence[Path]) -> None:
    """Make sure that DICOM files hold still images themselves, together of no more than `MAX_VOXELS`.

    Args:
        paths: Existing files; those without an image, such as reports, may be among them.

    Raises:
        DataError: If one is no regular DICOM file or of another transfer syntax, or they claim more.
    """
    voxels = 0
    for path in paths:
        check_regular(path)
        try:
            # Any tag of a deflated file unpacks all of it; without a meta header a file is not compressed.
            with suppress(InvalidDicomError):
                meta = pydicom.filereader.read_file_meta_info(path)
                syntax = UID(meta.get("TransferSyntaxUID", ImplicitVRLittleEndian))
                if syntax not in STILL_IMAGES:
                    raise DataError(
                        "expected a plain, RLE, JPEG, JPEG-LS or JPEG 2000 image, found "
                        f"{syntax.name[:60]} in {path}; convert it"
                    )
            header = read_header(path)
            claimed = [int(header.get(tag) or 1) for tag in COUNT_TAGS]
            pixels = math.prod([int(header.get("Rows") or 0), *claimed])
        except UNREADABLE_DICOM as error:
            raise DataError(
                f"expected a readable DICOM file, found another at {path}; copy it again"
            ) from error
        if not 0 <= pixels <= MAX_PIXELS:
            raise DataError(f"expected at most {MAX_PIXELS} pixels in a file, found {pixels} in {path}")
        voxels += pixels
    if voxels > MAX_VOXELS:
        raise DataError(f"expected an image of at most {MAX_VOXELS} voxels, found {voxels}")


def check_picture(path: Path) -> None:
    """Make sure that a radiograph is a regular JPEG, PNG or DICOM file of at most `MAX_PIXELS`.

    Args:
        path: Existing file; its content decides, not its name.

    Raises:
        DataError: If it is another file or claims more.
    """
    check_regular(path)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        if not is_dicom(path):
            raise DataError("expected a whole JPEG, PNG or DICOM image, found another file") from error
        check_dicom([path])
        return
    if width * height > MAX_PIXELS:
        raise DataError(f"expected at most {MAX_PIXELS} pixels, found {width} x {height}; send a smaller one")


def nrrd_volume(path: Path) -> Volume:
    """Image `(X, Y, Z)`, float32, of an NRRD file.

    Raises:
        DataError: If it is none, or claims more than is admitted.
    """
    shape = claimed_shape(path)
    volume = read_nrrd(path) if len(shape) == 3 else None
    if volume is None or volume.array.dtype.kind not in "uif":
        raise DataError(f"expected one frame (3-D) of grey values, found {shape}; send the frames one by one")
    return replace(volume, array=volume.array.reshape(shape).astype(np.float32))


def dicom_volume(files: Sequence[Path]) -> Volume:
    """Image `(X, Y, Z)` or `(X, Y, Z, T)`, float32, of the DICOM files of one series.

    Raises:
        DataError: If they are none, or claim more than is admitted.
    """
    if not all(is_dicom(path) for path in files):
        raise DataError("expected one NIfTI or NRRD file, or the DICOM files of one series, found others")
    check_dicom(files)
    series, problems = group_series(files)
    if problems or len(series) != 1:
        raise DataError(
            f"expected the files of one DICOM series, found {len(series)} series"
            + "".join(f"; {problem.reason}" for problem in problems[:1])
        )
    return read_series(series[0].files)


@lru_cache(maxsize=65536)
def _claims(
    path: Path, _changed_ns: int, _size: int
) -> tuple[tuple[int, ...], Sequence[float], np.dtype[Any]]:
    """Shape, spacing in mm and type by the header, which is read again only if the file changed."""
    if path.name.lower().endswith(".nrrd"):
        header = read_nrrd_header(path)
        return header.sizes, np.linalg.norm(header.affine[:3, :3], axis=0).tolist(), header.dtype
    try:
        with gzip.open(path) if check_packing(path) else path.open("rb") as stream:
            start = stream.read(max(NIFTI_HEADERS))
            little, big = (struct.unpack(order + "i", start[:4])[0] for order in "<>")
            kind = NIFTI_HEADERS.get(little) or NIFTI_HEADERS.get(big)
            if kind is None:
                raise DataError("expected a readable NIfTI file, found a file that is no image")
            found = kind(start[: kind.sizeof_hdr], check=False)
            shape = tuple(int(length) for length in found.get_data_shape())
            if math.prod(shape) > MAX_VOXELS:
                return shape, (), np.dtype(np.uint8)
            _check_nifti(found, start, stream)
            return shape, read_grid(path)[1], found.get_data_dtype()
    except (*UNREADABLE, struct.error) as error:
        raise DataError(
            "expected a readable NIfTI file, found a file that is no image or is cut off"
        ) from error


def _check_nifti(header: Any, start: bytes, stream: Any) -> None:
    """Make sure that the data follow in the same file, after extensions that end before them."""
    if not bytes(header["magic"]).startswith(b"n+"):
        raise DataError(
            "expected a NIfTI file with its data in it, found a header whose data are in another file"
        )
    if int(header["intent_code"]) in CIFTI_INTENTS:
        raise DataError("expected a NIfTI image, found a CIFTI file")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_HEADER_BYTES:
        raise DataError(f"expected a header of at most {MAX_HEADER_BYTES} bytes, found more")
    place, end = header.sizeof_hdr + 4, int(offset)
    block = start + stream.read(max(0, end - len(start)))
    has_extensions = len(block) >= place and block[place - 4] != 0
    while has_extensions and end - place >= 16:
        length = struct.unpack(f"{header.endianness}i", block[place : place + 4])[0]
        if not 8 <= length <= end - place:
            raise DataError(
                "expected extensions of a NIfTI header that end before its data, found a longer one"
            )
        place += length
