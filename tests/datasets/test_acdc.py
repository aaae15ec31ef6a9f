from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.core.records import Phase
from pipelines.datasets.nifti_releases import patient_folders, read_acdc, read_info

Writer = Callable[..., Path]


def reasons(root: Path) -> list[str]:
    return [problem.reason for problem in read_acdc(root).problems]


def test_a_patient_is_read_with_all_that_the_release_tells(tmp_path: Path, write_patient: Writer) -> None:
    folder = write_patient(tmp_path, Group="DCM", Height="170.5", Weight=80, NbFrame=8)
    (folder / "patient001_4d.nii.gz").touch()
    (patient,) = read_acdc(tmp_path).patients
    assert (patient.patient, patient.group, patient.frames) == ("patient001", "DCM", 8)
    assert (patient.height_cm, patient.weight_kg) == (170.5, 80.0)
    assert patient.cine == folder / "patient001_4d.nii.gz"
    ed, es = patient.volumes
    assert (ed.phase, ed.frame, es.phase, es.frame) == (Phase.ED, 1, Phase.ES, 3)
    assert ed.spacing_mm == (1.5, 1.5, 8.0)
    assert ed.image == folder / "patient001_frame01.nii.gz"
    assert ed.label == folder / "patient001_frame01_gt.nii.gz"
    assert read_acdc(tmp_path).volumes == [ed, es]


def test_height_weight_frames_and_cine_may_be_missing(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path, Group=None)
    (patient,) = read_acdc(tmp_path).patients
    assert patient.group == "unknown"
    assert (patient.height_cm, patient.weight_kg, patient.frames, patient.cine) == (None, None, None, None)


def test_a_volume_without_a_label_is_read(tmp_path: Path, write_patient: Writer) -> None:
    (write_patient(tmp_path) / "patient001_frame03_gt.nii.gz").unlink()
    assert [volume.label is None for volume in read_acdc(tmp_path).volumes] == [False, True]


def test_the_release_one_of_its_parts_and_a_plain_folder_are_accepted(
    tmp_path: Path, write_patient: Writer
) -> None:
    write_patient(tmp_path / "training", "patient001")
    write_patient(tmp_path / "testing", "patient101")
    write_patient(tmp_path / "testing", "case7")
    names = {
        part: [patient.patient for patient in read_acdc(tmp_path / part).patients]
        for part in ("", "training", "testing")
    }
    assert names == {
        "": ["patient001", "case7", "patient101"],
        "training": ["patient001"],
        "testing": ["case7", "patient101"],
    }


def test_other_folders_and_files_are_no_patients(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "patient_list.txt").touch()
    assert [folder.name for folder in patient_folders(tmp_path)] == ["patient001"]


def test_a_patient_without_info_is_skipped_and_the_rest_is_read(
    tmp_path: Path, write_patient: Writer
) -> None:
    (write_patient(tmp_path, "patient001") / "Info.cfg").unlink()
    write_patient(tmp_path, "patient002")
    dataset = read_acdc(tmp_path)
    assert [patient.patient for patient in dataset.patients] == ["patient002"]
    (problem,) = dataset.problems
    assert problem.patient == "patient001"
    assert "expected a readable Info.cfg" in problem.reason


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"ED": 9, "NbFrame": 8}, "expected ED between frame 1 and 8, found 9"),
        ({"ED": 0}, "expected ED between frame 1 and the last, found 0"),
        ({"ED": 9}, "expected patient001_frame09.nii.gz for ED, found no such file"),
        ({"ED": None}, "expected the frame number of ED in Info.cfg, found"),
        ({"ED": "first"}, "expected a number for ED"),
        ({"ED": "nan"}, "expected a number for ED"),
    ],
)
def test_a_patient_whose_ed_is_not_there_keeps_its_es(
    tmp_path: Path, write_patient: Writer, info: dict[str, object], reason: str
) -> None:
    write_patient(tmp_path, **info)
    assert [volume.phase for volume in read_acdc(tmp_path).volumes] == [Phase.ES]
    (found,) = reasons(tmp_path)
    assert reason in found


def test_a_patient_with_one_phase_keeps_it(tmp_path: Path, write_patient: Writer) -> None:
    (write_patient(tmp_path) / "patient001_frame03.nii.gz").unlink()
    assert [volume.phase for volume in read_acdc(tmp_path).volumes] == [Phase.ED]
    assert "frame03.nii.gz for ES" in reasons(tmp_path)[0]


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff"])
def test_an_image_without_a_header_is_skipped(tmp_path: Path, write_patient: Writer, content: bytes) -> None:
    (write_patient(tmp_path) / "patient001_frame01.nii.gz").write_bytes(content)
    assert [volume.phase for volume in read_acdc(tmp_path).volumes] == [Phase.ES]
    assert "expected a readable NIfTI file, found patient001_frame01.nii.gz" in reasons(tmp_path)[0]


def test_a_folder_without_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected patient folders .* found no patient folders"):
        read_acdc(tmp_path)
    with pytest.raises(DataError, match="expected the folder of the ACDC release, found nothing at"):
        read_acdc(tmp_path / "none")


def test_a_folder_of_faulty_patients_is_refused_with_the_reasons(
    tmp_path: Path, write_patient: Writer
) -> None:
    write_patient(tmp_path, ED=7, ES=8)
    with pytest.raises(DataError, match=r"found expected patient001_frame07\.nii\.gz for ED"):
        read_acdc(tmp_path)


def test_info_holds_keys_and_values_with_blank_lines_passed_over(tmp_path: Path) -> None:
    (tmp_path / "Info.cfg").write_text("ED: 1\n\n  ES :12 \nGroup: DCM: mild\n", encoding="utf-8")
    assert read_info(tmp_path / "Info.cfg") == {"ED": "1", "ES": "12", "Group": "DCM: mild"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"ED 1", "lines of 'key: value', found 'ED 1'"), (b"\xffED: 1", "readable Info.cfg")],
)
def test_info_of_another_form_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "Info.cfg").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_info(tmp_path / "Info.cfg")
