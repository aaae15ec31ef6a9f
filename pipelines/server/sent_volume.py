"""Volumes in the formats that clients send; run by `PARSER`, so what is imported here is little."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume
from pipelines.datasets.dicom import read_series
from pipelines.datasets.dicom_file import group_series, is_dicom
from pipelines.server.admission import check_dicom, claimed_shape
from pipelines.server.nrrd import read_nrrd


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
    volume, warnings = read_series(series[0].files)
    return replace(volume, warnings=tuple(warnings))
