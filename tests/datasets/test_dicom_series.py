"""Tests of grouping DICOM files into series and stacks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from pipelines.core.errors import DataError
from pipelines.datasets.dicom_series import group_series, is_dicom, read_header

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


def test_slice_that_was_scanned_twice_keeps_series_apart(tmp_path: Path, write_dicom: WriteDicom) -> None:
    series, _ = group_series(write_slices(tmp_path, write_dicom, [0, 10, 10]))
    assert [len(one.files) for one in series] == [2, 2, 2]


def test_single_slices_of_two_patients_stay_apart(tmp_path: Path, write_dicom: WriteDicom) -> None:
    paths = [
        *write_slices(tmp_path / "a", write_dicom, [0]),
        *write_slices(tmp_path / "b", write_dicom, [10]),
    ]
    series, _ = group_series(paths)
    assert [len(one.files) for one in series] == [2, 2]


def test_file_without_an_image_is_left_out(tmp_path: Path, write_dicom: WriteDicom) -> None:
    report = write_dicom(tmp_path / "report.dcm", SeriesInstanceUID=generate_uid(), Rows=None)
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


def test_preamble_tells_dicom_from_other_files(tmp_path: Path, write_dicom: WriteDicom) -> None:
    text = tmp_path / "notes"
    text.write_text("no image")
    assert is_dicom(write_dicom(tmp_path / "IM1", SeriesInstanceUID=generate_uid()))
    assert not is_dicom(text)
    assert not is_dicom(tmp_path)
    with pytest.raises(DataError, match="readable DICOM"):
        read_header(text)


def test_file_whose_position_is_no_number_is_put_aside_alone(tmp_path: Path, write_dicom: WriteDicom) -> None:
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
