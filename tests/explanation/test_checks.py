from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.core.errors import ConfigError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.explanation.checks import (
    DELETED,
    attribution_shares,
    chest_mask,
    deletion,
    randomised_likeness,
)
from pipelines.explanation.heat_map import HeatMap, heat_map
from pipelines.models.classifier import XrayModel


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
    assert curves.highlighted.shape == curves.random.shape == (len(DELETED),)
    assert curves.highlighted[0] == curves.random[0] == pytest.approx(1)
    assert curves.highlighted[-1] == pytest.approx(curves.random[-1])


def test_of_a_bright_spot_the_deletion_gains(image: np.ndarray) -> None:
    classifier = SpotClassifier()
    spotted = image * 0.3
    spotted[4:12, 4:12] = 1.0
    before = spotted.copy()
    curves = deletion(spotted, heat_map(spotted, classifier=classifier), classifier, baseline="mean")
    assert curves.gain > 0.2
    assert curves.highlighted[4] < 0.5 * curves.random[4]
    assert np.array_equal(spotted, before)
    upside_down = HeatMap(-heat_map(spotted, classifier=classifier).values, score=1.0)
    assert deletion(spotted, upside_down, classifier, baseline="mean").gain < curves.gain


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
    monkeypatch.setattr("pipelines.explanation.checks.heat_map", lambda *_, **__: edges)
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
