"""Readers of UK Biobank's short-axis cines: as DICOM (field 20209), and as `ukbb_cardiac` converts them.

UK Biobank gives no labels with its images. Folders made by `ukbb_cardiac` may hold manual ones
(`label_sa*.nii.gz`); its `seg_sa*.nii.gz` are predictions of a network and no truth, so they are not read.

In DICOM the slices are series of their own, `CINE_segmented_SAX_b1`, `_b2`, ..., or all in one series
`CINE_segmented_SAX`; a slice that was scanned again is there twice, and the last scan counts, as in
`ukbb_cardiac`. Frame 1 is ED; without labels ES is not known, and no volume is given for it.

References:
    Petersen et al., Journal of Cardiovascular Magnetic Resonance 18:8, 2016, doi:10.1186/s12968-016-0227-4;
    folders, labels and the rule for repeated series: Bai et al., Journal of Cardiovascular Magnetic
    Resonance 20:65, 2018, doi:10.1186/s12968-018-0471-x, https://github.com/baiwenjia/ukbb_cardiac
"""

import re
from pathlib import Path
from typing import Final

import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Dataset, PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import read_grid, read_values
from pipelines.datasets.dicom import DicomSource, dicom_spacing_mm, order_series
from pipelines.datasets.dicom_file import is_dicom, read_header
from pipelines.datasets.loading import NiftiSource, check_root, gather

VALUES: Final = {1: AcdcLabel.LV, 2: AcdcLabel.MYO, 3: AcdcLabel.RV}
"""Meaning of the label values of `ukbb_cardiac`."""

SHORT_AXIS: Final = re.compile(r"CINE_segmented_SAX(_b\d+)?$")
"""Names of short-axis series, and of the folders they are sorted into."""


def read_ukbb(root: Path) -> Dataset:
    """Patients converted by `ukbb_cardiac`: a folder each with `sa_ED.nii.gz` or `sa.nii.gz`.

    Raises:
        DataError: If there is no such folder or no usable patient in it.
    """
    check_root("ukbb", root)
    images = [path for name in ("sa.nii.gz", "sa_ED.nii.gz", "sa_ES.nii.gz") for path in root.rglob(name)]
    cases = {folder.name: folder for folder in sorted({path.parent for path in images})}
    return gather(
        "ukbb", root, cases, _read_converted, expected="folders of patients with sa.nii.gz or sa_ED.nii.gz"
    )


def read_ukbb_dicom(root: Path) -> Dataset:
    """Patients in DICOM: a folder each, with or without a folder for each series; no labels.

    Raises:
        DataError: If there is no such folder or no usable patient in it.
    """
    check_root("ukbb-dicom", root)
    cases = {folder.name: folder for folder in sorted(root.iterdir()) if folder.is_dir()}
    return gather("ukbb-dicom", root, cases, _read_dicom, expected="folders of patients with DICOM files")


def _read_converted(patient: str, folder: Path) -> tuple[PatientRecord, list[Problem]]:
    cine = folder / "sa.nii.gz"
    problems: list[Problem] = []
    volumes = []
    for phase in Phase:
        image, label = folder / f"sa_{phase}.nii.gz", folder / f"label_sa_{phase}.nii.gz"
        if image.is_file():
            volumes.append(_volume(patient, phase, image, label if label.is_file() else None, None))
        elif any(folder.glob("sa_E[DS].nii.gz")):
            problems.append(Problem(patient, image, f"expected {image.name}, found no such file"))
    frames = None
    if cine.is_file():
        shape, _ = read_grid(cine)
        frames = shape[3] if len(shape) == 4 else 1
        if not volumes:
            label = folder / "label_sa.nii.gz"
            indices = _labelled_frames(label) if label.is_file() else {Phase.ED: 0}
            kept = label if label.is_file() else None
            volumes = [_volume(patient, phase, cine, kept, index) for phase, index in indices.items()]
            if kept is not None and len(indices) == 1:
                problems.append(Problem(patient, label, "expected labels at ED and ES, found one frame"))
    record = PatientRecord(
        patient, "unknown", tuple(volumes), cine=cine if cine.is_file() else None, frames=frames
    )
    return record, problems


def _volume(patient: str, phase: Phase, image: Path, label: Path | None, index: int | None) -> VolumeRecord:
    return VolumeRecord(
        patient=patient,
        group="unknown",
        phase=phase,
        frame=(index or 0) + 1,
        spacing_mm=read_grid(image)[1],
        image=image,
        label=label,
        source=NiftiSource(image, label, VALUES, index),
    )


def _labelled_frames(path: Path) -> dict[Phase, int]:
    """ED, the first labelled frame, and ES, of the others the one with the smallest label; 0-based."""
    label = read_values(path).array
    if label.ndim != 4:
        raise DataError(f"expected a 4-D label beside sa.nii.gz, found the shape {label.shape} in {path}")
    voxels = np.count_nonzero(label, axis=(0, 1, 2))
    labelled = [int(index) for index in np.flatnonzero(voxels)]
    if not labelled:
        raise DataError(f"expected a labelled frame, found none in {path}")
    later = sorted(labelled[1:], key=lambda index: int(voxels[index]))
    return dict(zip(Phase, [labelled[0], *later[:1]], strict=False))


def _read_dicom(patient: str, folder: Path) -> tuple[PatientRecord, list[Problem]]:
    files, problems = _short_axis_files(patient, folder)
    if not files:
        raise DataError(f"expected DICOM files of a series CINE_segmented_SAX, found none in {folder}")
    slices, warnings = order_series(files)
    problems += [Problem(patient, folder, warning) for warning in warnings]
    volume = VolumeRecord(
        patient=patient,
        group="unknown",
        phase=Phase.ED,
        frame=1,
        spacing_mm=dicom_spacing_mm(slices),
        image=folder,
        label=None,
        source=DicomSource(tuple(frames[0] for frames in slices)),
    )
    return PatientRecord(patient, "unknown", (volume,), frames=len(slices[0])), problems


def _short_axis_files(patient: str, folder: Path) -> tuple[list[Path], list[Problem]]:
    """Files of the short-axis series, and those that cannot be read."""
    files: list[Path] = []
    problems: list[Problem] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sorted_into = path.parent.name if path.parent != folder else ""
        if sorted_into.startswith("CINE_") and not SHORT_AXIS.match(sorted_into):
            continue
        if not is_dicom(path):
            if path.suffix == ".dcm":
                problems.append(
                    Problem(patient, path, f"expected a DICOM file, found something else in {path}")
                )
            continue
        try:
            description = str(read_header(path).get("SeriesDescription", ""))
        except DataError as error:
            problems.append(Problem(patient, path, str(error)))
            continue
        if SHORT_AXIS.match(sorted_into) or SHORT_AXIS.match(description):
            files.append(path)
    return files, problems
