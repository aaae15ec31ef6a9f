"""Readers of releases in DICOM: Sunnybrook and UK Biobank."""

import csv
import re
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon

from pipelines.core.errors import DataError, expecting
from pipelines.core.records import UNLABELLED, AcdcLabel, Dataset, PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import Volume, read_grid, read_values
from pipelines.datasets.dicom import DicomSource, dicom_spacing_mm, order_series
from pipelines.datasets.dicom_file import is_dicom, read_header
from pipelines.datasets.loading import NiftiSource, check_root, gather

INNER, OUTER = "icontour", "ocontour"
TABLE_NAME: Final = "scd_patientdata.csv"

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ContourSource:
    """One frame in DICOM, labelled by contours.

    Attributes:
        files: The frame's DICOM file of each slice, from the lowest along their normal.
        inner: File with the inner contour by index of the slice.
        outer: File with the outer contour by index of the slice; empty if the frame has none.
    """

    files: tuple[Path, ...]
    inner: tuple[tuple[int, Path], ...]
    outer: tuple[tuple[int, Path], ...]

    def read_image(self) -> Volume:
        """Image `(X, Y, Z)` of the frame, float32.

        Raises:
            DataError: As for `read_series`.
        """
        return DicomSource(self.files).read_image()

    def read_label(self) -> Volume:
        """Label map `(X, Y, Z)`, uint8: LV, MYO and background in contoured slices, else `UNLABELLED`.

        Raises:
            DataError: If the image or a contour cannot be read.
        """
        image = self.read_image()
        label = np.full(image.array.shape, UNLABELLED, dtype=np.uint8)
        outer = dict(self.outer)
        for z, path in self.inner:
            if outer and z not in outer:
                continue
            plane = np.zeros(image.array.shape[:2], dtype=np.uint8)
            if outer:
                _fill(plane, read_contour(outer[z]), AcdcLabel.MYO)
            _fill(plane, read_contour(path), AcdcLabel.LV)
            label[:, :, z] = plane
        return replace(image, array=label)


def read_sunnybrook(root: Path) -> Dataset:
    """Patients of Sunnybrook with the contoured frames at ED and ES.

    Args:
        root: Existing folder that holds `scd_patientdata.csv`, the contours
            (`SC-HF-I-01/contours-manual/IRCCI-expert`) and the images
            (`SCD0000101/CINESAX_300`), each at any depth.

    Raises:
        DataError: If there is no such folder, no table, or no usable patient.
    """
    check_root("sunnybrook", root)
    table = _read_table(root)
    series = {folder.parent.name: folder for folder in sorted(root.rglob("CINESAX*")) if folder.is_dir()}
    contours = {
        _plain(folder.parent.parent.name): folder
        for folder in sorted(root.rglob("IRCCI-expert"))
        if folder.is_dir()
    }

    def read(patient: str, row: dict[str, str]) -> tuple[PatientRecord, list[Problem]]:
        original = _plain(row["OriginalID"])
        if patient not in series or original not in contours:
            missing = "CINESAX folder" if patient not in series else f"contours of {row['OriginalID']}"
            raise DataError(f"expected images and contours of {patient}, found no {missing} below {root}")
        return _read_patient(patient, row.get("Pathology") or "unknown", series[patient], contours[original])

    return gather(
        "sunnybrook", root, table, read, expected="images and contours of the patients in the table"
    )


