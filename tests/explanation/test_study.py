import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from pipelines.core.errors import ConfigError, DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.evaluation.classification import read_cases
from pipelines.explanation.explain import HeatMap, heat_map
from pipelines.explanation.study import (
    DELETED,
    attribution_shares,
    chest_mask,
    choose_cases,
    deletion,
    randomised_likeness,
    study_explanations,
)
from pipelines.models.bundle import load_config
from pipelines.models.weights import save_weights
from pipelines.models.xray import Classifier, XrayModel


class Spot(nn.Module):
    """Pneumonia where a square in the upper left is bright; the stages of a ResNet, of which `fc` learns."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Identity() for _ in range(4))
        self.fc = nn.Linear(32 * 32, 2)
        weight = torch.zeros(32, 32)
        weight[4:12, 4:12] = 1.0
        self.fc.weight.data = torch.stack((-weight.ravel(), weight.ravel()))
        self.fc.bias.data.zero_()

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.fc(self.layer4(image)[:, 0].flatten(1))
        return found


class SpotClassifier(XrayModel):
    def __init__(self) -> None:
        super().__init__(resize=lambda image: image, to_input=lambda image: image, folder=Path())
        self.module: nn.Module = Spot()
        self.device = torch.device("cpu")

    def logits(self, batch: Tensor) -> Tensor:
        with torch.no_grad():
            return self.module(batch)


@pytest.fixture
def image() -> np.ndarray:
    return phantom_xray(np.random.default_rng(3), side_px=32)


def test_deleting_what_matters_lets_the_score_fall_first(image: np.ndarray) -> None:
    classifier = SpotClassifier()
    found = heat_map(image, classifier=classifier)
    curves = deletion(image, found, classifier, baseline="mean")
    assert curves["highlighted"].shape == curves["random"].shape == (len(DELETED),)
    assert curves["highlighted"][0] == curves["random"][0] == pytest.approx(1)
    assert curves["highlighted"][-1] == pytest.approx(curves["random"][-1])


def test_of_a_bright_spot_the_deletion_gains(image: np.ndarray) -> None:
    classifier = SpotClassifier()
    spotted = image * 0.3
    spotted[4:12, 4:12] = 1.0
    before = spotted.copy()
    curves = deletion(spotted, heat_map(spotted, classifier=classifier), classifier, baseline="mean")
    assert curves["gain"] > 0.2
    assert curves["highlighted"][4] < 0.5 * curves["random"][4]
    assert np.array_equal(spotted, before)
    upside_down = HeatMap(-heat_map(spotted, classifier=classifier).values, score=1.0)
    assert deletion(spotted, upside_down, classifier, baseline="mean")["gain"] < curves["gain"]


def test_random_weights_change_the_map_and_leave_the_network(image: np.ndarray) -> None:
    classifier = SpotClassifier()
    weight = classifier.module.fc.weight.clone()
    likeness = randomised_likeness([image], classifier)
    assert list(likeness) == ["fc", "layer4", "layer3", "layer2", "layer1", "stem"]
    assert abs(likeness["fc"]) < 0.6
    assert torch.equal(classifier.module.fc.weight, weight)
    assert randomised_likeness([image], classifier) == likeness


def test_a_map_of_the_picture_alone_stays_alike(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    edges = HeatMap(np.abs(np.gradient(image)[0]), score=1.0)
    monkeypatch.setattr("pipelines.explanation.study.heat_map", lambda *_, **__: edges)
    assert randomised_likeness([image], SpotClassifier())["stem"] == pytest.approx(1)


def test_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected images"):
        randomised_likeness([], SpotClassifier())


def test_shares_of_an_even_map_are_those_of_the_areas() -> None:
    found = attribution_shares(HeatMap(np.full((100, 80), -0.5, np.float32), score=1.0))
    assert found["chest"] == pytest.approx(found["chest_area"])
    assert found["frame"] == pytest.approx(found["frame_area"]) == pytest.approx(0.36)


def test_a_map_in_a_corner_is_outside_the_chest() -> None:
    values = np.zeros((100, 100), np.float32)
    values[:8, :8] = 1
    found = attribution_shares(HeatMap(values, score=1.0))
    assert (found["chest"], found["frame"]) == (0, 1)
    assert chest_mask((100, 100))[47, 50]
    assert not chest_mask((100, 100))[2, 2]


def case(name: str, finding: str, probability: float) -> dict[str, Any]:
    is_correct = (probability >= 0.5) == (finding == "PNEUMONIA")
    return {"image": name, "finding": finding, "probability": probability, "is_correct": is_correct}


CASES = [
    *(case(f"n{index}", "NORMAL", 0.1) for index in range(5)),
    *(case(f"p{index}", "PNEUMONIA", 0.9) for index in range(5)),
    case("doubtful", "NORMAL", 0.55),
    case("sure", "PNEUMONIA", 0.01),
    case("rather", "NORMAL", 0.8),
]


def test_wrong_ones_are_the_most_certain_and_right_ones_of_both_findings() -> None:
    found = choose_cases(CASES, of_each=3, seed=0)
    assert [item["image"] for item in found[:3]] == ["sure", "rather", "doubtful"]
    assert [item["finding"] for item in found[3:]] == ["PNEUMONIA", "NORMAL", "PNEUMONIA"]
    assert all(item["is_correct"] for item in found[3:])
    assert len({item["image"] for item in found}) == 6
    assert choose_cases(CASES, of_each=3, seed=0) == found


def test_fewer_cases_than_asked_are_all_there_are() -> None:
    found = choose_cases(CASES[:2], of_each=3, seed=0)
    assert {item["image"] for item in found} <= {"n0", "n1"}


def test_each_case_has_its_overlay_and_figures(tmp_path: Path) -> None:
    image = phantom_xray(np.random.default_rng(0), side_px=64)
    Image.fromarray((255 * image).astype(np.uint8)).save(tmp_path / "a.png")
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    cases = [case(str(tmp_path / "a.png"), "NORMAL", 0.9)]
    (evaluation / "metrics.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    torch.manual_seed(0)
    get = load_config("resnet18", size_px=[64, 64]).get_parsed_content
    network = get("network")
    save_weights(network, tmp_path / "model.pt")
    classifier = Classifier(
        network,
        tmp_path / "model.pt",
        resize=get("resize"),
        to_input=get("to_input"),
        device=torch.device("cpu"),
        dtype=None,
    )
    content = study_explanations(evaluation, tmp_path / "out", classifier, of_each=1)
    assert json.loads((tmp_path / "out" / "explanations.json").read_text(encoding="utf-8"))[
        "deleted"
    ] == list(DELETED)
    (found,) = content["cases"]
    assert Image.open(tmp_path / "out" / found["overlay"]).size[0] > 300
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == [f"explanations/{Path(found['overlay']).stem}"]
    methods = {"integrated_gradients", "grad_cam", "occlusion"}
    assert found["shares"].keys() == found["deletion"].keys() == methods
    assert 0 < found["shares"]["occlusion"]["chest"] <= 1
    errors = found["completeness"]["black"]
    assert errors["128"] < max(0.05, errors["16"])
    assert content["randomised"]["integrated_gradients"]["stem"] < 0.9


@pytest.mark.parametrize("text", [None, "no JSON", "{}"])
def test_a_folder_without_an_evaluation_is_reported(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="expected an evaluation of 'thorax evaluate'"):
        read_cases(tmp_path)
