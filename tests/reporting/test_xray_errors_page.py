import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.reporting.xray_errors_page import HEADER, explore_errors, type_cells


def evaluation(folder: Path, *, wrong: int) -> Path:
    cases: list[dict[str, Any]] = []
    for index in range(20):
        path = folder / f"{index}.png"
        Image.fromarray((255 * phantom_xray(np.random.default_rng(index), side_px=64)).astype(np.uint8)).save(
            path
        )
        cases.append(
            {
                "image": str(path),
                "patient": f"h{index}",
                "finding": "NORMAL",
                "agent": "",
                "probability": 0.95 if index < wrong else 0.1,
                "is_correct": index >= wrong,
            }
        )
    (folder / "metrics.json").write_text(json.dumps({"cases": cases}))
    return folder


def test_page_table_and_tensorboard_show_all_wrong_images(tmp_path: Path) -> None:
    found = explore_errors(evaluation(tmp_path, wrong=14), tmp_path / "out")
    page = (tmp_path / "out" / "errors.html").read_text()
    assert page.count("data:image/png;base64") == 2  # twelve to a sheet
    assert "14 of 20 images are misclassified" in page
    for kind in found.types:
        assert len(type_cells(kind)) == len(HEADER)
    with (tmp_path / "out" / "errors.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["is_correct"] for row in rows] == ["False"] * 14 + ["True"] * 6
    assert float(rows[0]["brightness"]) == pytest.approx(found.cases[0]["attributes"]["brightness"])
    assert json.loads((tmp_path / "out" / "errors.json").read_text())["types"][0]["errors"] == 14
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["misclassified"]


def test_no_errors_are_said(tmp_path: Path) -> None:
    explore_errors(evaluation(tmp_path, wrong=0), tmp_path / "out")
    assert "No image is misclassified." in (tmp_path / "out" / "errors.html").read_text()


def test_a_folder_without_an_evaluation_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected an evaluation"):
        explore_errors(tmp_path, tmp_path / "out")
