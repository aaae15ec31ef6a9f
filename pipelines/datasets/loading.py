"""The one place that loads the voxels of a record, wherever the dataset keeps them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.labels import UNLABELLED, AcdcLabel
from pipelines.core.records import VolumeRecord
from pipelines.core.volume import Volume, check_same_grid, read_label, read_values, read_volume, rounded
from pipelines.datasets.label_convention import LabelValues, check_convention, found_values


@dataclass(frozen=True, slots=True)
class NiftiSource:
    """One frame of NIfTI files whose labels have the values of another convention.

    Attributes:
        image: 3-D or 4-D NIfTI file.
        label: NIfTI file on the same grid, 3-D or 4-D, or None.
        values: Meaning of each label value that may stand in the file.
        index: Frame of 4-D files, 0-based; None for 3-D files.
        by_anatomy: Files with values of 1 to 3 are about too, which are told by a cavity inside a ring.
    """

    image: Path
    label: Path | None
    values: LabelValues
    index: int | None = None
    by_anatomy: bool = False

    def read_image(self) -> Volume:
        """Image `(X, Y, Z)` of the frame, float32.

        Raises:
            DataError: As for `read_volume`, and if the frame is not there.
        """
        return _frame(read_volume(self.image), self.index)

    def read_label(self) -> Volume | None:
        """Label map `(X, Y, Z)` of the frame, uint8 with values from `AcdcLabel`.

        Raises:
            DataError: As for `read_volume`, and if a value is not among `values`.
        """
        if self.label is None:
            return None
        stored = _frame(read_values(self.label), self.index)
        stored = replace(stored, array=rounded(stored.array))
        values = self.values
        if self.by_anatomy and stored.array.max() <= max(AcdcLabel):
            found = found_values(stored)
            if found is None:
                raise DataError(
                    f"expected a cavity inside a ring that tells the label values, found none in {self.label}"
                )
            values = found
        label = replace(stored, array=map_labels(stored.array, values, self.label))
        check_convention(label)
        return label


def load_image(record: VolumeRecord) -> Volume:
    """Image `(X, Y, Z)` of a record, float32.

    Raises:
        DataError: If it cannot be read, or is not one 3-D frame.
    """
    image = record.source.read_image() if record.source else read_volume(record.image)
    if image.array.ndim != 3:
        raise DataError(f"expected a 3-D volume of one phase, found {image.array.shape} in {record.image}")
    return image


def load_label(record: VolumeRecord) -> Volume | None:
    """Label map `(X, Y, Z)` of a record, uint8; None if it has none.

    Values are those of `AcdcLabel`, and `UNLABELLED` where nobody annotated. Of structures that are
    not among `record.structures` the map says nothing: there is no voxel of them, which means that
    they were not labelled, not that they are absent.

    Raises:
        DataError: If it cannot be read, or holds a value that the dataset does not know.
    """
    if record.source:
        return record.source.read_label()
    if record.label is None:
        return None
    label = read_label(record.label)
    if label.array.ndim == 3:
        check_convention(label)
    return label


def with_values(record: VolumeRecord, values: LabelValues) -> VolumeRecord:
    """The record with label values that mean what is given here."""
    return replace(record, source=NiftiSource(record.image, record.label, values))


def load_pair(record: VolumeRecord) -> tuple[Volume, Volume]:
    """Image and label of a record on one grid, as `load_image` and `load_label` give them.

    Raises:
        DataError: If one cannot be read, there is no label, or the grids differ.
    """
    image, label = load_image(record), load_label(record)
    if label is None:
        raise DataError(f"expected a label for {record.patient} {record.phase}, found none at {record.image}")
    check_same_grid(image, label)
    return image, replace(
        label, affine=image.affine, spacing_mm=image.spacing_mm, is_oriented=image.is_oriented
    )


def without_unlabelled(
    mask: npt.NDArray[Any], label: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """Both masks with background where nobody annotated, so that neither gains or loses there.

    Args:
        mask: `(X, Y, Z)` predicted label map.
        label: `(X, Y, Z)` label map, `UNLABELLED` where nobody annotated.
    """
    unknown = label == UNLABELLED
    if not unknown.any():
        return mask, label
    return np.where(unknown, mask.dtype.type(0), mask), np.where(unknown, np.uint8(0), label)


def map_labels(stored: npt.NDArray[Any], values: LabelValues, path: Path) -> npt.NDArray[np.uint8]:
    """Label map in ACDC's convention.

    Args:
        stored: Label map as the dataset has it.
        values: Meaning of each value; 0 is background and need not be named.
        path: File it is from, for the message.

    Raises:
        DataError: If a value has no meaning.
    """
    known = {0: AcdcLabel.BACKGROUND, **values}
    found = np.unique(stored)
    wrong = [float(value) for value in found if value not in known]
    if wrong:
        raise DataError(f"expected label values {sorted(known)}, found {wrong[:5]} in {path}")
    mapped = np.zeros(stored.shape, dtype=np.uint8)
    for value in found:
        mapped[stored == value] = known[int(value)]
    return mapped


def _frame(volume: Volume, index: int | None) -> Volume:
    if index is None:
        return volume
    if volume.array.ndim != 4 or not 0 <= index < volume.array.shape[3]:
        raise DataError(
            f"expected a cine with a frame {index + 1}, found the shape {volume.array.shape} in {volume.path}"
        )
    return volume.frame(index)
