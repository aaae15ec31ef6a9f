from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import write_dicom_series
from intensity_hearts import acdc_patient, heart, save

from pipelines.cohort.worker import CohortStudy, Task, list_studies
from pipelines.core.errors import DataError


def manifest(folder: Path, text: str) -> Path:
    path = folder / "cohort.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_a_csv_are_studies_relative_to_it(tmp_path: Path) -> None:
    path = manifest(tmp_path, "study,patient,path\na,Anna,x/one.nii.gz\nb,,two.nii; three.nii\n")
    studies, problems = list_studies(path)
    assert problems == []
    assert studies == [
        CohortStudy("a", "Anna", (str(tmp_path / "x/one.nii.gz"),)),
        CohortStudy("b", "b", (str(tmp_path / "two.nii"), str(tmp_path / "three.nii"))),
    ]


def test_parquet_may_hold_lists_and_absolute_paths(tmp_path: Path) -> None:
    path = tmp_path / "cohort.parquet"
    pd.DataFrame({"paths": [["/data/a.nii", "/data/b.nii"], ["/data/a.nii"]]}).to_parquet(path)
    studies, _ = list_studies(path)
    assert [study.paths for study in studies] == [("/data/a.nii", "/data/b.nii"), ("/data/a.nii",)]
    assert [study.name for study in studies] == ["a", "a_2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na.nii\n", "column 'paths'"),
        ("path\n", "a row for each study"),
        ("study,path\na,a.nii\nb,\n", "none in row 2"),
        ("study,path\na,a.nii\na,b.nii\n", "found a again in row 2"),
        ("study,path\na/b,a.nii\n", "rename it"),
        ("study,path\na,a.nii\nA,b.nii\n", "rename it"),
    ],
)
def test_manifest_that_cannot_be_used_is_refused_with_its_row(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        list_studies(manifest(tmp_path, text))


def test_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match="expected a table of studies"):
        list_studies(tmp_path / "cohort.parquet")


def test_folder_gives_cines_patients_and_series(tmp_path: Path) -> None:
    cine = save(tmp_path / "in" / "anna.nii.gz", np.stack([heart(8), heart(5)], axis=3))
    patient = acdc_patient(tmp_path / "in" / "patient003")
    write_dicom_series(cine, tmp_path / "in" / "series")
    (tmp_path / "in" / "broken.dcm").write_bytes(b"no image")
    studies, problems = list_studies(tmp_path / "in")
    frames = tuple(str(patient / f"patient003_frame{frame}.nii.gz") for frame in ("01", "09"))
    by_name = {study.name: study for study in studies}
    assert by_name["anna"].paths == (str(cine),)
    assert by_name["patient003"] == CohortStudy("patient003", "patient003", frames)
    assert by_name["series"].paths == (str(tmp_path / "in" / "series"),)
    assert [problem.path.name for problem in problems] == ["broken.dcm"]


def test_series_that_shares_its_folder_is_named_file_by_file(tmp_path: Path) -> None:
    cine = save(tmp_path / "anna.nii.gz", np.stack([heart(8), heart(5)], axis=3))
    write_dicom_series(cine, tmp_path / "in")
    save(tmp_path / "in" / "other.nii.gz", heart(5))
    studies, _ = list_studies(tmp_path / "in")
    series = next(study for study in studies if study.name == "in")
    assert len(series.paths) > 1
    assert all(Path(path).is_file() for path in series.paths)


def test_study_survives_the_way_to_another_process() -> None:
    study = CohortStudy("a", "Änna", ("x", "y"))
    task = Task("part", (study,))
    assert Task.from_row(**task.as_row()) == task
