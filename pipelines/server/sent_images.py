"""Images as clients send them: NIfTI, NRRD or the files of a DICOM series, taken in as NIfTI."""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastapi import UploadFile

from pipelines.core.volume import write_image
from pipelines.inference.inputs import DICOM_SUFFIXES
from pipelines.server.measurements import note_warnings
from pipelines.server.requests import received
from pipelines.server.sent_volume import dicom_volume, nrrd_volume
from pipelines.server.worker import PARSER

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
            volume = PARSER.call(dicom_volume, _saved(uploads, work))
            write_image(work / "image.nii.gz", volume)
            note_warnings(work / "image.nii.gz", volume.warnings)
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
            write_image(image, PARSER.call(nrrd_volume, path))
            yield image
        finally:
            image.unlink(missing_ok=True)


def _saved(uploads: Sequence[UploadFile], work: Path) -> list[Path]:
    files = []
    for number, upload in enumerate(uploads):
        path = work / f"{number:05}.dcm"
        with path.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream)
        files.append(path)
    return files
