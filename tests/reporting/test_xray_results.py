import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.reporting.markdown import END, START, block_marks
from pipelines.reporting.xray_results import (
    PICTURES,
    SCORES,
    Studies,
    read_evaluation,
    write_xray_results,
)

HISTORY = "epoch,iteration,train_loss,val_auroc\n1,10,1.0,0.91\n2,20,0.5,0.97\n"


def write_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    command = ["__main__.py", "run", "training", "--args_file", "configs/args_resnet18.yaml"]
    manifest = {"command": [*command, "--dataset_dir", "/here/prep"], "seconds": 120.0}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "precision": "None", "threads": 2}))
    (folder / "history.csv").write_text(HISTORY)
    return folder


def write_evaluation(folder: Path, *, accuracy: float = 0.95, leaks: bool = False) -> Path:
    folder.mkdir(parents=True)
    summary: dict[str, Any] = dict.fromkeys(SCORES, 0.9) | {"accuracy": accuracy, "ece": 0.02}
    summary |= {"threshold": 0.41, "images": 20, "patients": 12, "confusion_matrix": [[8, 2], [1, 9]]}
    intervals = {name: [0.85, 0.99] for name in SCORES}
    (folder / "metrics.json").write_text(json.dumps({"summary": summary, "intervals": intervals}))
    command = ["thorax", "evaluate-xray", "/here/prep", "--output", "/there/test"]
    manifest = {"network": "resnet18", "leaks_patients": leaks, "command": command}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name in PICTURES:
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"# Card\n\n{START}\nlast figures\n{END}\n\nafter\n")
    return path


def test_page_and_card_have_the_figures_with_their_intervals(tmp_path: Path, card: Path) -> None:
    evaluation = write_evaluation(tmp_path / "base", accuracy=0.956)
    page = write_xray_results([write_run(tmp_path / "run")], [evaluation], tmp_path / "docs", card=card)
    text = page.read_text()
    assert "| accuracy | 0.956 (0.850 to 0.990) |" in text
    assert "9 of 10 images with pneumonia were found, 2 of 10 normal ones called pneumonia" in text
    assert "| run | resnet18 | 2 | 1,920 |" in text
    assert "0.9700" in text
    assert "thorax evaluate-xray /path/to/prepared --output runs/test" in text
    assert "/here" not in text
    assert "0.956" in card.read_text()
    assert "last figures" not in card.read_text()
    assert all((tmp_path / "docs" / f"chest-xray-{name}.png").is_file() for name in PICTURES)


def test_words_written_by_hand_stay_and_sections_without_a_folder_too(tmp_path: Path, card: Path) -> None:
    output = tmp_path / "docs"
    evaluation = write_evaluation(tmp_path / "base", accuracy=0.956)
    runs = [write_run(tmp_path / "run")]
    page = write_xray_results(runs, [evaluation], output, card=card)
    start, end = block_marks("errors")
    by_hand = page.read_text().replace("## Accuracy", "## Accuracy\n\nRead with care.")
    page.write_text(by_hand.replace(start, f"{start}\nlast errors"))
    search = tmp_path / "search"
    search.mkdir()
    (search / "trials.csv").write_text("trial,auroc\na,0.9\n")
    write_xray_results(runs, [evaluation], output, card=card, studies=Studies(search=search))
    text = page.read_text()
    assert "Read with care." in text
    assert f"{start}\nlast errors" in text
    assert "The 1 best of 1 trials" in text
    assert text.count("0.956 (0.850") == 1
    page.write_text(text.replace(block_marks("runs")[1], ""))
    with pytest.raises(DataError, match="expected the lines <!-- runs:start -->"):
        write_xray_results(runs, [evaluation], output, card=card)
    assert end in page.read_text()


def test_a_split_that_leaks_patients_is_named_as_such(tmp_path: Path, card: Path) -> None:
    evaluations = [
        write_evaluation(tmp_path / "base"),
        write_evaluation(tmp_path / "by_image", accuracy=0.98, leaks=True),
    ]
    page = write_xray_results([write_run(tmp_path / "run")], evaluations, tmp_path / "docs", card=card)
    assert "| base | by_image, split by image: leaks patients |" in page.read_text()


def test_what_is_missing_is_told(tmp_path: Path, card: Path) -> None:
    with pytest.raises(DataError, match="at least one run and one evaluation, found 0 and 0"):
        write_xray_results([], [], tmp_path / "docs", card=card)
    with pytest.raises(DataError, match="expected an evaluation of 'thorax evaluate-xray'"):
        read_evaluation(tmp_path)
    folder = write_evaluation(tmp_path / "base")
    (folder / "roc.png").unlink()
    with pytest.raises(DataError, match=r"expected roc\.png in"):
        read_evaluation(folder)
