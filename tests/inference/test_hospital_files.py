"""Files as hospitals have them: each command gives the right volume, a warning or a reason, and all the same.

The kinds are those of public bug reports of other tools. The heart of `intensity_hearts` stands in for
hearts, and a predictor that reads labels from intensities for networks.
"""

import gzip
import itertools
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from cohort_stand_ins import StandInModel
from dicom_files import write_dicom_image
from intensity_hearts import IntensityPredictor, heart, rows

from pipelines.cohort.worker import CohortWorker, Task, list_studies, read_results
from pipelines.core.errors import DataError
from pipelines.core.volume import read_volume
from pipelines.inference.segment import Tools, segment
from pipelines.server.admission import dicom_volume
from pipelines.server.images import StudyImages
from pipelines.server.measurements import measure
from pipelines.watching.ledger import Ledger
from pipelines.watching.processing import StudyProcessor
from pipelines.watching.units import Arrivals, Units, Waits
from pipelines.watching.worker import Job

AFFINE = np.diag([-2.0, -2.0, 10.0, 1.0])
"""As those of ACDC: left, posterior, superior, base first."""

NIFTI_ML = 16 * 16 * 4 * 0.04
DICOM_ML = 16 * 16 * 4 * 1.4 * 1.4 * 8 / 1000
FRAMES = 4
RADII = (8, 6, 5, 6)


@dataclass
class Answer:
    """What a command made of a folder: LV volume at ED of each study, and all that it told."""

    lv_ml: list[float] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def by_segment(folder: Path, output: Path) -> Answer:
    answer = Answer()
    try:
        segment([folder], output, IntensityPredictor())
    except DataError as error:
        answer.words.append(str(error))
    table = rows(output / "indices.csv") if (output / "indices.csv").is_file() else []
    answer.lv_ml = [float(row["lv_edv_ml"] or row["lv_ml_unknown_phase"]) for row in table]
    answer.words += [row["warnings"] for row in table]
    answer.words += [row["reason"] for row in rows(output / "problems.csv")] if table else []
    return answer


def by_cohort(folder: Path, output: Path) -> Answer:
    answer = Answer()
    try:
        studies, problems = list_studies(folder)
    except DataError as error:
        return Answer([], [str(error)])
    model = StandInModel()
    (task,) = [Task("p", tuple(studies)).as_row()]
    CohortWorker(model, str(output), 1, model.record())({name: [value] for name, value in task.items()})
    for row in read_results(output).to_pylist():
        answer.words += [row["error"] or "", *(row["warnings"] or ()), *(row["problems"] or ())]
        if row["error"] is None:
            answer.lv_ml.append(row["lv_edv_ml"] or row["lv_ml_unknown_phase"])
    answer.words += [problem.reason for problem in problems]
    return answer


def by_watch(folder: Path, output: Path) -> Answer:
    output.mkdir()
    answer = Answer()
    ledger = Ledger(output / "ledger.sqlite")
    arrivals = Arrivals([folder], ledger, leave_out=output, clock=itertools.count(0, 1000).__next__)
    units = Units(ledger, Waits(1, 1))
    arrivals.look()
    processor = StudyProcessor()
    processor.__dict__["_tools"] = Tools(IntensityPredictor(), pictures=False)
    for number, unit in enumerate(units.ready(arrivals.look())):
        work = output / str(number)
        work.mkdir()
        try:
            if unit.problem:
                raise DataError(unit.problem)
            told = processor(Job(unit.kind, unit.files, work))
        except DataError as error:
            answer.words.append(str(error))
            continue
        answer.lv_ml.append(told["indices"]["lv_edv_ml"] or told["volumes_ml"]["lv"])
        answer.words += told["warnings"]
    with sqlite3.connect(output / "ledger.sqlite") as base:
        answer.words += [f"passed over: {reason}" for (reason,) in base.execute("SELECT reason FROM sources")]
    return answer


def by_server(folder: Path, _: Path) -> Answer:
    images = StudyImages(folder, lambda cine: (0, 2))
    images.scan()
    answer = Answer([], [problem.reason for problem in (*images.problems, *images.passed_over)])
    found: dict[str, float] = {}
    for image in images.all():
        try:
            volume = read_volume(image.path)
        except DataError as error:
            answer.words.append(str(error))
            continue
        told = measure(IntensityPredictor().predict(volume).mask, volume)
        answer.words += told["warnings"]
        key = image.id.removesuffix("_ED").removesuffix("_ES")
        found[key] = max(found.get(key, 0.0), told["volumes_ml"]["lv"])
    answer.lv_ml = list(found.values())
    return answer


