"""NRRD files as 3D Slicer writes and reads them, with nibabel's geometry.

They are read here and not by a library: a header can name any other file as the place of its data, and ITK
opens it.

References:
    Definition of the format, https://teem.sourceforge.net/nrrd/format.html.
"""

import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from pipelines.core.errors import DataError, OutputError
from pipelines.core.volume import Volume

RAS_OF_LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])

RAS_OF_SPACE: Final = {
    "left-posterior-superior": RAS_OF_LPS,
    "lps": RAS_OF_LPS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}

MAX_HEADER_BYTES: Final = 1_000_000
"""Longest header with its extensions or segments."""

MAX_AXES: Final = 16
"""Most axes that the format knows."""

DTYPES: Final = {
    name: np.dtype(kind)
    for kind, names in {
        "i1": "signed char, int8, int8_t",
        "u1": "uchar, unsigned char, uint8, uint8_t",
        "i2": "short, short int, signed short, signed short int, int16, int16_t",
        "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
        "i4": "int, signed int, int32, int32_t",
        "u4": "uint, unsigned int, uint32, uint32_t",
        "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
        "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(", ")
}

ENDIANS: Final[dict[str, Literal["<", ">"]]] = {"little": "<", "big": ">"}

PACKED: Final = ("gzip", "gz")

ELSEWHERE: Final = ("datafile", "byteskip", "lineskip")
"""Fields, without spaces, that lead to data which do not follow the header."""

SPATIAL_KINDS: Final = ("domain", "space", "none", "???")


@dataclass(frozen=True, slots=True)
class NrrdHeader:
    """What the header of an NRRD file says of the data that follow it.

    Attributes:
        sizes: Length of each axis, the fastest first.
        dtype: Type of a voxel with its byte order.
        is_packed: Whether the data are in gzip.
        affine: `(4, 4)` voxel index to RAS+ millimetres of an image of three axes.
        is_spatial: Whether each axis is one of space.
        starts_at: Bytes before the data.
    """

    sizes: tuple[int, ...]
    dtype: np.dtype[Any]
    is_packed: bool
    affine: npt.NDArray[np.float64]
    is_spatial: bool
    starts_at: int


def read_nrrd(path: Path) -> Volume:
    """Volume `(X, Y, Z)` of an NRRD file, in the file's own type.

    Args:
        path: Existing file.

    Raises:
        DataError: If it is no NRRD file of one 3-D image that is followed by all its data, and no more.
    """
    header = read_nrrd_header(path)
    if len(header.sizes) != 3 or not header.is_spatial:
        raise DataError(f"expected an image of 3 dimensions, found {header.sizes}")
    announced = math.prod(header.sizes) * header.dtype.itemsize
    with path.open("rb") as stream:
        stream.seek(header.starts_at)
        # One byte more than is announced tells whether there is more.
        data = _unpacked(stream.read(), announced) if header.is_packed else stream.read(announced + 1)
    if len(data) != announced:
        found = "more" if len(data) > announced else "fewer"
        raise DataError(f"expected {announced} bytes of data after the header, found {found}")
    array = np.frombuffer(data, header.dtype).reshape(header.sizes, order="F")
    spacing = np.linalg.norm(header.affine[:3, :3], axis=0)
    native = array.astype(header.dtype.newbyteorder("="), copy=False)
    return Volume(native, header.affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def read_nrrd_header(path: Path) -> NrrdHeader:
    """What the header of an NRRD file says.

    Args:
        path: Existing file.

    Raises:
        DataError: If it is no NRRD header, a field is not of its form, or the data are elsewhere than right
            after it or in another encoding than raw and gzip.
    """
    with path.open("rb") as stream:
        block = stream.read(MAX_HEADER_BYTES)
    fields, starts_at = _fields(block)
    for name in ELSEWHERE:
        if fields.get(name, "0") != "0":
            raise DataError(
                "expected an NRRD file with its data right after the header, found a header that leads to "
                "data elsewhere; save it as one file"
            )
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", *PACKED):
        raise DataError("expected an NRRD file in the encoding raw or gzip, found another; save it again")
    try:
        sizes = tuple(_whole(word) for word in fields["sizes"].split())
        if len(sizes) > MAX_AXES:
            raise ValueError
        dtype = DTYPES[fields["type"].lower()]
        if dtype.itemsize > 1:
            dtype = dtype.newbyteorder(ENDIANS[fields["endian"].lower()])
        if _whole(fields["dimension"]) != len(sizes):
            raise ValueError
        kinds = fields.get("kinds", "").lower().split()
        affine = _affine(fields) if len(sizes) == 3 else np.eye(4)
    except (KeyError, ValueError) as error:
        raise DataError(
            "expected an NRRD file with type, dimension, sizes and, for more than one byte, endian, found a "
            "header without them or with others"
        ) from error
    is_spatial = all(kind in SPATIAL_KINDS for kind in kinds)
    return NrrdHeader(sizes, dtype, encoding in PACKED, affine, is_spatial, starts_at)


def write_nrrd(path: Path, mask: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> None:
    """Write a label map `(X, Y, Z)` as uint8 NRRD.

    Args:
        path: File to write, ending in `.nrrd`.
        mask: Label map.
        affine: `(4, 4)` voxel index to RAS+ millimetres; without shear, as ITK has no place for it.

    Raises:
        OutputError: If it cannot be written.
    """
    to_lps = RAS_OF_LPS @ affine
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OutputError(f"cannot write {path}; free some space or choose another folder") from error


def _fields(block: bytes) -> tuple[dict[str, str], int]:
    """Fields by name, in lower case without spaces, and where the data begin."""
    if not re.match(rb"NRRD000[1-5]\r?\n", block):
        raise DataError("expected an NRRD file, found a file that is no NRRD image")
    ended = re.search(rb"\n\r?\n", block)
    if ended is None:
        raise DataError("expected an NRRD file, found a file that is no NRRD image: its header does not end")
    fields: dict[str, str] = {}
    for line in block[: ended.start()].decode("latin-1").split("\n")[1:]:
        line = line.removesuffix("\r")
        name, colon, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):  # a comment, or a key that means nothing to readers
            continue
        name = re.sub(r"\s", "", name).lower()
        if not colon or name in fields:
            raise DataError(
                "expected each field of an NRRD header once, as 'name: value', found another line"
            )
        fields[name] = value.strip()
    return fields, ended.end()


def _affine(fields: dict[str, str]) -> npt.NDArray[np.float64]:
    """`(4, 4)` voxel index to RAS+ millimetres of the axes of space; in LPS where no space is named."""
    affine = np.eye(4)
    if "spacedirections" in fields:
        vectors = re.findall(r"\(([^()]*)\)", fields["spacedirections"])
        for axis, vector in enumerate(vectors[:3]):
            affine[:3, axis] = _numbers(vector)
    elif "spacings" in fields:
        steps = [float(word) for word in fields["spacings"].split()[:3]]
        affine[: len(steps), : len(steps)] = np.diag(steps)
    if "spaceorigin" in fields:
        affine[:3, 3] = _numbers(fields["spaceorigin"].strip("()"))
    space = fields.get("space", "lps").lower()
    return np.asarray(RAS_OF_SPACE[space] @ affine)


def _numbers(text: str) -> list[float]:
    numbers = [float(word) for word in text.split(",")]
    if len(numbers) != 3:
        raise ValueError
    return numbers


def _whole(word: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", word):
        raise ValueError
    return int(word)


def _unpacked(packed: bytes, announced: int) -> bytes:
    """Content of gzip data, at most one byte more than is announced."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(packed, announced + 1)
        # Its end has a checksum that is still to be read when all data are there.
        data += b"" if unpacker.eof else unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error as error:
        raise DataError(
            "expected data in gzip after the NRRD header, found damaged ones; save it again"
        ) from error
    if len(data) == announced and (not unpacker.eof or unpacker.unused_data):
        raise DataError(f"expected {announced} bytes of data in gzip, found no end or more after them")
    return data