def read_contour(path: Path) -> Points:
    """Points `(N, 2)` of a contour: column and row in pixels.

    Raises:
        DataError: If the file cannot be read or holds fewer than three points.
    """
    with expecting(f"lines of column and row in {path}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy warns of an empty file, refused below
        points: Points = np.loadtxt(path, dtype=np.float64, ndmin=2)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise DataError(f"expected three points or more with column and row, found {points.shape} in {path}")
    return points


def _fill(plane: npt.NDArray[np.uint8], points: Points, label: AcdcLabel) -> None:
    columns, rows = polygon(points[:, 0], points[:, 1], shape=plane.shape)
    plane[columns, rows] = label


def _read_table(root: Path) -> dict[str, dict[str, str]]:
    paths = sorted(root.rglob(TABLE_NAME))
    wanted = f"{TABLE_NAME} with PatientID and OriginalID below {root}"
    with (
        expecting(wanted, advice="it tells which contours belong to which images"),
        paths[0].open(encoding="utf-8-sig", newline="") as stream,
    ):
        return {row["PatientID"]: row for row in csv.DictReader(stream) if row["OriginalID"]}


def _plain(identifier: str) -> str:
    """`SC-HF-I-01` and `SC-HF-I-1` alike: the table has no leading zeros, folders have."""
    return re.sub(r"-0*(\d+)$", r"-\1", identifier.strip())


def _read_patient(
    patient: str, group: str, series: Path, contours: Path
) -> tuple[PatientRecord, list[Problem]]:
    slices, warnings = order_series(sorted(series.glob("*.dcm")))
    place = {
        path.stem.rpartition("-")[2]: (z, frame)
        for z, group_of_slice in enumerate(slices)
        for frame, path in enumerate(group_of_slice)
    }
    found: dict[str, dict[int, dict[int, Path]]] = {INNER: {}, OUTER: {}}
    problems = [Problem(patient, series, warning) for warning in warnings]
    for path in sorted(contours.glob("IM-*-*contour-manual.txt")):
        match = re.fullmatch(r"IM-\d+-(\d+)-([io]contour)-manual\.txt", path.name)
        if match is None:
            continue
        if match[1] not in place:
            problems.append(
                Problem(patient, path, f"expected an image *-{match[1]}.dcm in {series}, found none")
            )
            continue
        z, frame = place[match[1]]
        found[match[2]].setdefault(frame, {})[z] = path
    frames, faults = _contoured_frames(patient, contours, found[INNER])
    spacing_mm = dicom_spacing_mm(slices)
    volumes = []
    for phase, frame in frames.items():
        outer = found[OUTER].get(frame, {})
        volumes.append(
            VolumeRecord(
                patient=patient,
                group=group,
                phase=phase,
                frame=frame + 1,
                spacing_mm=spacing_mm,
                image=series,
                label=contours,
                structures=(AcdcLabel.MYO, AcdcLabel.LV) if outer else (AcdcLabel.LV,),
                source=ContourSource(
                    tuple(group_of_slice[frame] for group_of_slice in slices),
                    tuple(sorted(found[INNER][frame].items())),
                    tuple(sorted(outer.items())),
                ),
            )
        )
    record = PatientRecord(patient, group, tuple(volumes), frames=len(slices[0]))
    return record, problems + faults


def _contoured_frames(
    patient: str, contours: Path, inner: dict[int, dict[int, Path]]
) -> tuple[dict[Phase, int], list[Problem]]:
    """Frames at ED and ES, 0-based: the two with the most contours, ED with the larger mean area."""
    if not inner:
        raise DataError(f"expected inner contours (IM-*-icontour-manual.txt), found none in {contours}")
    most = [
        frame for frame, _ in Counter({frame: len(slices) for frame, slices in inner.items()}).most_common(2)
    ]
    area = {frame: np.mean([_area(read_contour(path)) for path in inner[frame].values()]) for frame in most}
    in_order = sorted(most, key=lambda frame: -area[frame])
    problems = [
        Problem(patient, path, f"expected contours in two frames, found one in frame {frame + 1}; left out")
        for frame in sorted(inner.keys() - set(most))
        for path in inner[frame].values()
    ]
    if len(most) == 1:
        problems.append(
            Problem(patient, contours, "expected contours at ED and ES, found one frame; taken as ED")
        )
    return dict(zip(Phase, in_order, strict=False)), problems


def _area(points: Points) -> float:
    """Area inside a contour in pixels, by the shoelace formula."""
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))


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
