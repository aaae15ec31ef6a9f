"""Readers of releases in NIfTI: ACDC, M&Ms, MS-CMRSeg, MM-WHS and HVSMR."""

import codecs
import csv
import math
import re
from pathlib import Path
from typing import Final

from pipelines.core.cardiac import PatientFacts
from pipelines.core.errors import DataError, expecting
from pipelines.core.records import AcdcLabel, Dataset, PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import read_grid
from pipelines.datasets.loading import NiftiSource, check_root, gather, single_volume

PARTS = ("training", "testing")


def read_acdc(root: Path) -> Dataset:
    """Patients of an ACDC folder; voxels are not read, only headers.

    Args:
        root: Existing folder: the release with `training` and `testing`, one of
            the two, or any folder of patient folders.

    Returns:
        Patients and problems. A patient with a fault is among the problems; one
        whose other phase is sound is among both.

    Raises:
        DataError: If there is no such folder or no usable patient in it.
    """
    check_root("acdc", root)
    return gather(
        "acdc",
        root,
        {folder.name: folder for folder in patient_folders(root)},
        lambda _, folder: _read_acdc_patient(folder),
        expected="patient folders with Info.cfg and frames",
    )


def patient_folders(root: Path) -> list[Path]:
    """Patient folders in name order: folders named `patient*` or with an `Info.cfg`."""
    parents = [root / part for part in PARTS if (root / part).is_dir()] or [root]
    folders = [folder for parent in parents for folder in sorted(parent.iterdir()) if folder.is_dir()]
    return [
        folder for folder in folders if folder.name.startswith("patient") or (folder / "Info.cfg").is_file()
    ]


def read_info(path: Path) -> dict[str, str]:
    """Keys and values of an `Info.cfg`, e.g. `{"ED": "1", "ES": "12", "Group": "DCM"}`.

    Raises:
        DataError: If it is missing, or a line is not `key: value`.
    """
    with expecting(f"a readable Info.cfg at {path}"):
        content = path.read_bytes()
        # Editors of Windows begin files with a mark of their encoding.
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        lines = content.decode(encoding).splitlines()
    info: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in lines)):
        key, colon, value = line.partition(":")
        if not colon:
            raise DataError(f"expected lines of 'key: value', found {line!r} in {path}")
        info[key.strip()] = value.strip()
    return info


def info_facts(folder: Path) -> PatientFacts:
    """Height and weight in the `Info.cfg` of a patient's folder, as far as it has them.

    Raises:
        DataError: If it cannot be read, or one of them is no number.
    """
    info = read_info(folder / "Info.cfg")
    height, weight = (
        _info_number(info, key, folder) if key in info else None for key in ("Height", "Weight")
    )
    return PatientFacts(height_cm=height, weight_kg=weight)


def _read_acdc_patient(folder: Path) -> tuple[PatientRecord, list[Problem]]:
    name = folder.name
    info = read_info(folder / "Info.cfg")
    group = info.get("Group", "unknown")
    frames = int(_info_number(info, "NbFrame", folder)) if "NbFrame" in info else None
    volumes: list[VolumeRecord] = []
    problems: list[Problem] = []
    for phase in Phase:
        try:
            volumes.append(_read_phase(folder, info, phase, group, frames))
        except DataError as error:
            problems.append(Problem(name, folder, str(error)))
    cine = _first(folder, f"{name}_4d")
    facts = info_facts(folder)
    patient = PatientRecord(
        patient=name,
        group=group,
        volumes=tuple(volumes),
        cine=cine,
        height_cm=facts.height_cm,
        weight_kg=facts.weight_kg,
        frames=frames,
    )
    return patient, problems


def _read_phase(
    folder: Path, info: dict[str, str], phase: Phase, group: str, frames: int | None
) -> VolumeRecord:
    if phase not in info:
        raise DataError(f"expected the frame number of {phase} in Info.cfg, found {sorted(info)}")
    frame = int(_info_number(info, phase, folder))
    if frame < 1 or (frames is not None and frame > frames):
        raise DataError(
            f"expected {phase} between frame 1 and {frames or 'the last'}, found {frame} in Info.cfg"
        )
    stem = f"{folder.name}_frame{frame:02d}"
    image = _first(folder, stem)
    if image is None:
        raise DataError(f"expected {stem}.nii.gz for {phase}, found no such file in {folder}")
    return VolumeRecord(
        patient=folder.name,
        group=group,
        phase=phase,
        frame=frame,
        spacing_mm=read_grid(image)[1],
        image=image,
        label=_first(folder, f"{stem}_gt"),
    )


