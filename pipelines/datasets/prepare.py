"""From a dataset folder to a checked datalist with a patient-wise split."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from pipelines.core.errors import DataError, expecting
from pipelines.core.files import output_folder, read_json, write_json
from pipelines.core.progress import progress_to, show_progress
from pipelines.core.records import (
    FOREGROUND,
    LABEL_NAMES,
    AcdcLabel,
    PatientRecord,
    Phase,
    Problem,
    VolumeRecord,
)
from pipelines.core.volume import (
    AFFINE_TOLERANCE_MM,
    Volume,
    slices_last,
    write_image,
    write_label,
)
from pipelines.datasets.duplicates import image_hashes, without_copies
from pipelines.datasets.loading import LabelValues, load_pair, with_values
from pipelines.datasets.nifti_releases import read_acdc

FOLDS = 5
HOLDOUT_FRACTION = 0.2


def split_patients(
    groups: Mapping[str, str], *, seed: int = 0, test_patients: Iterable[str] | None = None
) -> dict[str, int | str]:
    """Part of each patient: `"test"` or the number of its fold, 0 to 4.

    Patients of each group are shuffled and dealt in turn, the test set first,
    so that parts differ by at most one patient a group.

    Args:
        groups: Disease group of each patient.
        seed: Seed of the shuffle; the split depends on it and the names alone.
        test_patients: Published test set that replaces the drawn one.

    Returns:
        `{patient: "test" | fold}`, with an entry for every patient.

    Raises:
        DataError: If a published test patient is unknown, or no two patients are left to train and validate.
    """
    fixed = set(test_patients) if test_patients is not None else None
    if fixed is not None and (unknown := fixed - set(groups)):
        raise DataError(
            f"expected test patients that the dataset holds, found {sorted(unknown)[:5]} that it does not; "
            "correct the file of test patients"
        )
    shuffled = _shuffled(groups, seed)
    if fixed is None:
        ranked = sorted(
            ((rank + 0.5) / len(names), group, patient)
            for group, names in shuffled.items()
            for rank, patient in enumerate(names)
        )
        fixed = {patient for _, _, patient in ranked[: round(HOLDOUT_FRACTION * len(groups))]}
    rest = [patient for names in shuffled.values() for patient in names if patient not in fixed]
    if len(rest) < 2:
        raise DataError(
            f"expected at least 2 patients to train and validate on, found {len(rest)} of {len(groups)} "
            "outside the test split"
        )
    parts: dict[str, int | str] = dict.fromkeys(fixed, "test")
    parts |= {patient: index % FOLDS for index, patient in enumerate(rest)}
    return dict(sorted(parts.items()))


def _shuffled(groups: Mapping[str, str], seed: int) -> dict[str, list[str]]:
    """Patients of each group in random order, groups by name."""
    generator = np.random.default_rng(seed)
    by_group: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(groups):
        by_group[groups[patient]].append(patient)
    return {group: generator.permutation(by_group[group]).tolist() for group in sorted(by_group)}


def split_by_fraction(
    groups: Mapping[str, str], fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, str]:
    """Part of each patient, with the same fractions of every group.

    A group of at least as many patients as parts has one in each.

    Args:
        groups: Group of each patient.
        fractions: Fraction of each part; the last takes what is left.
        seed: Seed of the shuffle; the split depends on it and the names alone.
    """
    parts: dict[str, str] = {}
    *leading, rest = fractions
    for names in _shuffled(groups, seed).values():
        count = len(names)
        for part in leading:
            drawn = max(1, round(fractions[part] * count)) if count >= len(fractions) else 0
            parts |= dict.fromkeys(names[:drawn], part)
            names = names[drawn:]
        parts |= dict.fromkeys(names, rest)
    return dict(sorted(parts.items()))


def read_test_patients(path: Path) -> list[str]:
    """Patient names of a published split, one a line; `#` starts a comment.

    Raises:
        DataError: If the file is missing or names no patient.
    """
    if not path.is_file():
        raise DataError(f"expected a text file with a patient a line, found nothing at {path}")
    names = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    if not any(names):
        raise DataError(f"expected a patient a line, found none in {path}")
    return [name for name in names if name]


def split_hash(parts: Mapping[str, int | str]) -> str:
    """First 16 hex digits of the SHA-256 of a split, for manifests."""
    text = "\n".join(f"{patient} {parts[patient]}" for patient in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_patient(patient: PatientRecord) -> tuple[PatientRecord, list[Problem]]:
    """The patient with its sound volumes, and what was skipped.

    ED is the frame with the larger LV cavity; a patient whose `Info.cfg` says
    the reverse is skipped whole, since either the phases or the labels are wrong.

    Args:
        patient: As read from the dataset; every voxel of it is read here.

    Returns:
        A copy that holds the sound, labelled volumes (perhaps none) and the problems.
    """
    sound: list[VolumeRecord] = []
    problems: list[Problem] = []
    lv_ml: dict[Phase, float] = {}
    for volume in patient.volumes:
        try:
            label = check_volume(volume)
        except DataError as error:
            problems.append(Problem(patient.patient, volume.image, str(error)))
            continue
        sound.append(volume)
        voxel_ml = float(np.prod(label.spacing_mm)) / 1000
        lv_ml[volume.phase] = float((label.array == AcdcLabel.LV).sum()) * voxel_ml
    if len(lv_ml) == len(Phase) and lv_ml[Phase.ED] < lv_ml[Phase.ES]:
        reason = (
            f"expected the LV at ED not smaller than at ES, found {lv_ml[Phase.ED]:.1f} mL and "
            f"{lv_ml[Phase.ES]:.1f} mL; swap ED and ES in Info.cfg if the frames are exchanged"
        )
        problems.append(Problem(patient.patient, patient.volumes[0].image.parent, reason))
        sound = []
    return PatientRecord(patient.patient, patient.group, tuple(sound), patient.cine), problems


def check_volume(volume: VolumeRecord) -> Volume:
    """Label of a volume that is fit for training.

    Raises:
        DataError: If the label is missing, image or label cannot be read, the intensities
            are wrapped, grids differ, or a structure is absent from the whole volume.
    """
    if volume.label is None:
        raise DataError(f"expected a label {volume.image.name.partition('.')[0]}_gt.nii.gz, found none")
    image, label = load_pair(volume)
    if image.is_unwrapped:
        raise DataError(
            f"expected intensities above 0, found uint16 stored as int16 in {volume.image}; store it again"
        )
    absent = [LABEL_NAMES[structure] for structure in FOREGROUND if not (label.array == structure).any()]
    if absent:
        raise DataError(
            f"expected RV, MYO and LV in the label, found no {', '.join(absent)} in {volume.label}"
        )
    return label


DATALIST_NAME = "datalist.json"
VOLUMES_NAME = "volumes"
"""Folder of the volumes that training could not read as they were."""

ALL_PATIENTS = -1
"""Fold number that trains on every patient, the test set included."""

Section = Literal["training", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Preparation:
    """What `prepare_acdc` found.

    Attributes:
        datalist: Path of the file written.
        patients: Number of usable patients.
        volumes: Number of usable volumes.
        problems: What was skipped, and why.
    """

    datalist: Path
    patients: int
    volumes: int
    problems: list[Problem]


def prepare_acdc(
    root: Path,
    output: Path,
    *,
    seed: int = 0,
    test_patients: Iterable[str] | None = None,
    label_values: LabelValues | None = None,
) -> Preparation:
    """Check every patient of an ACDC folder and write its datalist.

    The datalist (`datalist.json`) lists each sound volume with its patient,
    group, phase, spacing, a fingerprint of its files, a hash of its voxels, and its part: `"test"` or
    a fold, 0 to 4. Of patients with the same images one stays, see `without_copies`.

    Args:
        root: Existing folder in ACDC's layout.
        output: Folder to write to; made if it does not exist.
        seed: Seed of the split.
        test_patients: Published test set that replaces the drawn one.
        label_values: What the values of the label files mean where they are not those of `AcdcLabel`.

    Raises:
        DataError: If nothing usable is found, or too little to train and validate.
        OutputError: If `output` cannot be written.
    """
    output_folder(output)
    dataset = read_acdc(root)
    problems = list(dataset.problems)
    patients: list[PatientRecord] = []
    for index, patient in enumerate(dataset.patients):
        show_progress(index, len(dataset.patients), patient.patient)
        if label_values:
            patient = replace(
                patient, volumes=tuple(with_values(one, label_values) for one in patient.volumes)
            )
        checked, faults = check_patient(patient)
        problems += faults
        if checked.volumes:
            patients.append(checked)
    if not patients:
        reasons = "; ".join(f"{problem.patient}: {problem.reason}" for problem in problems[:3])
        raise DataError(f"expected at least one sound, labelled patient below {root}, found none: {reasons}")
    groups = {patient.patient: patient.group for patient in patients}
    parts = split_patients(groups, seed=seed, test_patients=test_patients)
    hashes = image_hashes(volume for patient in patients for volume in patient.volumes)
    patients, copies = without_copies(patients, parts, hashes, keep_test=test_patients is not None)
    problems += copies
    volumes = [
        _item(_plain(volume, output), parts, hashes[volume.image])
        for patient in patients
        for volume in patient.volumes
    ]
    path = write_datalist(output, root, volumes, seed=seed, put_aside=problems)
    return Preparation(path, len(patients), len(volumes), problems)


def _plain(volume: VolumeRecord, output: Path) -> VolumeRecord:
    """The volume in files that training reads as they are, written anew where its own are none.

    Training reads whole labels 0 to 3, millimetres, and stacks in the order of `slices_last`.
    """
    image, label = load_pair(volume)
    assert volume.label is not None
    stack, mask = slices_last(image)[0], slices_last(label)[0]
    stored = nib.load(volume.label)
    is_plain = (
        volume.source is None
        and np.array_equal(stack.affine, image.affine)
        and np.allclose(nib.load(volume.image).affine, image.affine, atol=AFFINE_TOLERANCE_MM)
        and np.array_equal(np.squeeze(np.asarray(stored.dataobj)), np.squeeze(label.array))
        and not image.warnings
    )
    if is_plain:
        return volume
    folder = output / VOLUMES_NAME / volume.patient
    written = replace(
        volume,
        image=folder / f"{volume.image.name.partition('.nii')[0]}.nii.gz",
        label=folder / f"{volume.label.name.partition('.nii')[0]}.nii.gz",
        spacing_mm=stack.spacing_mm,
        source=None,
    )
    # Slices shifted against each other have no place in an affine that training can turn.
    axes = stack.affine[:3, :3] / stack.spacing_mm
    is_square = np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)
    dx, dy, dz = stack.spacing_mm
    affine = stack.affine if is_square and stack.is_oriented else np.diag([-dx, -dy, dz, 1.0])
    write_image(written.image, replace(stack, affine=affine, is_oriented=True))
    assert written.label is not None
    write_label(written.label, mask.array, affine)
    return written


def write_datalist(
    folder: Path,
    root: Path,
    volumes: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    put_aside: Iterable[Problem] = (),
) -> Path:
    """Write `datalist.json`, which training and evaluation read.

    Args:
        folder: Folder to write to; made if it does not exist.
        root: Folder that the volumes come from.
        volumes: Items with `image`, `label`, `patient`, `part` and `fingerprint`; those of a patient are
            all in one part.
        seed: Seed of the split.
        put_aside: What was not taken, and why.

    Returns:
        Path of the file.

    Raises:
        OutputError: If it cannot be written.
    """
    path = output_folder(folder) / DATALIST_NAME
    joined = "".join(item["fingerprint"] for item in volumes)
    content = {
        "format": 1,
        "root": root.resolve(),
        "seed": seed,
        "split_hash": split_hash({item["patient"]: item["part"] for item in volumes}),
        "fingerprint": hashlib.sha256(joined.encode()).hexdigest()[:16],
        "volumes": list(volumes),
        "put_aside": [asdict(problem) for problem in put_aside],
    }
    write_json(path, content)
    return path


def read_datalist(path: Path, *, kind: Literal["volumes", "images"] = "volumes") -> dict[str, Any]:
    """Content of a datalist.

    Args:
        path: The file, or the folder that holds it.
        kind: What it lists: volumes of ACDC, or images of chest radiographs.

    Raises:
        DataError: If it is missing or is no datalist.
    """
    file = path / DATALIST_NAME if path.is_dir() else path
    dataset = "acdc" if kind == "volumes" else "chest-xray"
    with expecting(f"a datalist of {kind} at {file}", advice=f"make one with 'thorax prepare {dataset}'"):
        content: dict[str, Any] = read_json(file)
        other = "images" if kind == "volumes" else "volumes"
        if kind not in content and other in content:
            raise DataError(
                f"expected a datalist of {kind} at {file}, found one of {other}; choose a network for them"
            )
        content[kind][0]["fingerprint"]
    return content


@progress_to(None)
def load_or_prepare(dataset_dir: str | Path, output: str | Path, *, seed: int = 0) -> dict[str, Any]:
    """Datalist of a prepared folder, or of a raw ACDC folder, which is prepared first.

    Args:
        dataset_dir: Folder with a `datalist.json`, or in ACDC's layout.
        output: Folder that takes the datalist of a raw folder; it is made again on each call.
        seed: Seed of the split of a raw folder.

    Raises:
        DataError: As for `prepare_acdc` and `read_datalist`.
    """
    folder = Path(dataset_dir)
    if not (folder / DATALIST_NAME).is_file():
        folder = prepare_acdc(folder, Path(output), seed=seed).datalist.parent
    return read_datalist(folder)


def select(datalist: dict[str, Any], section: Section, fold: int | None) -> list[dict[str, Any]]:
    """Items `{"image", "label", "patient", ...}` of one section of a datalist.

    Args:
        datalist: As from `read_datalist`.
        section: `"training"` is every fold but `fold`, `"validation"` is `fold`, `"test"` the test set.
        fold: 0 to 4; `ALL_PATIENTS` trains on every patient, and still validates on fold 0,
            whose figures are then no estimate of anything but progress; None leaves no fold out.

    Raises:
        DataError: If the section is empty.
    """
    everything = fold == ALL_PATIENTS
    wanted = {
        "training": lambda part: everything or part not in ("test", fold),
        "validation": lambda part: part == (0 if everything else fold),
        "test": lambda part: part == "test",
    }[section]
    items = [item for item in datalist["volumes"] if wanted(item["part"])]
    if not items:
        raise DataError(
            f"expected volumes in the {section} section of fold {fold}, found none; use folds 0 to 4"
        )
    return items


def is_datalist(path: Path) -> bool:
    """Whether a path is a datalist, by its name, or a folder with one."""
    return path.name == DATALIST_NAME or (path / DATALIST_NAME).is_file()


def section_records(root: Path, section: Section, fold: int | None) -> list[PatientRecord] | None:
    """Patients of a section, if `root` is a datalist or has one; None if it is a dataset's folder.

    Args:
        root: Datalist, folder of one, or folder of a dataset.
        section: Which patients.
        fold: Fold that validation stands for, None for none.

    Raises:
        DataError: As for `read_datalist` and `select`.
    """
    if not is_datalist(root):
        return None
    return patient_records(select(read_datalist(root), section, fold))


def patient_records(items: Iterable[Mapping[str, Any]]) -> list[PatientRecord]:
    """Patients, in name order, with the volumes that items of a datalist describe."""
    volumes: dict[str, list[VolumeRecord]] = defaultdict(list)
    for item in items:
        volumes[item["patient"]].append(
            VolumeRecord(
                patient=item["patient"],
                group=item["group"],
                phase=Phase(item["phase"]),
                frame=item["frame"],
                spacing_mm=tuple(item["spacing_mm"]),
                image=Path(item["image"]),
                label=Path(item["label"]),
            )
        )
    return [PatientRecord(name, found[0].group, tuple(found)) for name, found in sorted(volumes.items())]


def _item(volume: VolumeRecord, parts: Mapping[str, int | str], content_hash: str) -> dict[str, Any]:
    if volume.label is None:
        raise DataError(f"expected a label for {volume.image}")
    return {
        "image": str(volume.image.resolve()),
        "label": str(volume.label.resolve()),
        "patient": volume.patient,
        "group": volume.group,
        "phase": volume.phase.value,
        "frame": volume.frame,
        "spacing_mm": volume.spacing_mm,
        "part": parts[volume.patient],
        "fingerprint": fingerprint(volume.image, volume.label),
        "content_hash": content_hash,  # MONAI takes keys that begin with "image_" for metadata
    }


def fingerprint(*paths: Path) -> str:
    """First 16 hex digits of the SHA-256 of files' bytes, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
