"""Volumes that a dataset keeps as DICOM files."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.core.volume import Volume
from pipelines.datasets.dicom import read_series
from pipelines.datasets.dicom_file import read_header


@dataclass(frozen=True, slots=True)
class DicomSource:
    """One frame of a short-axis series, without a label.

    Attributes:
        files: The frame's file of each slice.
    """

    files: tuple[Path, ...]

    def read_image(self) -> Volume:
        """Image `(X, Y, Z)`, float32, slices from the lowest along their normal.

        Raises:
            DataError: As for `read_series`.
        """
        return read_series(self.files)[0]

    def read_label(self) -> Volume | None:
        """None: there is no label."""
        return None


def dicom_spacing_mm(slices: list[list[Path]]) -> tuple[float, float, float]:
    """`(dx, dy, dz)` in mm of an ordered series from headers; dz is 0 if one slice does not tell it.

    Args:
        slices: Files by slice and frame, as from `order_series`.
    """
    first = read_header(slices[0][0])
    row_gap, column_gap = (float(value) for value in first.PixelSpacing)
    if len(slices) == 1:
        return column_gap, row_gap, float(first.get("SliceThickness") or 0.0)
    last = read_header(slices[-1][0])
    away = [
        float(b) - float(a)
        for a, b in zip(first.ImagePositionPatient, last.ImagePositionPatient, strict=True)
    ]
    length = sum(step * step for step in away) ** 0.5
    return column_gap, row_gap, length / (len(slices) - 1)
