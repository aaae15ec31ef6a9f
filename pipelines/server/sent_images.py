"""Images as clients send them: NIfTI, NRRD or the files of a DICOM series, taken in as NIfTI."""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from fastapi import UploadFile

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume, write_image
from pipelines.datasets.dicom import read_series
from pipelines.datasets.dicom_file import is_dicom, read_images
from pipelines.datasets.dicom_series import group_series
from pipelines.inference.inputs import DICOM_SUFFIXES
from pipelines.server.measurements import note_warnings
from pipelines.server.nrrd import read_nrrd
from pipelines.server.requests import received
from pipelines.server.sent_volume import MOST_VOXELS, sent_shape

VOLUME_SUFFIXES: Final = (".nii.gz", ".nii", ".nrrd")
"""Formats of volumes in one file."""


@contextmanager
def received_volume(uploads: Sequence[UploadFile], folder: Path) -> Iterator[Path]:
    """One image that was sent, as a NIfTI file under a name of the server's own, until the block ends.

    Args:
        uploads: One NIfTI or NRRD file, or the DICOM files of one series.
        folder: Existing folder for them.

    Raises:
        HTTPException: 400 for a single file of another format.
        DataError: If the files are no image of these, or one of more voxels than are taken.
    """
    is_series = len(uploads) > 1 or (uploads[0].filename or "").lower().endswith(DICOM_SUFFIXES)
    if is_series:
        work = folder / str(uuid.uuid4())
        work.mkdir()
        try:
            volume, warnings = _dicom_volume(uploads, work)
            write_image(work / "image.nii.gz", volume)
            note_warnings(work / "image.nii.gz", warnings)
            yield work / "image.nii.gz"
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return
    with received(uploads[0], folder, VOLUME_SUFFIXES) as path:
        if path.suffix != ".nrrd":
            yield path
            return
        image = path.with_suffix(".nii.gz")
        try:
            write_image(image, _nrrd_volume(path))
            yield image
        finally:
            image.unlink(missing_ok=True)


def _nrrd_volume(path: Path) -> Volume:
    shape = sent_shape(path)
    volume = read_nrrd(path) if len(shape) == 3 else None
    if volume is None or volume.array.dtype.kind not in "uif":
        raise DataError(f"expected one frame (3-D) of grey values, found {shape}; send the frames one by one")
    return replace(volume, array=volume.array.reshape(shape).astype(np.float32))


def _dicom_volume(uploads: Sequence[UploadFile], work: Path) -> tuple[Volume, list[str]]:
    files = []
    for number, upload in enumerate(uploads):
        path = work / f"{number:05}.dcm"
        with path.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream)
        files.append(path)
    if not all(is_dicom(path) for path in files):
        raise DataError("expected one NIfTI or NRRD file, or the DICOM files of one series, found others")
    try:
        sizes = [image.size for path in files for image in read_images(path)]
        voxels = sum(columns * rows for columns, rows in sizes)
        if not 0 < voxels <= MOST_VOXELS:
            raise DataError(f"expected an image of 1 to {MOST_VOXELS} voxels, found {voxels}")
        series, problems = group_series(files)
        if problems or len(series) != 1:
            raise DataError(
                f"expected the files of one DICOM series, found {len(series)} series"
                + "".join(f"; {problem.reason}" for problem in problems[:1])
            )
        return read_series(series[0].files)
    except DataError as error:
        raise DataError(str(error).replace(f"{work}/", "").replace(str(work), "what was sent")) from error
