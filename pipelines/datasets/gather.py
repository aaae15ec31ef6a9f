"""What every reader of a dataset does: go through the patients, put aside what is broken, and go on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.core.records import Dataset, PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import read_grid
from pipelines.datasets.label_convention import LabelValues
from pipelines.datasets.loading import NiftiSource

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
    group: str = "unknown",
    structures: tuple[AcdcLabel, ...] = FOREGROUND,
    by_anatomy: bool = False,
) -> tuple[PatientRecord, list[Problem]]:
    """A patient of whom there is one 3-D image at one moment, which counts as ED.

    Args:
        patient: Identifier.
        image: 3-D NIfTI file.
        label: NIfTI file of its label, None if the dataset gives none; one that is missing is a problem.
        values: Meaning of the label's values.
        group: Disease group.
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
        group=group,
        phase=Phase.ED,
        frame=1,
        spacing_mm=spacing_mm,
        image=image,
        label=label,
        structures=structures,
        source=NiftiSource(image, label, values, by_anatomy=by_anatomy),
    )
    return PatientRecord(patient, group, (volume,)), problems
