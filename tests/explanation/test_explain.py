import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.explanation.explain import explain, overlay_heat_map
from pipelines.explanation.heat_map import HeatMap
from pipelines.models.bundle import XRAY_NETWORKS, load_config
from pipelines.models.checkpoints import save_weights
from pipelines.models.classifier import Classifier


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(load_config(XRAY_NETWORKS[0]).get_parsed_content("network_def"), path)
    return Classifier.load(weights=path, precision="fp32", device="cpu")


def save(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(255 * phantom_xray(np.random.default_rng(seed), side_px=96))).save(path)
    return path


def test_each_image_has_an_overlay_and_a_row(classifier: Classifier, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", 0)
    save(tmp_path / "in" / "deep" / "a.png", 1)
    (tmp_path / "in" / "b.jpeg").write_text("text", encoding="utf-8")
    report = explain([tmp_path / "in"], tmp_path / "out", classifier, method="grad_cam")
    assert [overlay.name for overlay in report.overlays] == ["0001_a.png", "0003_a.png"]
    assert all(Image.open(overlay).size[0] > 500 for overlay in report.overlays)
    assert [problem.patient for problem in report.problems] == ["b"]
    with report.table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["method"] for row in rows] == ["grad_cam", "", "grad_cam"]
    assert "expected a whole JPEG" in rows[1]["problem"]


def test_integrated_gradients_report_their_completeness(classifier: Classifier, tmp_path: Path) -> None:
    report = explain([save(tmp_path / "a.png", 0)], tmp_path / "out", classifier)
    with report.table.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert int(row["steps"]) in (32, 64, 128, 256)
    assert float(row["completeness_error"]) >= 0


def test_red_is_for_pneumonia_and_blue_against(tmp_path: Path) -> None:
    values = np.zeros((100, 100), np.float32)
    values[20:40, 20:40], values[60:80, 60:80] = 1, -1
    overlay_heat_map(np.full((100, 100), 0.5, np.float32), HeatMap(values, 0.0), tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 200) & (picture[..., 2] < 60)
    blue = (picture[..., 2] > 200) & (picture[..., 0] < 60)
    assert red.any()
    assert blue.any()
    assert np.nonzero(red)[0].min() < np.nonzero(blue)[0].max()


def test_nothing_readable_is_an_error(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match=r"found none of 1: .*explanations\.csv"):
        explain([tmp_path / "a.jpeg"], tmp_path / "out", classifier)
