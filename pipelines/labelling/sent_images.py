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

from pipelines.datasets.nifti import Volume, write_image
from pipelines.errors import DataError
from pipelines.inference.dicom import read_series
from pipelines.inference.dicom_series import group_series, is_dicom
from pipelines.inference.inputs import DICOM_SUFFIXES
from pipelines.labelling.admission import UNREADABLE_DICOM, check_dicom, claimed_shape
from pipelines.labelling.nrrd import read_nrrd
from pipelines.labelling.requests import received

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
            write_image(work / "image.nii.gz", _dicom_volume(uploads, work))
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
    shape = claimed_shape(path)
    volume = read_nrrd(path) if len(shape) == 3 else None
    if volume is None or volume.array.dtype.kind not in "uif":
        raise DataError(f"expected one frame (3-D) of grey values, found {shape}; send the frames one by one")
    return replace(volume, array=volume.array.reshape(shape).astype(np.float32))


def _dicom_volume(uploads: Sequence[UploadFile], work: Path) -> Volume:
    files = []
    for number, upload in enumerate(uploads):
        path = work / f"{number:05}.dcm"
        with path.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream)
        files.append(path)
    if not all(is_dicom(path) for path in files):
        raise DataError("expected one NIfTI or NRRD file, or the DICOM files of one series, found others")
    try:
        check_dicom(files)
        series, problems = group_series(files)
        if problems or len(series) != 1:
            raise DataError(f"expected the files of one DICOM series, found {len(series)} series")
        return read_series(series[0].files)[0]
    except UNREADABLE_DICOM as error:
        raise DataError("expected readable DICOM files, found tags of another form") from error