def _first(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in (".nii.gz", ".nii"))
    return next((path for path in paths if path.is_file()), None)


def _info_number(info: dict[str, str], key: str, folder: Path) -> float:
    try:
        value = float(info[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"expected a number for {key} in {folder / 'Info.cfg'}, found {info[key]!r}")
    return value


VALUES_2: Final = {1: AcdcLabel.LV, 2: AcdcLabel.RV} | dict.fromkeys(range(3, 9), AcdcLabel.BACKGROUND)
"""Meaning of HVSMR-2.0's values; LA 3, RA 4, AO 5, PA 6, SVC 7 and IVC 8 become background."""

VIEWS: Final = ("sa_crop", "axial_crop", "axial_full")
"""Views of the 2016 challenge in order of preference: short axis first."""


def read_hvsmr(root: Path) -> Dataset:
    """Volumes of the 2016 challenge, one view a patient; none has labels that can be used.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    check_root("hvsmr", root)
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*_pat*.nii*")):
        match = re.fullmatch(
            r"(?:training|testing)_(sa_crop|axial_crop|axial_full)_(pat\d+)\.nii(?:\.gz)?", path.name
        )
        if match:
            found.setdefault(match[2], {})[match[1]] = path
    cases = {
        patient: next(views[view] for view in VIEWS if view in views) for patient, views in found.items()
    }
    return gather(
        "hvsmr",
        root,
        cases,
        lambda patient, image: single_volume(patient, image, None, {}, structures=()),
        expected="files training_sa_crop_patN.nii.gz",
    )


def read_hvsmr2(root: Path) -> Dataset:
    """Cropped volumes of HVSMR-2.0 with their labels of LV and RV.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    check_root("hvsmr2", root)
    cases = {
        path.name.removesuffix("_cropped.nii.gz"): path for path in sorted(root.rglob("pat*_cropped.nii.gz"))
    }
    return gather(
        "hvsmr2",
        root,
        cases,
        lambda patient, image: single_volume(
            patient,
            image,
            image.with_name(f"{patient}_cropped_seg.nii.gz"),
            VALUES_2,
            structures=(AcdcLabel.RV, AcdcLabel.LV),
        ),
        expected="files patN_cropped.nii.gz",
    )


MMWHS_VALUES: Final = {
    500: AcdcLabel.LV,
    600: AcdcLabel.RV,
    205: AcdcLabel.MYO,
    420: AcdcLabel.BACKGROUND,  # left atrium
    421: AcdcLabel.BACKGROUND,  # left atrium, as users of the data report it in one label
    550: AcdcLabel.BACKGROUND,  # right atrium
    820: AcdcLabel.BACKGROUND,  # ascending aorta
    850: AcdcLabel.BACKGROUND,  # pulmonary artery
}
"""Meaning of the label values; atria and vessels become background."""


def read_mmwhs(root: Path, name: str, modality: str) -> Dataset:
    """MRI (`mr`) or CT (`ct`) volumes: files `MODALITY_*_image.nii.gz` at any depth.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    check_root(name, root)
    cases = {
        path.name.removesuffix("_image.nii.gz"): path for path in root.rglob(f"{modality}_*_image.nii.gz")
    }

    def label_of(patient: str, image: Path) -> Path | None:
        # Some copies keep images and labels in folders of their own.
        places = (image.parent, image.parent.parent / "label", image.parent.parent / "labels")
        paths = [place / f"{patient}_label.nii.gz" for place in places]
        return next((path for path in paths if path.is_file()), paths[0] if "_train_" in patient else None)

    return gather(
        name,
        root,
        dict(sorted(cases.items())),
        lambda patient, image: single_volume(patient, image, label_of(patient, image), MMWHS_VALUES),
        expected=f"files {modality}_train_NNNN_image.nii.gz",
    )


MNMS_VALUES: Final = {1: AcdcLabel.LV, 2: AcdcLabel.MYO, 3: AcdcLabel.RV}
"""Meaning of the label values."""

COLUMNS: Final = ("External code", "ED", "ES")
"""Columns that the table must have."""


def read_mnms(root: Path) -> Dataset:
    """Patients of M&Ms with the frames at ED and ES.

    Args:
        root: Existing folder with one table (CSV) and the folders of patients at any depth.

    Raises:
        DataError: If there is no such folder, no table, or no usable patient.
    """
    check_root("mnms", root)
    table = _read_table(root)
    images = {path.name.removesuffix("_sa.nii.gz"): path for path in sorted(root.rglob("*_sa.nii.gz"))}

    def read(patient: str, image: Path) -> tuple[PatientRecord, list[Problem]]:
        if patient not in table:
            raise DataError(f"expected a row for {patient} in the table of M&Ms, found none")
        return _read_patient(patient, image, table[patient])

    dataset = gather("mnms", root, images, read, expected="files CODE_sa.nii.gz")
    for patient in sorted(table.keys() - images.keys()):
        dataset.problems.append(Problem(patient, root, f"expected {patient}_sa.nii.gz, found no such file"))
    return dataset


def _read_table(root: Path) -> dict[str, dict[str, str]]:
    for path in sorted(root.rglob("*.csv")):
        with expecting(f"a readable table at {path}"), path.open(encoding="utf-8-sig", newline="") as stream:
            start = stream.readline()
            stream.seek(0)
            # Spreadsheets in many countries write semicolons.
            separator = ";" if start.count(";") > start.count(",") else ","
            rows = list(csv.DictReader(stream, delimiter=separator))
        if rows and all(column in rows[0] for column in COLUMNS):
            return {row["External code"]: row for row in rows}
    raise DataError(
        f"expected a CSV with the columns {', '.join(COLUMNS)} below {root}, found none; "
        "copy the table that comes with M&Ms into the folder"
    )


def _read_patient(patient: str, image: Path, row: dict[str, str]) -> tuple[PatientRecord, list[Problem]]:
    shape, spacing_mm = read_grid(image)
    frames = shape[3] if len(shape) == 4 else 1
    beside = image.with_name(f"{patient}_sa_gt.nii.gz")
    label = beside if beside.is_file() else None
    problems = []
    if label is None and "Unlabeled" not in image.parts:
        problems.append(Problem(patient, beside, f"expected the label {beside.name}, found no such file"))
    group = row.get("Pathology") or "unknown"
    volumes = []
    for phase in Phase:
        whole = re.fullmatch(r"(\d+)([.,]0*)?", (row[phase] or "").strip())
        index = int(whole[1]) if whole else -1
        if not 0 <= index < frames:
            reason = f"expected {phase} between frame 0 and {frames - 1}, found {row[phase]!r} in the table"
            problems.append(Problem(patient, image, reason))
            continue
        source = NiftiSource(image, label, MNMS_VALUES, index)
        volumes.append(
            VolumeRecord(patient, group, phase, index + 1, spacing_mm, image, label, source=source)
        )
    record = PatientRecord(
        patient,
        group,
        tuple(volumes),
        cine=image,
        height_cm=_number(row.get("Height")),
        weight_kg=_number(row.get("Weight")),
        frames=frames,
    )
    return record, problems


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


MSCMR_VALUES: Final = {200: AcdcLabel.MYO, 500: AcdcLabel.LV, 600: AcdcLabel.RV}
"""Meaning of the label values."""


def read_mscmr(root: Path, name: str, sequence: str) -> Dataset:
    """Images of one sequence: files `patientN_SEQUENCE.nii.gz`, e.g. `patient1_C0.nii.gz`.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    check_root(name, root)
    # Copies that are passed around call patients subjects, LGE DE, and have labels of 1 to 3.
    sequences = {"LGE": "(?:LGE|DE)"}.get(sequence, sequence)
    pattern = re.compile(rf"(patient|subject)(\d+)_{sequences}(_manual)?\.nii(?:\.gz)?")
    cases: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in sorted(root.rglob("*.nii*")):
        if match := pattern.fullmatch(path.name):
            (labels if match[3] else cases)[f"{match[1]}{match[2]}"] = path
    in_order = sorted(cases.items(), key=lambda case: (int(re.sub(r"\D", "", case[0])), case[0]))
    return gather(
        name,
        root,
        dict(in_order),
        lambda patient, image: single_volume(
            patient, image, labels.get(patient), MSCMR_VALUES, by_anatomy=True
        ),
        expected=f"files patientN_{sequence}.nii.gz",
    )