COMMANDS = {"segment": by_segment, "cohort": by_cohort, "watch": by_watch, "serve": by_server}


def nifti(
    path: Path, array: np.ndarray | None = None, affine: np.ndarray = AFFINE, **header: Any
) -> nib.Nifti1Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(heart(8) if array is None else array, affine)
    image.set_sform(affine, 1)
    for name, value in header.items():
        image.header[name] = value
    image.to_filename(path)
    return image


def dicom(
    folder: Path,
    change: Callable[[pydicom.Dataset, int, int], Any] = lambda image, z, t: None,
    *,
    series: str = "1.2.3.4",
    frames: int = FRAMES,
) -> None:
    """A cine, a file for each slice `z` and frame `t`; `change` changes tags, or leaves one out by False."""
    for t, radius in enumerate(RADII[:frames]):
        frame = np.clip(heart(radius), 0, None)
        for z in range(frame.shape[2]):
            path = folder / f"{z}_{t}.dcm"
            number = z * frames + t + 1
            write_dicom_image(
                path, frame[:, :, z], z_mm=8.0 * z, time_ms=30.0 * t, number=number, series=series
            )
            image = pydicom.dcmread(path)
            if change(image, z, t) is False:
                path.unlink()
            else:
                image.save_as(path)


def sets(**tags: Any) -> Callable[[pydicom.Dataset, int, int], None]:
    """A change that sets tags; a function gets the slice and the frame."""

    def change(image: pydicom.Dataset, z: int, t: int) -> None:
        for name, value in tags.items():
            setattr(image, name, value(z, t) if callable(value) else value)

    return change


def hand_written(path: Path, rows_of_sform: np.ndarray) -> None:
    """A header whose sform nibabel would not write beside this pixdim."""
    nifti(path)
    whole = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(whole[:348]))
    for name, values in zip(("srow_x", "srow_y", "srow_z"), rows_of_sform[:3], strict=True):
        header[name] = values
    whole[:348] = header.binaryblock
    path.write_bytes(whole)


def turned(path: Path, axis: int) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, axis] * (heart(8).shape[axis] - 1)
    affine[:3, axis] *= -1
    nifti(path, np.flip(heart(8), axis), affine)


def z_of_sform(folder: Path) -> None:
    affine = AFFINE.copy()
    affine[2, 2] *= 0.8
    hand_written(folder / "a.nii", affine)


def sheared(folder: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 2] = 6.0
    nifti(folder / "a.nii.gz", affine=affine, qform_code=0)


def mirrored(folder: Path) -> None:
    for axis in range(3):
        turned(folder / f"{axis}.nii.gz", axis)


def units(code: int, factor: float) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        nifti(folder / "a.nii.gz", affine=np.diag([factor] * 3 + [1]) @ AFFINE, xyzt_units=code)

    return make


