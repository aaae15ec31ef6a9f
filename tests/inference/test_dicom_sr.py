"""Tests of DICOM structured reports."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom_series
from pydicom.sr._concepts_dict import concepts

from pipelines.core.cardiac import (
    HALF_WIDTH,
    PatientFacts,
    RateSource,
    cardiac_figures,
    half_widths,
    indices_from_volumes,
)
from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.wall import Wall
from pipelines.inference.dicom_objects import NAMES, UNITS, write_dicom_sr
from pipelines.inference.segment import StudyResult

INDICES = indices_from_volumes(
    {AcdcLabel.RV: 160.0, AcdcLabel.MYO: 100.0, AcdcLabel.LV: 150.0},
    {AcdcLabel.RV: 80.0, AcdcLabel.MYO: 100.0, AcdcLabel.LV: 60.0},
)
FACTS = PatientFacts(height_cm=180, weight_kg=80, heart_rate_bpm=60)


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    cine = tmp_path / "cine.nii.gz"
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (8, 6, 3, 2)).astype(np.int16), np.eye(4)),
        cine,
    )
    write_dicom_series(cine, tmp_path / "dicom")
    files = sorted((tmp_path / "dicom").iterdir())
    for file in files:
        header = pydicom.dcmread(file)
        header.FrameOfReferenceUID = "1.2.3.5"
        header.save_as(file)
    return files


def a_result() -> StudyResult:
    wall = Wall(mean_ed_mm=9.0, ed_mm=(None, 8.0, *[9.0] * 14))
    return StudyResult("s", "p", INDICES, figures=cardiac_figures(INDICES, FACTS), facts=FACTS, wall=wall)


def test_the_report_is_read_back_with_its_values_codes_and_images(slices: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "out.dcm"
    write_dicom_sr(a_result(), slices, path, algorithm="unet")
    found = highdicom.sr.srread(path)
    assert (found.PatientID, found.Modality) == ("phantom", "SR")
    groups = {group.tracking_identifier: group for group in found.content.get_image_measurement_groups()}
    lv, rv = (
        {one.name.value: (one.value, one.unit.value) for one in groups[side].get_measurements()}
        for side in ("LV", "RV")
    )
    assert lv["8821-1"] == (150.0, "ml")
    assert lv["8811-2"] == (60.0, "%")
    assert lv["82799009"] == (5.4, "l/min")
    assert rv["8818-7"] == (50.0, "%")
    names = {one.name.meaning: one.value for one in groups["LV"].get_measurements()}
    assert names["wall_ed_mm basal anteroseptal"] == 8.0
    assert "wall_ed_mm basal anterior" not in names
    assert names["lv_edv_ml_m2"] == 75.0
    evidence = found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == len(slices)


def test_a_value_has_its_interval_where_a_network_measured_it(slices: list[Path], tmp_path: Path) -> None:
    result = a_result()
    result.half_widths = half_widths(result.values(), result.figures)
    assert result.half_widths["lv_edv_ml_m2"] == pytest.approx(HALF_WIDTH["lv_edv_ml"] / 2)  # 2 m²
    write_dicom_sr(result, slices, tmp_path / "out.dcm")
    groups = highdicom.sr.srread(tmp_path / "out.dcm").content.get_image_measurement_groups()
    (edv,) = (one for group in groups for one in group.get_measurements() if one.name.value == "8821-1")
    ends = {item.name.value: item.value for item in edv[0].ContentSequence if item.ValueType == "NUM"}
    assert ends == dict.fromkeys(("371885007", "371886008"), pytest.approx(HALF_WIDTH["lv_edv_ml"]))


def test_a_heart_rate_from_the_cine_is_told_as_derived(slices: list[Path], tmp_path: Path) -> None:
    for source, told in ((RateSource.CINE, 3), (RateSource.HEADER, 0)):
        write_dicom_sr(replace(a_result(), rate_source=source), slices, tmp_path / "out.dcm")
        groups = highdicom.sr.srread(tmp_path / "out.dcm").content.get_image_measurement_groups()
        methods = [one.method for group in groups for one in group.get_measurements() if one.method]
        assert [method.meaning for method in methods] == [f"rate from {RateSource.CINE}"] * told


def test_the_same_figures_have_the_same_uid(slices: list[Path], tmp_path: Path) -> None:
    uids = []
    for name in ("a.dcm", "b.dcm"):
        write_dicom_sr(a_result(), slices, tmp_path / name)
        uids.append(pydicom.dcmread(tmp_path / name).SOPInstanceUID)
    assert uids[0] == uids[1]


def test_every_code_and_its_meaning_stand_in_the_standard() -> None:
    known = {
        (scheme, value): meaning
        for scheme, terms in concepts.items()
        for meanings in terms.values()
        for value, (meaning, groups) in meanings.items()
        if groups
    }
    for code in NAMES.values():
        assert known[code.scheme_designator, code.value] == code.meaning, code


def test_every_value_has_a_unit() -> None:
    result = a_result()
    for name in result.values() | result.segments():
        assert any(name.rstrip("_0123456789").endswith(end) or name.endswith(end) for end in UNITS), name


def test_a_study_without_figures_has_no_report(slices: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected figures and images"):
        write_dicom_sr(StudyResult("s", "p"), slices, tmp_path / "out.dcm")


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump of dcmtk is not installed")
def test_dsrdump_reads_the_report_without_a_complaint(slices: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "out.dcm"
    write_dicom_sr(a_result(), slices, path)
    dumped = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=True)
    assert "Left Ventricular ED Volume" in dumped.stdout
    assert not [line for line in dumped.stderr.splitlines() if line.startswith(("E:", "W:"))]
