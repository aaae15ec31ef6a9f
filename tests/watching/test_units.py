"""Tests of what counts as whole (files, folders of patients, DICOM series) on a clock of their own."""

import os
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom_image

from pipelines.watching.ledger import Ledger, State
from pipelines.watching.units import UNWANTED_SERIES, Arrivals, Kind, Unit, Units, Waits


class Desk:
    """A folder that is looked at, on a clock that is turned by hand."""

    def __init__(self, folder: Path, series: str | None = None, whole: Path | None = None) -> None:
        self.now_s = 0.0
        self.folder = folder / "in"
        self.folder.mkdir()
        self.ledger = Ledger(folder / "ledger.sqlite")
        folders = [self.folder] if whole is None else [self.folder, whole]
        self.arrivals = Arrivals(folders, self.ledger, leave_out=folder / "out", clock=lambda: self.now_s)
        pattern = None if series is None else re.compile(series)
        self.units = Units(self.ledger, Waits(5, 60), series=pattern, whole=whole)

    def after(self, seconds: float) -> list[Unit]:
        self.now_s += seconds
        return list(self.units.ready(self.arrivals.look()))

    def names(self, seconds: float) -> list[str]:
        return [unit.name for unit in self.after(seconds)]

    def finish(self, unit: Unit) -> None:
        """As the watcher does."""
        found = {one.path: one.stamp for one in self.arrivals.look() if one.path in unit.files}
        self.ledger.claim(unit.origin, folder=unit.origin, kind=unit.kind, origin=unit.origin)
        self.ledger.end(unit.origin, State.DONE, sources=found, dicom_study=unit.dicom_study)

    def dicom(self, name: str, number: int, *, series: str = "1.2.3.4", **tags: object) -> Path:
        path = self.folder / name
        pixels = np.arange(12).reshape(4, 3)
        write_dicom_image(path, pixels, z_mm=8.0 * number, time_ms=0, number=number, series=series)
        image = pydicom.dcmread(path)
        for tag, value in tags.items():
            setattr(image, tag, value)
        image.save_as(path)
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_file_is_whole_when_it_has_not_changed_for_some_seconds(desk: Desk) -> None:
    path = desk.folder / "a.nii.gz"
    path.write_text("half", encoding="utf-8")
    assert desk.after(0) == []
    assert desk.after(4) == []
    path.write_text("half and more", encoding="utf-8")
    assert desk.after(1) == []
    assert desk.after(4.9) == []
    assert desk.units.waiting == 1
    assert desk.after(0.1) == [Unit(Kind.HEART, "a", str(path), (path,))]
    assert desk.units.waiting == 0


def test_an_old_time_of_a_file_is_not_trusted(desk: Desk) -> None:
    path = desk.folder / "a.nii"
    path.write_text("x", encoding="utf-8")
    os.utime(path, (1, 1))
    assert desk.after(0) == []
    assert desk.names(5) == ["a"]


def test_a_file_without_content_waits_longer(desk: Desk) -> None:
    (desk.folder / "a.nii").touch()
    desk.after(0)
    assert desk.names(49) == []
    assert desk.names(1) == ["a"]


def test_what_is_no_input_is_passed_over_and_not_looked_at_again(desk: Desk) -> None:
    for name in ("notes.txt", "a_gt.nii.gz", "b_seg.nii", ".hidden.nii", "c.nii.part", "~lock.png"):
        (desk.folder / name).write_text("x", encoding="utf-8")
    desk.after(0)
    assert desk.after(10) == []
    assert desk.arrivals.look() == []


def test_pipes_are_never_opened(desk: Desk) -> None:
    for name in ("x.nii.gz", "no_suffix", "Info.cfg", "p/y.nii.gz"):
        (desk.folder / name).parent.mkdir(exist_ok=True)
        os.mkfifo(desk.folder / name)
    for name in ("ok.nii", "p/ok2.nii", "p/Info.cfg"):
        (desk.folder / name).write_text("x", encoding="utf-8")
    assert desk.names(0) == []
    assert desk.names(100) == ["ok", "p"]


