import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipelines.core.errors import ConfigError, DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.explanation.explain import HeatMap, explain, heat_map, overlay_heat_map
from pipelines.models.bundle import XRAY_NETWORKS, load_config
from pipelines.models.weights import save_weights, write_network
from pipelines.models.xray import Classifier


class LinearScore(nn.Module):
    """Pneumonia where the upper half is bright, against it where the lower half is."""

    def __init__(self) -> None:
        super().__init__()
        self.avgpool = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        grey = self.avgpool(image)[:, 0]
        half = grey.shape[1] // 2
        score = grey[:, :half].mean(dim=(1, 2)) - grey[:, half:].mean(dim=(1, 2))
        return torch.stack((-score, score), dim=1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(load_config("resnet18_tuned").get_parsed_content("network_def"), path)
    write_network(path.parent, "resnet18", {"size_px": [224, 224]})  # that of the images below
    return Classifier.load("resnet18_tuned", weights=path, precision="fp32", device="cpu")


@pytest.fixture
def linear(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.setattr(classifier, "module", LinearScore())
    return classifier


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    return phantom_xray(np.random.default_rng(0))


def test_of_a_linear_score_the_attribution_is_exact_and_signed(linear: Classifier, chest: np.ndarray) -> None:
    found = heat_map(chest, classifier=linear)
    half = len(chest) // 2
    assert found.values.shape == chest.shape
    assert (found.values[:half] >= 0).all()
    assert (found.values[half:] <= 0).all()
    assert np.corrcoef(found.values[:half].ravel(), chest[:half].ravel())[0, 1] > 0.999
    assert found.completeness_error == pytest.approx(0, abs=1e-4)
    assert found.steps == 32
    assert found.baseline_score == pytest.approx(0, abs=1e-5)
    assert found.values.sum() == pytest.approx(found.score, rel=1e-3)


@pytest.mark.parametrize("shape", [(100, 300), (448, 224), (225, 223)])
def test_the_map_lies_on_the_images_own_grid(
    shape: tuple[int, int], linear: Classifier, chest: np.ndarray
) -> None:
    rows = np.linspace(0, 223, shape[0]).astype(int)
    columns = np.linspace(0, 223, shape[1]).astype(int)
    found = heat_map(chest[rows][:, columns], classifier=linear)
    assert found.values.shape == shape
    assert found.values.sum() == pytest.approx(found.score, rel=0.05, abs=0.02)


@pytest.mark.parametrize("method", ["integrated_gradients", "grad_cam", "occlusion"])
def test_each_method_gives_a_finite_map_of_a_resnet(
    method: str, classifier: Classifier, chest: np.ndarray
) -> None:
    found = heat_map(chest, method, classifier=classifier, steps=8)  # type: ignore[arg-type]
    assert found.values.shape == chest.shape
    assert found.values.dtype == np.float32
    assert np.isfinite(found.values).all()
    assert np.ptp(found.values) > 0
    assert (found.completeness_error is None) == (method != "integrated_gradients")


def test_more_steps_make_the_attribution_more_complete(classifier: Classifier, chest: np.ndarray) -> None:
    few, many = (heat_map(chest, classifier=classifier, steps=steps) for steps in (2, 64))
    assert few.completeness_error is not None
    assert many.completeness_error is not None
    assert many.completeness_error < few.completeness_error
    assert (few.steps, many.steps) == (2, 64)


def test_occlusion_finds_the_bright_square_that_decides(linear: Classifier) -> None:
    image = np.zeros((224, 224), np.float32)
    image[32:64, 96:128] = 1
    found = heat_map(image, "occlusion", classifier=linear)
    row, column = np.unravel_index(np.abs(found.values).argmax(), image.shape)
    assert 32 <= row < 64
    assert 96 <= column < 128


@pytest.mark.parametrize("baseline", ["black", "mean", "blurred"])
def test_each_baseline_has_a_score_of_its_own(
    baseline: str, classifier: Classifier, chest: np.ndarray
) -> None:
    found = heat_map(chest, classifier=classifier, baseline=baseline, steps=4)  # type: ignore[arg-type]
    assert found.baseline_score is not None
    assert found.baseline_score != found.score


def test_wrong_arguments_are_reported(classifier: Classifier, chest: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a method among integrated_gradients, grad_cam"):
        heat_map(chest, "saliency", classifier=classifier)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="found 'integrated_gradients' and 'white'"):
        heat_map(chest, classifier=classifier, baseline="white")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 1 step, found 0"):
        heat_map(chest, classifier=classifier, steps=0)


@pytest.mark.parametrize("network", ["resnet18", "efficientnet_lite0"])
def test_grad_cam_takes_the_maps_before_the_pooling_of_each_network(network: str, tmp_path: Path) -> None:
    module = load_config(network).get_parsed_content("network_def")
    save_weights(module, tmp_path / "model.pt")
    classifier = Classifier.load(network, weights=tmp_path / "model.pt", device="cpu", precision="fp32")
    found = heat_map(np.random.default_rng(0).random((80, 60), np.float32), "grad_cam", classifier=classifier)
    assert found.values.shape == (80, 60)
    assert np.ptp(found.values) > 0


@pytest.fixture(scope="module")
def explain_classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(load_config(XRAY_NETWORKS[0]).get_parsed_content("network_def"), path)
    return Classifier.load(weights=path, precision="fp32", device="cpu")


def save(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(255 * phantom_xray(np.random.default_rng(seed), side_px=96))).save(path)
    return path


def test_each_image_has_an_overlay_and_a_row(explain_classifier: Classifier, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", 0)
    save(tmp_path / "in" / "deep" / "a.png", 1)
    (tmp_path / "in" / "b.jpeg").write_text("text", encoding="utf-8")
    report = explain([tmp_path / "in"], tmp_path / "out", explain_classifier, method="grad_cam")
    assert [overlay.name for overlay in report.overlays] == ["0001_a.png", "0003_a.png"]
    assert all(Image.open(overlay).size[0] > 500 for overlay in report.overlays)
    assert [problem.patient for problem in report.problems] == ["b"]
    with report.table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["method"] for row in rows] == ["grad_cam", "", "grad_cam"]
    assert "expected a whole JPEG" in rows[1]["problem"]


def test_what_is_no_frontal_chest_film_has_no_overlay(explain_classifier: Classifier, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", 0)
    Image.open(tmp_path / "in" / "a.png").rotate(180).save(tmp_path / "in" / "b.png")
    report = explain([tmp_path / "in"], tmp_path / "out", explain_classifier, method="grad_cam")
    assert [overlay.name for overlay in report.overlays] == ["0001_a.png"]
    assert "no verdict: it hardly looks like a chest" in report.problems[0].reason


def test_integrated_gradients_report_their_completeness(
    explain_classifier: Classifier, tmp_path: Path
) -> None:
    report = explain([save(tmp_path / "a.png", 0)], tmp_path / "out", explain_classifier)
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


def test_nothing_readable_is_an_error(explain_classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match=r"found none of 1: .*explanations\.csv"):
        explain([tmp_path / "a.jpeg"], tmp_path / "out", explain_classifier)
