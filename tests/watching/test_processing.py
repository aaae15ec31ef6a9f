"""Tests of what is done with a study, with a predictor that reads labels from intensities."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom_image
from intensity_hearts import IntensityPredictor, acdc_patient, heart, lv_ml, save

from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.inference.fhir import write_fhir
from pipelines.inference.segment import StudyOptions, StudyResult, Tools
from pipelines.models.heart import Predictor
from pipelines.quality.model import QualityEstimator
from pipelines.watching.processing import StudyProcessor
from pipelines.watching.units import Kind
from pipelines.watching.worker import Job


@pytest.fixture
def processor() -> StudyProcessor:
    """With DICOM segmentations, and without a network."""
    made = StudyProcessor(seg=True)
    made.__dict__["_tools"] = Tools(IntensityPredictor())
    return made


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def dicom_cine(folder: Path, radii: list[int]) -> tuple[Path, ...]:
    """A cine whose LV has these radii, a file for each slice and frame."""
    frames = [np.clip(heart(radius), 0, None) for radius in radii]
    for index, frame in enumerate(frames):
        for z in range(frame.shape[2]):
            number = index * 100 + z + 1
            path = folder / f"{number}.dcm"
            write_dicom_image(
                path, frame[:, :, z], z_mm=8.0 * z, time_ms=30.0 * index, number=number, series="1.2.3.4"
            )
            image = pydicom.dcmread(path)
            image.FrameOfReferenceUID = "1.2.3.9"
            image.save_as(path)
    return tuple(sorted(folder.iterdir()))


def test_a_cine_in_dicom_has_indices_pictures_and_a_segmentation_each_of_ed_and_es(
    processor: StudyProcessor, work: Path, tmp_path: Path
) -> None:
    said = processor(Job(Kind.HEART, dicom_cine(tmp_path / "anna", [6, 8, 5]), work))
    assert (said["patient"], said["frame_ed"], said["frame_es"]) == ("generated", 2, 3)
    assert said["heart_rate_source"] is None  # three frames are no beat
    assert said["indices"]["lv_ef_percent"] == pytest.approx(100 * (1 - 25 / 64), abs=0.01)
    assert not [warning for warning in said["warnings"] if "DICOM" in warning]
    assert {path.name for path in work.iterdir()} == {
        "anna_seg.nii.gz",
        "anna_curve.png",
        "anna_ED_overlay.png",
        "anna_ES_overlay.png",
        "anna_ED_seg.dcm",
        "anna_ES_seg.dcm",
        "anna_sr.dcm",
    }
    numbers = {}
    for phase in ("ED", "ES"):
        found = pydicom.dcmread(work / f"anna_{phase}_seg.dcm")
        numbers[phase] = (found.InstanceNumber, found.ContentDescription)
        segments = [
            frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            for frame in found.PerFrameFunctionalGroupsSequence
        ]
        lv = sum(
            int(pixels.sum())
            for pixels, number in zip(found.pixel_array, segments, strict=True)
            if number == 3
        )
        assert lv == (2 * {"ED": 8, "ES": 5}[phase]) ** 2 * 4
    assert numbers == {"ED": (1, "ED"), "ES": (2, "ES")}


def page_of_nothing(result: StudyResult, folder: Path) -> list[Path]:
    written = [folder / f"{result.study}_report.{ending}" for ending in ("html", "pdf")]
    for path in written:
        path.write_bytes(b"%PDF-1.7 " + str(sorted(result.pictures)).encode())
    return written


def test_a_page_is_written_where_wanted_and_goes_to_the_archive_as_encapsulated_pdf(
    work: Path, tmp_path: Path
) -> None:
    fhir, drawn = partial(write_fhir, model="tested"), []

    def translate(text: str) -> str:
        drawn.append(text)
        return text

    processor = StudyProcessor(seg=True, pages=page_of_nothing, translate=translate, fhir=fhir)
    options = StudyOptions(page=True)
    processor.__dict__["_tools"] = Tools(IntensityPredictor(), options=options)
    files = dicom_cine(tmp_path / "anna", [6, 8, 5])
    processor(Job(Kind.HEART, files, work))
    assert b"'slices'" in (work / "anna_report.html").read_bytes()
    assert {"frame", "thickening (%)"} <= set(drawn)
    found = pydicom.dcmread(work / "anna_report.dcm")
    content = (work / "anna_report.pdf").read_bytes()
    assert found.EncapsulatedDocument[: found.EncapsulatedDocumentLength] == content
    source = pydicom.dcmread(files[0])
    assert (found.PatientID, found.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    bundle = json.loads((work / "anna_fhir.json").read_text(encoding="utf-8"))
    assert bundle["entry"][0]["resource"]["resourceType"] == "DiagnosticReport"
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    assert found.SOPClassUID.name == "Encapsulated PDF Storage"


def test_a_patient_in_nifti_has_no_dicom_segmentation(
    processor: StudyProcessor, work: Path, tmp_path: Path
) -> None:
    folder = acdc_patient(tmp_path / "patient001")
    said = processor(Job(Kind.HEART, tuple(sorted(folder.iterdir())), work))
    assert said["patient"] == "patient001"
    assert said["indices"]["lv_edv_ml"] == pytest.approx(lv_ml(8), abs=0.01)
    assert not list(work.glob("*.dcm"))


def test_a_series_that_no_segmentation_can_refer_to_is_measured_with_a_warning(
    processor: StudyProcessor, work: Path, tmp_path: Path
) -> None:
    files = dicom_cine(tmp_path / "anna", [8])
    for path in files:
        image = pydicom.dcmread(path)
        del image.FrameOfReferenceUID
        image.save_as(path)
    said = processor(Job(Kind.HEART, files, work))
    assert said["volumes_ml"]["lv"] > 0
    assert any(
        warning.startswith("no DICOM SEG: expected FrameOfReferenceUID") for warning in said["warnings"]
    )


def test_files_that_are_no_study_are_the_inputs_fault(
    processor: StudyProcessor, work: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "a.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(DataError, match="expected NIfTI files or DICOM series"):
        processor(Job(Kind.HEART, (broken,), work))
    two = (save(tmp_path / "a.nii", heart(8)), save(tmp_path / "b.nii", heart(8)))
    with pytest.raises(DataError, match="expected the files of one study, found 2"):
        processor(Job(Kind.HEART, two, work))


def test_hearts_are_segmented_by_the_engine_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, work: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def load(network: str, **settings: Any) -> IntensityPredictor:
        asked.update(network=network, **settings)
        return IntensityPredictor()

    monkeypatch.setattr(Predictor, "load", load)
    monkeypatch.setattr(QualityEstimator, "load", lambda network, **settings: None)
    image = save(tmp_path / "a.nii", heart(8))
    found = StudyProcessor(engine="openvino")(Job(Kind.HEART, (image,), work))
    assert (asked["network"], asked["engine"]) == ("unet", "openvino")
    assert found["model"] == {"network": "unet", "weights": None, "engine": "openvino"}


@pytest.mark.slow
def test_the_command_is_killed_and_goes_on_with_the_networks_of_the_bundles(tmp_path: Path) -> None:
    incoming, output = tmp_path / "in", tmp_path / "out"
    acdc_patient(incoming / "patient001")
    dicom_cine(incoming / "dicom", [8])
    write_phantom_xrays(tmp_path / "x", patients=2, images=1, side_px=96)
    xray = next((tmp_path / "x").rglob("*.jpeg"))
    (incoming / "chest.jpeg").write_bytes(xray.read_bytes())
    (incoming / "bad.nii.gz").write_text("no NIfTI", encoding="utf-8")
    code = "from pipelines.cli.main import main; main()"
    waits = ["--settle-seconds", "0.2", "--quiet-seconds", "0.5", "--poll-seconds", "0.2"]
    command = [sys.executable, "-c", code, "watch", str(incoming), str(output), "--seg", *waits]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment) as first:
        until = time.monotonic() + 200
        while not list(output.glob(".watch/work/*/*")):  # the first study is half-written
            assert time.monotonic() < until
            time.sleep(0.01)
        first.kill()
    assert len(list(output.glob("studies/*"))) < 3
    run = subprocess.run(
        [*command, "--once"], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 0, run.stderr
    said = {}
    for folder in (output / "studies").iterdir():
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        said[content["name"]] = content
        assert {file["name"] for file in content["files"]} | {"result.json"} == {
            path.name for path in folder.iterdir()
        }
    assert said.keys() == {"patient001", "dicom", "chest"}
    assert 0 <= said["chest"]["probability_pneumonia"] <= 1
    assert said["chest"]["decision"] in ("NORMAL", "PNEUMONIA")
    assert [file["name"] for file in said["chest"]["files"]] == ["chest_overlay.png"]
    assert "dicom_seg.dcm" in [file["name"] for file in said["dicom"]["files"]]
    assert said["patient001"]["indices"].keys() >= {"lv_edv_ml", "lv_ef_percent"}
    (reason,) = (output / "quarantine").glob("*/reason.json")
    assert "expected a readable NIfTI file" in json.loads(reason.read_text(encoding="utf-8"))["reason"]