def test_pictures_are_radiographs(desk: Desk) -> None:
    for name in ("a.JPEG", "b.png"):
        (desk.folder / name).write_text("x", encoding="utf-8")
    desk.after(0)
    assert [(unit.kind, unit.name) for unit in desk.after(5)] == [(Kind.XRAY, "a"), (Kind.XRAY, "b")]


def test_a_patients_folder_is_one_study_when_nothing_in_it_changes(desk: Desk) -> None:
    folder = desk.folder / "patient001"
    folder.mkdir()
    for name in ("Info.cfg", "patient001_frame01.nii.gz", "patient001_frame01_gt.nii.gz"):
        (folder / name).write_text("x", encoding="utf-8")
    desk.after(0)
    assert desk.after(50) == []
    (folder / "patient001_frame12.nii.gz").write_text("y", encoding="utf-8")
    assert desk.after(0) == []
    assert desk.after(59) == []
    (unit,) = desk.after(1)
    assert unit.name == "patient001"
    assert [path.name for path in unit.files] == [
        "patient001_frame01.nii.gz",
        "patient001_frame12.nii.gz",
        "Info.cfg",
    ]


def test_a_series_is_whole_when_its_study_is_quiet(desk: Desk) -> None:
    desk.dicom("a.dcm", 1)
    desk.after(0)
    desk.after(50)
    desk.dicom("b.dcm", 2)
    assert desk.after(0) == []
    assert desk.after(50) == []
    (unit,) = desk.after(10)
    assert [path.name for path in unit.files] == ["a.dcm", "b.dcm"]
    assert (unit.kind, unit.origin, unit.dicom_study) == (Kind.HEART, "1.2.3.4", "1.2.3")


def test_two_patients_with_one_series_uid_are_two_studies(desk: Desk) -> None:
    for number, patient in enumerate(("anna", "berta", "anna"), start=1):
        desk.dicom(f"{number}.dcm", number, PatientID=patient)
    desk.after(0)
    found = {unit.origin: [path.name for path in unit.files] for unit in desk.after(60)}
    assert found == {"1.2.3.4 of anna": ["1.dcm", "3.dcm"], "1.2.3.4 of berta": ["2.dcm"]}


def test_files_without_uids_are_a_study_of_their_folder(desk: Desk) -> None:
    for number in (1, 2):
        desk.dicom(f"{number}.dcm", number, StudyInstanceUID="", SeriesInstanceUID="", SOPInstanceUID="")
    desk.after(0)
    (unit,) = desk.after(60)
    assert (unit.origin, len(unit.files)) == (str(desk.folder), 2)


def test_a_result_of_another_dicom_study_is_not_replaced(desk: Desk) -> None:
    for name, study in (("a.dcm", "7.1"), ("b.dcm", "7.2")):
        desk.dicom(name, 1, StudyInstanceUID=study, PatientID=study)
    desk.after(0)
    first, second = desk.after(60)
    assert first.origin == second.origin
    desk.finish(first)  # whose identity is its origin
    assert desk.ledger.earlier(second.origin, "another", second.dicom_study) == []
    assert desk.ledger.earlier(first.origin, "another", first.dicom_study) == [first.origin]


def test_series_of_other_studies_do_not_hold_one_up(desk: Desk) -> None:
    desk.dicom("a.dcm", 1)
    desk.after(0)
    for _ in range(6):
        desk.dicom("other.dcm", 1, series="9.9", StudyInstanceUID="9")
        found = desk.after(10)
    assert [unit.origin for unit in found] == ["1.2.3.4"]


def test_an_instance_that_comes_later_makes_the_whole_series_a_new_study(desk: Desk) -> None:
    desk.dicom("a.dcm", 1)
    desk.dicom("b.dcm", 2)
    desk.dicom("c.dcm", 1, series="1.2.3.5", StudyInstanceUID="1.2.3", Rows=3)
    desk.after(0)
    for unit in desk.after(60):
        desk.finish(unit)
    assert desk.after(60) == []
    desk.dicom("late.dcm", 3)
    desk.after(0)
    (unit,) = desk.after(60)
    assert [path.name for path in unit.files] == ["a.dcm", "b.dcm", "late.dcm"]


