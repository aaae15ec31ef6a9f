"""Tests of grouping DICOM files into series and stacks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from pipelines.datasets.dicom_file import group_series

WriteDicom = Callable[..., Path]


def test_series_are_grouped_by_uid_in_order_of_their_numbers(tmp_path: Path, write_dicom: WriteDicom) -> None:
    late, early = generate_uid(), generate_uid()
    paths = [
        write_dicom(
            tmp_path / f"{z}.dcm", SeriesInstanceUID=uid, SeriesNumber=number, ImagePositionPatient=[0, 0, z]
        )
        for z, (uid, number) in enumerate([(late, 9), (early, 2), (early, 2), (late, 9), (early, 2)])
    ]
    series, problems = group_series(reversed(paths))
    assert [(one.number, one.patient) for one in series] == [(2, "anna"), (9, "anna")]
    assert [[path.stem for path in one.files] for one in series] == [["1", "2", "4"], ["0", "3"]]
    assert problems == []


def write_slices(folder: Path, write: WriteDicom, positions_mm: list[float]) -> list[Path]:
    """A study with one series of two frames for each position; digits of the orientation vary."""
    study = generate_uid()
    return [
        write(
            folder / f"{number}_{frame}.dcm",
            StudyInstanceUID=study,
            SeriesInstanceUID=uid,
            SeriesNumber=10 + number,
            InstanceNumber=frame,
            ImagePositionPatient=[0, 0, position_mm],
            ImageOrientationPatient=[1, 0, 1e-6 * number, 0, 1, 0],
        )
        for number, (position_mm, uid) in enumerate([(position, generate_uid()) for position in positions_mm])
        for frame in (1, 2)
    ]


def test_stack_saved_as_a_series_a_slice_is_put_together(tmp_path: Path, write_dicom: WriteDicom) -> None:
    series, _ = group_series(write_slices(tmp_path, write_dicom, [0, 10, 20]))
    assert [(one.number, len(one.files)) for one in series] == [(10, 6)]


def test_slice_that_was_scanned_again_belongs_to_its_stack(tmp_path: Path, write_dicom: WriteDicom) -> None:
    series, _ = group_series(write_slices(tmp_path, write_dicom, [0, 10, 10]))
    assert [(one.number, len(one.files)) for one in series] == [(10, 6)]


@pytest.mark.parametrize("description", ["SAX_b9", "T1 map"])
def test_slice_scanned_again_belongs_to_the_series_with_that_slice(
    tmp_path: Path, write_dicom: WriteDicom, description: str
) -> None:
    paths = [
        write_dicom(
            tmp_path / f"{number}_{frame}.dcm",
            StudyInstanceUID="1.2",
            SeriesInstanceUID="1.2.1" if number < 3 else "1.2.2",
            SeriesDescription="SAX_b1" if number < 3 else description,
            ImagePositionPatient=[0, 0, (0, 10, 20, 10)[number]],
        )
        for number in range(4)
        for frame in range(2)
    ]
    series, _ = group_series(paths)
    assert [len(one.files) for one in series] == ([8] if description == "SAX_b9" else [6, 2])


def test_positions_that_rounding_would_part_are_one_slice(tmp_path: Path, write_dicom: WriteDicom) -> None:
    study = generate_uid()
    paths = [
        write_dicom(
            tmp_path / f"{number}.dcm",
            StudyInstanceUID=study,
            SeriesInstanceUID=f"1.2.{number // 2}",
            InstanceNumber=number,
            ImagePositionPatient=[0, 0, 10 * (number // 2) + 0.0004 + 0.0002 * (number % 2)],
            PixelSpacing=[1.4995 + 0.00001 * number] * 2,
        )
        for number in range(4)
    ]
    series, _ = group_series(paths)
    assert [len(one.files) for one in series] == [4]


@pytest.mark.parametrize("tag", ["PatientID", "PatientName", "StudyInstanceUID"])
def test_patients_and_studies_with_one_series_uid_stay_apart(
    tmp_path: Path, write_dicom: WriteDicom, tag: str
) -> None:
    paths = [
        write_dicom(
            tmp_path / f"{number}.dcm",
            **{"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", tag: f"1.{number % 2}"},
            ImagePositionPatient=[0, 0, 10 * number],
        )
        for number in range(4)
    ]
    series, _ = group_series(paths)
    assert [[path.stem for path in one.files] for one in series] == [["0", "2"], ["1", "3"]]


def test_files_without_a_series_uid_are_a_series_in_each_folder(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    paths = [
        write_dicom(tmp_path / folder / f"{z}.dcm", ImagePositionPatient=[0, 0, z])
        for folder in "ab"
        for z in (0, 10)
    ]
    series, problems = group_series(paths)
    assert [[path.name for path in one.files] for one in series] == [["0.dcm", "10.dcm"]] * 2
    assert problems == []


def test_single_slices_of_two_patients_stay_apart(tmp_path: Path, write_dicom: WriteDicom) -> None:
    paths = [
        *write_slices(tmp_path / "a", write_dicom, [0]),
        *write_slices(tmp_path / "b", write_dicom, [10]),
    ]
    series, _ = group_series(paths)
    assert [len(one.files) for one in series] == [2, 2]


def test_file_without_an_image_is_left_out(tmp_path: Path, write_dicom: WriteDicom) -> None:
    report_class = "1.2.840.10008.5.1.4.1.1.88.11"
    report = write_dicom(
        tmp_path / "report.dcm", SeriesInstanceUID=generate_uid(), SOPClassUID=report_class, Rows=None
    )
    assert group_series([report]) == ([], [])


def test_file_that_is_no_dicom_is_reported_and_the_rest_grouped(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    sound = write_dicom(tmp_path / "sound.dcm", SeriesInstanceUID=generate_uid())
    broken = tmp_path / "zero.dcm"
    broken.touch()
    series, problems = group_series([sound, broken])
    assert [one.files for one in series] == [(sound,)]
    assert [problem.path for problem in problems] == [broken]


def test_file_whose_position_is_no_number_is_skipped_alone(tmp_path: Path, write_dicom: WriteDicom) -> None:
    series_uid = generate_uid()
    whole, broken = (
        write_dicom(
            tmp_path / f"{z}.dcm",
            SeriesInstanceUID=series_uid,
            SeriesNumber=1,
            ImagePositionPatient=[0, 0, z],
        )
        for z in (0, 12345)
    )
    broken.write_bytes(broken.read_bytes().replace(b"12345", b"1x345"))
    series, problems = group_series([whole, broken])
    assert [one.files for one in series] == [(whole,)]
    assert [problem.path for problem in problems] == [broken]
    assert "expected numbers in ImagePositionPatient" in problems[0].reason
