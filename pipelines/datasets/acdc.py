"""Reader of the ACDC release: patient folders with `Info.cfg`, frames, labels and cine.

References:
    Bernard et al., IEEE TMI 37(11), 2018, doi:10.1109/TMI.2018.2837502.
"""

import codecs
import math
from pathlib import Path

from pipelines.core.cardiac_figures import PatientFacts
from pipelines.core.errors import DataError
from pipelines.core.records import Dataset, PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import read_grid
from pipelines.datasets.loading import check_root, gather

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
    try:
        content = path.read_bytes()
        # Editors of Windows begin files with a mark of their encoding.
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        lines = content.decode(encoding).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected a readable Info.cfg, found {path}: {error}") from error
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
    height, weight = (_info_number(info, key, folder) if key in info else None for key in ("Height", "Weight"))
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