def test_a_series_that_is_written_anew_has_each_file_once(desk: Desk) -> None:
    desk.dicom("a.dcm", 1)
    desk.after(0)
    for unit in desk.after(60):
        desk.finish(unit)
    desk.dicom("a.dcm", 1, PatientID="another")
    desk.after(0)
    (unit,) = desk.after(60)
    assert [path.name for path in unit.files] == ["a.dcm"]


def test_a_series_that_tells_its_number_waits_and_then_has_a_problem(desk: Desk) -> None:
    for number in (1, 2):
        desk.dicom(f"{number}.dcm", number, NumberOfSeriesRelatedInstances=3)
    desk.after(0)
    assert desk.after(599) == []
    assert desk.units.waiting == 2
    (unit,) = desk.after(1)
    assert unit.problem.startswith("expected 3 instances in series 1.2.3.4, found 2")
    desk.dicom("3.dcm", 3, NumberOfSeriesRelatedInstances=3)
    desk.after(0)
    (unit,) = desk.after(60)
    assert unit.problem == ""
    assert len(unit.files) == 3


def test_a_file_that_is_written_anew_is_read_anew(desk: Desk) -> None:
    desk.dicom("a.dcm", 1, series="5.1")
    desk.after(0)
    desk.after(10)
    desk.dicom("a.dcm", 1, series="5.22")
    desk.after(1)
    assert [unit.origin for unit in desk.after(60)] == ["5.22"]


def test_modality_decides_what_is_done(desk: Desk) -> None:
    desk.dicom("chest.dcm", 1, series="5.1", Modality="DX")
    desk.dicom("brain.dcm", 1, series="5.2", Modality="CT")
    desk.after(0)
    (unit,) = desk.after(5)
    assert (unit.kind, unit.name, unit.origin) == (Kind.XRAY, "chest", "5.1.1")
    assert desk.ledger.counts()["passed_over"] == 1


def test_only_wanted_series_are_taken(tmp_path: Path) -> None:
    desk = Desk(tmp_path, series="(?i)sax")
    desk.dicom("a.dcm", 1, series="5.1", SeriesDescription="Cine SAX")
    desk.dicom("b.dcm", 1, series="5.2", SeriesDescription="4CH")
    desk.dicom("c.dcm", 1, series="5.3", SeriesDescription="chest", Modality="CR")
    desk.after(0)
    assert [unit.origin for unit in desk.after(60)] == ["5.3.1", "5.1"]
    assert desk.ledger.counts()["passed_over"] == 1
    desk.ledger.retry_ignored(UNWANTED_SERIES)
    assert desk.ledger.counts()["passed_over"] == 0


def test_a_damaged_dicom_file_is_a_study_of_its_own(desk: Desk) -> None:
    path = desk.folder / "a.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00\x16\x00UI")
    desk.after(0)
    assert desk.after(5) == [Unit(Kind.HEART, "a", str(path), (path,))]


def test_an_index_of_a_dicom_disc_is_no_input(desk: Desk) -> None:
    path = desk.dicom("DICOMDIR", 1)
    index = pydicom.dcmread(path)
    for tag in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "Rows", "PixelData"):
        delattr(index, tag)
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.save_as(path)
    desk.after(0)
    assert desk.after(60) == []
    assert desk.ledger.counts()["passed_over"] == 1


def test_files_of_the_whole_folder_need_not_wait(tmp_path: Path) -> None:
    whole = tmp_path / "fetched"
    desk = Desk(tmp_path, whole=whole)
    desk.dicom("../fetched/1.2.3/1.2.3.4/a.dcm", 1)
    assert [unit.origin for unit in desk.after(0)] == ["1.2.3.4"]
