from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.datasets.chest_xray import Finding, read_chest_xray, read_name


@pytest.mark.parametrize(
    ("name", "patient", "agent"),
    [
        ("person123_bacteria_456.jpeg", "person123", "bacteria"),
        ("person7_virus_7.jpeg", "person7", "virus"),
        ("IM-0115-0001.jpeg", "IM-0115", ""),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115", ""),
        ("NORMAL2-IM-0587-0001-0002.jpeg", "NORMAL2-IM-0587", ""),
        ("scan one.png", "scan one", ""),
    ],
)
def test_names_tell_patient_and_agent(name: str, patient: str, agent: str) -> None:
    record = read_name(Path(name), Finding.PNEUMONIA)
    assert (record.patient, record.agent) == (patient, agent)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_of_a_release_are_merged(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/NORMAL/IM-0001-0001.jpeg",
        "test/NORMAL/IM-0002-0001.jpeg",
        "val/PNEUMONIA/person1_virus_1.jpeg",
    )
    dataset = read_chest_xray(tmp_path)
    assert [record.patient for record in dataset.records] == ["IM-0002", "IM-0001", "person1"]
    assert dataset.problems == []


def test_other_files_are_put_aside_and_nameless_patients_are_kept(tmp_path: Path) -> None:
    touch(tmp_path, "NORMAL/a.png", "NORMAL/notes.txt", "NORMAL/.DS_Store", "PNEUMONIA/person1_virus_1.JPG")
    dataset = read_chest_xray(tmp_path)
    assert [record.patient for record in dataset.records] == ["a", "person1"]
    assert [problem.path.name for problem in dataset.problems] == ["a.png", "notes.txt"]
    assert "kept as a patient of its own" in dataset.problems[0].reason


@pytest.mark.parametrize("present", ["NORMAL", "PNEUMONIA"])
def test_one_finding_alone_is_refused(tmp_path: Path, present: str) -> None:
    touch(tmp_path, f"{present}/IM-0001-0001.jpeg")
    with pytest.raises(DataError, match="expected images in NORMAL and in PNEUMONIA .* 0 in"):
        read_chest_xray(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        read_chest_xray(tmp_path / "none")