def several(*names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            nifti(folder / f"{name}.nii.gz")

    return make


def with_labels(folder: Path) -> None:
    nifti(folder / "heart.nii.gz")
    drawn = np.round(heart(8) / 100).astype(np.uint8)
    for name, factor in (("label_sa_ED", 1), ("labelsTr/ACDC_001", 1), ("drawn", 100), ("painted", 85)):
        nifti(folder / f"{name}.nii.gz", drawn * np.uint8(factor if factor != 100 else 80))
    nifti(folder / "nearly.nii.gz", drawn * np.float32(1.0000002))


def two_patients(folder: Path) -> None:
    for name in ("P1", "P2"):
        dicom(folder / name, sets(PatientID=name))


def scanned_again(folder: Path) -> None:
    dicom(folder)
    for t in range(FRAMES):
        image = pydicom.dcmread(folder / f"2_{t}.dcm")
        image.InstanceNumber, image.AcquisitionNumber = 1000 + t, 2
        image.SOPInstanceUID = f"{image.SOPInstanceUID}.9"
        image.save_as(folder / f"again_{t}.dcm")
        first = pydicom.dcmread(folder / f"2_{t}.dcm")
        first.PixelData = (first.pixel_array // 2).tobytes()
        first.save_as(folder / f"2_{t}.dcm")


def bare(folder: Path) -> None:
    dicom(folder)
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        image.is_implicit_VR = True
        image.preamble = None
        plain = pydicom.dataset.FileDataset(None, pydicom.Dataset(image), is_implicit_VR=True)
        plain.is_little_endian, plain.is_implicit_VR = True, True
        plain.save_as(path, write_like_original=True)


def with_localiser(folder: Path) -> None:
    dicom(folder)
    for number, cosines in enumerate(([1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])):
        image = pydicom.dcmread(folder / "0_0.dcm")
        image.ImageOrientationPatient, image.SOPInstanceUID = cosines, f"1.9.{number}"
        image.save_as(folder / f"localiser_{number}.dcm")


def jpeg_ls_beside(folder: Path) -> None:
    dicom(folder / "cine")
    image = pydicom.dcmread(folder / "cine" / "2_1.dcm")
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"
    image.PixelData = pydicom.encaps.encapsulate([image.PixelData])
    image.save_as(folder / "cine" / "2_1.dcm")


def packed_against_its_name(folder: Path) -> None:
    nifti(folder / "sound.nii.gz")
    nifti(folder / "whole.nii.gz")
    (folder / "plain.nii").write_bytes((folder / "whole.nii.gz").read_bytes())
    (folder / "whole.nii.gz").write_bytes(gzip.decompress((folder / "whole.nii.gz").read_bytes()))


def pair(folder: Path) -> None:
    nifti(folder / "sound.nii.gz")
    nib.save(nib.Nifti1Pair(heart(8), AFFINE), folder / "pair.img")


def wide(folder: Path) -> None:
    image = np.zeros((400, 400, 6), np.float32) + np.random.default_rng(0).uniform(-20, 20, (400, 400, 6))
    image[330:370, 330:366] = heart(8)
    nifti(folder / "a.nii.gz", image.astype(np.float32), np.diag([-1.0, -1.0, 10.0, 1.0]))


def frames_as_slices(folder: Path) -> None:
    beat = np.concatenate([heart(8 - abs(t % 6 - 3) // 2)[:, :, 2:3] for t in range(30)], axis=2)
    nifti(folder / "a.nii.gz", beat)


def changed_order(folder: Path) -> None:
    cine = np.stack([heart(radius) for radius in RADII], axis=3)
    nifti(folder / "a.nii.gz", cine.transpose(3, 0, 1, 2))


def cut_off(folder: Path) -> None:
    dicom(folder)
    (folder / "4_2.dcm").write_bytes((folder / "4_2.dcm").read_bytes()[:-100])
    (folder / "empty.dcm").write_bytes(b"")


@dataclass(frozen=True)
class Case:
    """A folder, LV volumes that are right for it, and words that every command must tell, in any case."""

    make: Callable[[Path], Any]
    lv_ml: tuple[float, ...]
    words: str = ""


CASES = {
    "sform of another slice distance": Case(z_of_sform, (0.8 * NIFTI_ML,), "the header contradicts itself"),
    "sform a placeholder": Case(
        lambda folder: hand_written(folder / "a.nii", np.eye(4)), (NIFTI_ML,), "placeholder"
    ),
    "sheared": Case(sheared, (NIFTI_ML,), "slices are shifted in plane"),
    "mirrored": Case(mirrored, (NIFTI_ML,) * 3),
    "name with segmented": Case(several("plain", "CINE_segmented_SAX_b1"), (NIFTI_ML,) * 2),
    "names in other scripts": Case(
        several("患者一", "患者二", "Søren", "So\u0308ren", "بیمار", "مريض"), (NIFTI_ML,) * 6
    ),
    "two patients, one series UID": Case(two_patients, (DICOM_ML,) * 2),
    "slice scanned again": Case(scanned_again, (DICOM_ML,), "slice 3 was scanned 2 times"),
    "one SOP UID": Case(lambda folder: dicom(folder, sets(SOPInstanceUID="1.2.9")), (DICOM_ML,)),
    "no meta header": Case(bare, (DICOM_ML,)),
    "labels under any name": Case(with_labels, (NIFTI_ML,), "passed over: a label map"),
    "metre": Case(units(1, 1e-3), (NIFTI_ML,)),
    "micron": Case(units(3, 1e3), (NIFTI_ML,)),
    "metre that is millimetre": Case(units(1, 1.0), (NIFTI_ML,), "the unit is taken for millimetre"),
    "centimetre": Case(units(2, 0.1), (), "may be in centimetres"),
    "localiser in the series": Case(with_localiser, (DICOM_ML,), "localiser"),
    "missing frame": Case(
        lambda folder: dicom(folder, lambda image, z, t: (z, t) != (4, 2)), (DICOM_ML,), "frame 3 is missing"
    ),
    # Those that were not among the reports:
    "a file cut off": Case(cut_off, (DICOM_ML,), "frame 3 is missing in slice 5"),
    "an empty file": Case(cut_off, (DICOM_ML,), "it is empty"),
    "missing slice": Case(
        lambda folder: dicom(folder, lambda image, z, t: z != 3), (), "copy the missing slice"
    ),
    "equal trigger times": Case(lambda folder: dicom(folder, sets(TriggerTime=0)), (DICOM_ML,)),
    "no series UID": Case(
        lambda folder: dicom(folder, lambda image, z, t: delattr(image, "SeriesInstanceUID")), (DICOM_ML,)
    ),
    "a series UID for each slice": Case(
        lambda folder: dicom(folder, sets(SeriesInstanceUID=lambda z, t: f"1.2.3.{z + 1}")), (DICOM_ML,)
    ),
    "phases with magnitudes": Case(
        lambda folder: [
            dicom(folder / "m", sets(ImageType=["ORIGINAL", "PRIMARY", "M"])),
            dicom(
                folder / "p",
                sets(
                    ImageType=["ORIGINAL", "PRIMARY", "P"], SOPInstanceUID=lambda z, t: f"1.8.{z * 9 + t + 1}"
                ),
            ),
        ],
        (DICOM_ML,),
        "phases or velocities are left out",
    ),
    "two echoes": Case(
        lambda folder: [dicom(folder / str(echo), sets(EchoTime=echo)) for echo in (2, 8)],
        (),
        "expected one contrast in a series",
    ),
    "a slice of another size": Case(
        lambda folder: dicom(
            folder,
            lambda image, z, t: (
                sets(Rows=34, PixelData=image.pixel_array[:34].tobytes())(image, z, t) if z == 5 else None
            ),
        ),
        (DICOM_ML,),
        "it is resampled",
    ),
    "CT": Case(lambda folder: dicom(folder, sets(Modality="CT"), frames=1), (), "modality"),
    "damaged JPEG-LS of one frame": Case(jpeg_ls_beside, (), "copy it again or decompress it"),
    "gzip against the suffix": Case(packed_against_its_name, (NIFTI_ML,), "gzip"),
    "hdr and img": Case(pair, (NIFTI_ML,), "convert the pair"),
    "complex voxels": Case(
        lambda folder: nifti(folder / "a.nii.gz", heart(8).clip(0).astype(np.complex64)),
        (NIFTI_ML,),
        "complex",
    ),
    "beyond the central field": Case(wide, (16 * 16 * 4 * 0.01,), "central 288 mm"),
    "frames as slices": Case(frames_as_slices, (), "more than a heart"),
    "frames first": Case(changed_order, (), "expected slices at least 50 mm wide"),
    "RGB": Case(
        lambda folder: nifti(
            folder / "a.nii.gz", np.zeros((40, 36, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
        ),
        (),
        "RGB",
    ),
    "NaN": Case(
        lambda folder: nifti(folder / "a.nii.gz", np.where(heart(8) > 250, np.nan, heart(8))), (), "NaN"
    ),
}


@pytest.mark.filterwarnings("ignore")  # of pydicom, about the tags
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", CASES)
def test_each_command_gives_the_right_volume_or_tells_what_is_wrong(
    name: str, command: str, tmp_path: Path
) -> None:
    case = CASES[name]
    (tmp_path / "in").mkdir()
    case.make(tmp_path / "in")
    answer = COMMANDS[command](tmp_path / "in", tmp_path / "out")
    told = "; ".join(answer.words)
    assert case.words in told
    if case.lv_ml:
        assert sorted(answer.lv_ml) == pytest.approx(sorted(case.lv_ml), rel=0.01)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["two patients, one series UID", "phases with magnitudes", "no meta header"])
def test_a_series_that_is_sent_is_read_as_one_of_a_folder(name: str, tmp_path: Path) -> None:
    CASES[name].make(tmp_path)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    if len(CASES[name].lv_ml) == 2:
        with pytest.raises(DataError, match="expected the files of one DICOM series, found 2"):
            dicom_volume(files)
        return
    volume = dicom_volume(files)
    assert CASES[name].words in "; ".join(volume.warnings)
    assert volume.array.shape[3] == FRAMES
