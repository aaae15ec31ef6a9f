import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.core.errors import ConfigError, DataError
from pipelines.datasets.duplicates import pixel_hash
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.evaluate_xray import evaluate_xray, read_cases


class Brightness:
    """Takes the mean grey value for the probability."""

    threshold = 0.5

    def probability(self, pixels: np.ndarray) -> float:
        return float(pixels.mean())


def save(path: Path, level: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64), round(255 * level), np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three healthy patients, one of them too bright, and two with pneumonia, one with two images."""
    folder = tmp_path / "data"
    for number, level in enumerate((0.1, 0.3, 0.6)):
        save(folder / "NORMAL" / f"IM-{number:04d}-0001.png", level)
    save(folder / "PNEUMONIA" / "person1_virus_1.png", 0.9)
    save(folder / "PNEUMONIA" / "person1_virus_2.png", 0.8)
    save(folder / "PNEUMONIA" / "person2_bacteria_1.png", 0.7)
    return folder


def test_figures_are_those_of_the_decisions(root: Path, tmp_path: Path) -> None:
    metrics = evaluate_xray(root, tmp_path / "out", Brightness())
    assert metrics["summary"]["confusion_matrix"] == [[2, 1], [0, 3]]
    assert metrics["summary"]["accuracy"] == pytest.approx(5 / 6)
    assert metrics["summary"]["auroc"] == 1
    assert (metrics["summary"]["patients"], metrics["summary"]["images"]) == (5, 6)
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written["summary"] == metrics["summary"]
    assert {"accuracy", "f1", "auroc", "sensitivity", "specificity"} <= written["intervals"].keys()
    with (tmp_path / "out" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["is_correct"] for row in rows] == ["True", "True", "False", "True", "True", "True"]
    assert rows[3]["agent"] == "virus"


def test_pictures_are_files_and_in_tensorboard(root: Path, tmp_path: Path) -> None:
    evaluate_xray(root, tmp_path / "out", Brightness())
    for name in ("roc", "confusion", "calibration"):
        assert Image.open(tmp_path / "out" / f"{name}.png").size[0] > 300
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert {"roc", "confusion", "calibration"} <= set(events.Tags()["images"])
    assert "test/accuracy" in events.Tags()["scalars"]


def test_an_unreadable_image_is_listed_and_the_rest_goes_on(root: Path, tmp_path: Path) -> None:
    (root / "NORMAL" / "IM-0009-0001.png").write_text("text", encoding="utf-8")
    metrics = evaluate_xray(root, tmp_path / "out", Brightness())
    assert metrics["summary"]["images"] == 6
    assert [problem["patient"] for problem in metrics["problems"]] == ["IM-0009"]


def test_a_folder_without_both_classes_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected images in NORMAL and in PNEUMONIA"):
        evaluate_xray(root / "NORMAL", tmp_path / "out", Brightness())


def test_nothing_readable_is_an_error(root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="found none of 6; the last problem"):
        evaluate_xray(root, tmp_path / "out", Brightness())


def test_patients_that_the_weights_were_trained_on_are_named_and_left_out_on_request(
    root: Path, tmp_path: Path
) -> None:
    image = root / "PNEUMONIA" / "person1_virus_1.png"
    seen = frozenset({pixel_hash(read_xray(image).pixels)})
    metrics = evaluate_xray(root, tmp_path / "all", Brightness(), seen=seen)
    (patient,) = metrics["seen_patients"]
    assert metrics["summary"]["images"] == 6
    metrics = evaluate_xray(root, tmp_path / "unseen", Brightness(), seen=seen, unseen_only=True)
    assert metrics["seen_patients"] == [patient]
    assert metrics["summary"]["images"] == 4  # both films of that patient are left out
    assert evaluate_xray(root, tmp_path / "unknown", Brightness())["seen_patients"] is None
    with pytest.raises(ConfigError, match=r"expected weights with a list of the images .* found none"):
        evaluate_xray(root, tmp_path / "refused", Brightness(), unseen_only=True)


def test_an_evaluation_of_hearts_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"cases": [{"patient": "a", "dice": {}}]}', encoding="utf-8")
    with pytest.raises(DataError, match="expected an evaluation of radiographs .*, found one of hearts"):
        read_cases(tmp_path)
