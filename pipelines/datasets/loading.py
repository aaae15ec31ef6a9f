"""Loading the voxels of a record, wherever they come from, and going through a dataset's patients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import (
    FOREGROUND,
    LABEL_NAMES,
    UNLABELLED,
    AcdcLabel,
    Dataset,
    PatientRecord,
    Phase,
    Problem,
    VolumeRecord,
)
from pipelines.core.volume import (
    Volume,
    check_same_grid,
    read_grid,
    read_label,
    read_values,
    read_volume,
    rounded,
    slices_last,
)

LabelValues = Mapping[int, AcdcLabel]
"""Values of a dataset's label files, and what they mean here; other structures become background."""

ENCLOSED_SHARE: Final = 0.7
"""Share of the pixels around a cavity that are of one other structure where that is a ring around it.

It finds the LV in each of 160 label maps of ACDC, and in each of them with values of RV and LV exchanged.
"""

ACDC_VALUES: Final = {int(label): label for label in FOREGROUND}


def found_values(label: Volume) -> dict[int, AcdcLabel] | None:
    """What each value of a label map means, None where no cavity lies inside a ring.

    Args:
        label: `(X, Y, Z)` label map with at most three values beside 0.
    """
    array = slices_last(label)[0].array
    values = [int(value) for value in np.unique(array) if value not in (0, UNLABELLED)]
    if not 2 <= len(values) <= len(FOREGROUND):
        return None
    best, ring, cavity = 0.0, 0, 0
    across = ndimage.generate_binary_structure(2, 1)[..., None]
    for inner in values:
        region = array == inner
        outline = array[ndimage.binary_dilation(region, across) & ~region]
        for outer in values:
            share = float(np.count_nonzero(outline == outer)) / max(outline.size, 1)
            if share > best:
                best, ring, cavity = share, outer, inner
    if best < ENCLOSED_SHARE:
        return None
    rest = {value: AcdcLabel.RV for value in values if value not in (ring, cavity)}
    return {cavity: AcdcLabel.LV, ring: AcdcLabel.MYO} | rest


def check_convention(label: Volume) -> None:
    """Make sure that a label map in ACDC's values has its structures where hearts have them.

    Args:
        label: `(X, Y, Z)` label map.

    Raises:
        DataError: If the anatomy says that values mean other structures; the message names them.
    """
    found = found_values(label)
    if found is None or all(ACDC_VALUES.get(value) == meant for value, meant in found.items()):
        return
    option = ",".join(f"{LABEL_NAMES[meant]}={value}" for value, meant in sorted(found.items()))
    raise DataError(
        "expected the LV (3) inside the myocardium (2) and the RV (1) beside it, found another convention: "
        f"by its anatomy {in_words(found)} in {label.path or 'the file'}, as others have (UK Biobank and "
        f"M&Ms: LV 1, MYO 2, RV 3); map it by --label-values {option}, or name the "
        "segments of a label that is sent"
    )


def in_words(values: LabelValues) -> str:
    """Such as `LV 1, MYO 2, RV 3`."""
    return ", ".join(f"{LABEL_NAMES[meant].upper()} {value}" for value, meant in sorted(values.items()))


def parse_values(text: str) -> dict[int, AcdcLabel]:
    """Meaning of label values from a text such as `lv=1,myo=2,rv=3`.

    Raises:
        ConfigError: If it is of another form, names another structure, or a value twice.
    """
    names = {LABEL_NAMES[label]: label for label in FOREGROUND}
    found: dict[int, AcdcLabel] = {}
    for part in text.lower().replace(" ", "").split(","):
        name, _, value = part.partition("=")
        if name not in names or not value.isdigit() or int(value) in found:
            raise ConfigError(f"expected label values such as lv=1,myo=2,rv=3, found {text!r}")
        found[int(value)] = names[name]
    return found


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
        raise DataError(f"expected one frame (3-D), found {image.array.shape} in {record.image}")
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


Files = TypeVar("Files")


def check_root(name: str, root: Path) -> None:
    """Make sure that a dataset's folder is there.

    Raises:
        DataError: If it is not.
    """
    if not root.is_dir():
        raise DataError(
            f"expected the folder of the {name.upper()} release, found nothing at {root}; "
            f"'thorax datasets {name}' tells its layout"
        )


def gather(
    name: str,
    root: Path,
    cases: Mapping[str, Files],
    read: Callable[[str, Files], tuple[PatientRecord, list[Problem]]],
    *,
    expected: str,
) -> Dataset:
    """Patients of a dataset; one that cannot be read is a problem, and the rest goes on.

    Args:
        name: Reader, for messages.
        root: Folder of the dataset.
        cases: What belongs to each patient, by the patient's name.
        read: Reads one patient; the problems are of parts that were left out.
        expected: What should be below `root`, for the message when there is nothing.

    Raises:
        DataError: If no patient has a usable volume.
    """
    patients: list[PatientRecord] = []
    problems: list[Problem] = []
    for patient_name, files in cases.items():
        try:
            patient, faults = read(patient_name, files)
        except DataError as error:
            path = files if isinstance(files, Path) else root
            problems.append(Problem(patient_name, path, str(error)))
            continue
        problems += faults
        if patient.volumes:
            patients.append(patient)
    if not patients:
        reasons = "; ".join(problem.reason for problem in problems[:3]) or "no patient folders"
        raise DataError(
            f"expected {expected} below {root}, found {reasons}; 'thorax datasets {name}' tells the layout"
        )
    return Dataset(patients, problems)


def single_volume(
    patient: str,
    image: Path,
    label: Path | None,
    values: LabelValues,
    *,
    structures: tuple[AcdcLabel, ...] = FOREGROUND,
    by_anatomy: bool = False,
) -> tuple[PatientRecord, list[Problem]]:
    """A patient of whom there is one 3-D image at one moment, which counts as ED.

    Args:
        patient: Identifier.
        image: 3-D NIfTI file.
        label: NIfTI file of its label, None if the dataset gives none; one that is missing is a problem.
        values: Meaning of the label's values.
        structures: Structures that the label tells of.
        by_anatomy: Label files with values of 1 to 3 are about too, see `NiftiSource`.

    Raises:
        DataError: If the image has no readable header or is not 3-D.
    """
    shape, spacing_mm = read_grid(image)
    if len([size for size in shape if size > 1]) > 3:
        raise DataError(f"expected a 3-D volume, found the shape {shape} in {image}")
    problems = []
    if label is not None and not label.is_file():
        problems.append(Problem(patient, label, f"expected the label {label.name}, found no such file"))
        label = None
    volume = VolumeRecord(
        patient=patient,
        group="unknown",
        phase=Phase.ED,
        frame=1,
        spacing_mm=spacing_mm,
        image=image,
        label=label,
        structures=structures,
        source=NiftiSource(image, label, values, by_anatomy=by_anatomy),
    )
    return PatientRecord(patient, "unknown", (volume,)), problems
