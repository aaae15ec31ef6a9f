import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pipelines.core.errors import DataError, OutputError
from pipelines.datasets.prepare_xray import prepare_chest_xray


def write(path: Path, seed: int, *, colour: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((64, 48)), 6)
    grey = np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))
    Image.fromarray(np.stack((grey, grey[::-1], grey.T.reshape(64, 48)), 2) if colour else grey).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 healthy patients with an image each, 10 with bacteria with two images, 10 with a virus."""
    folder = tmp_path / "data"
    for number in range(20):
        write(folder / "train" / "NORMAL" / f"IM-{number:04d}-0001.png", number)
    for number in range(10):
        write(folder / "train" / "PNEUMONIA" / f"person{number}_bacteria_1.png", 100 + number)
        write(folder / "test" / "PNEUMONIA" / f"person{number}_bacteria_2.png", 200 + number)
        write(folder / "test" / "PNEUMONIA" / f"person{number + 50}_virus_1.png", 300 + number)
    return folder


def content_of(root: Path, output: Path, **options: object) -> dict[str, object]:
    prepare_chest_xray(root, output, **options)  # type: ignore[arg-type]
    content: dict[str, object] = json.loads((output / "datalist.json").read_text(encoding="utf-8"))
    return content


def parts_of_patients(content: dict[str, object]) -> dict[str, set[str]]:
    parts: dict[str, set[str]] = defaultdict(set)
    for item in content["images"]:  # type: ignore[attr-defined]
        parts[item["patient"]].add(item["part"])
    return parts


def test_no_patient_is_in_two_parts(root: Path, tmp_path: Path) -> None:
    content = content_of(root, tmp_path / "out")
    parts = parts_of_patients(content)
    assert len(parts) == 40
    assert all(len(found) == 1 for found in parts.values())
    assert content["leaks_patients"] is False


def test_the_datalist_keeps_where_the_films_are_from(root: Path, tmp_path: Path) -> None:
    assert content_of(root, tmp_path / "out")["source"] == ""
    assert content_of(root, tmp_path / "named", source="A, 2020, CC BY 4.0")["source"] == "A, 2020, CC BY 4.0"


def test_each_part_has_its_share_of_each_group(root: Path, tmp_path: Path) -> None:
    parts = parts_of_patients(content_of(root, tmp_path / "out"))
    for pattern, expected in (("IM", (16, 2, 2)), ("person", (16, 2, 2))):
        found = [next(iter(part)) for patient, part in parts.items() if patient.startswith(pattern)]
        assert tuple(found.count(part) for part in ("training", "validation", "test")) == expected


def test_the_split_by_image_says_that_it_leaks(root: Path, tmp_path: Path) -> None:
    for number in range(10):
        for image in range(3, 12):
            name = f"person{number}_bacteria_{image}.png"
            write(root / "train" / "PNEUMONIA" / name, 1000 + 100 * number + image)
    content = content_of(root, tmp_path / "out", split="image")
    assert content["leaks_patients"] is True
    assert any(len(found) > 1 for found in parts_of_patients(content).values())


def test_the_same_seed_gives_the_same_split(root: Path, tmp_path: Path) -> None:
    hashes = [
        content_of(root, tmp_path / str(index), seed=seed)["split_hash"]
        for index, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_bad_files_are_skipped_with_their_reason(root: Path, tmp_path: Path) -> None:
    (root / "train" / "NORMAL" / "IM-0900-0001.jpeg").write_text("text", encoding="utf-8")
    write(root / "train" / "NORMAL" / "IM-0901-0001.png", 901, colour=True)
    Image.new("L", (64, 64), 90).save(root / "train" / "NORMAL" / "IM-0902-0001.png")
    found = prepare_chest_xray(root, tmp_path / "out")
    assert found.images == 50
    reasons = {problem.patient: problem.reason for problem in found.problems}
    assert "JPEG, PNG or DICOM" in reasons["IM-0900"]
    assert "colour picture" in reasons["IM-0901"]
    assert "one grey value" in reasons["IM-0902"]


def test_of_copies_the_first_is_kept_and_doubt_about_the_finding_is_reported(
    root: Path, tmp_path: Path
) -> None:
    write(root / "val" / "NORMAL" / "IM-0000-0001.png", 0)
    write(root / "val" / "PNEUMONIA" / "person90_virus_1.png", 1)
    found = prepare_chest_xray(root, tmp_path / "out")
    reasons = [problem.reason for problem in found.problems]
    assert len(reasons) == 2
    assert "the same as" in reasons[0]
    assert "wrong" not in reasons[0]
    assert "under NORMAL: one of the two is wrong" in reasons[1]


def test_patients_with_nearly_the_same_image_stay_together(root: Path, tmp_path: Path) -> None:
    for number in range(20):
        image = Image.open(root / "train" / "NORMAL" / f"IM-{number:04d}-0001.png")
        image.resize((96, 128)).save(root / "train" / "NORMAL" / f"NORMAL2-IM-{number:04d}-0001.png")
    content = content_of(root, tmp_path / "out")
    assert len(content["near_duplicates"]) == 20  # type: ignore[arg-type]
    parts = parts_of_patients(content)
    assert all(parts[f"IM-{number:04d}"] == parts[f"NORMAL2-IM-{number:04d}"] for number in range(20))


def test_a_finding_with_one_patient_is_refused(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / "data" / "NORMAL" / f"IM-{number:04d}-0001.png", number)
        write(tmp_path / "data" / "PNEUMONIA" / f"person1_virus_{number}.png", 10 + number)
    with pytest.raises(DataError, match="at least 3 patients under PNEUMONIA .* found 1"):
        prepare_chest_xray(tmp_path / "data", tmp_path / "out")


def test_an_output_that_is_a_file_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="expected an output folder"):
        prepare_chest_xray(root, tmp_path / "out")
