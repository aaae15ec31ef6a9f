import numpy as np
import pytest
import torch
from monai.networks.nets import AttentionUnet
from torch import nn

from pipelines.core.errors import ConfigError
from pipelines.explanation.explain import (
    attention_gates,
    chosen_layers,
    liveliest_channels,
    recorded,
)


class Halving(nn.Module):
    """Doubles, halves the resolution, adds one: answers that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(1, 1, 1, bias=False)
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Identity()
        nn.init.constant_(self.twice.weight, 2.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.pool(self.twice(image)))
        return found


def test_layers_are_recorded_in_order_with_what_they_answer() -> None:
    network = Halving()
    with recorded(network) as outputs:
        network(torch.ones(1, 1, 4, 4))
    assert list(outputs) == ["twice", "pool", "last"]
    assert np.array_equal(outputs["twice"], np.full((1, 4, 4), 2.0))
    assert outputs["pool"].shape == (1, 2, 2)
    assert chosen_layers(outputs) == ["twice", "last"]


def test_nothing_is_recorded_after_the_block() -> None:
    network = Halving()
    with recorded(network) as outputs:
        pass
    network(torch.ones(1, 1, 4, 4))
    assert outputs == {}


def test_an_unknown_layer_is_an_error_that_lists_the_layers() -> None:
    with recorded(Halving()) as outputs:
        outputs |= {"twice": np.zeros((1, 2, 2)), "pool": np.zeros((1, 1, 1))}
    assert chosen_layers(outputs, ["pool"]) == ["pool"]
    with pytest.raises(ConfigError, match="found pond; its layers are twice, pool"):
        chosen_layers(outputs, ["pond", "pool"])


def test_attention_gates_are_found_at_each_resolution_and_lie_between_0_and_1() -> None:
    network = AttentionUnet(2, 1, 2, channels=(4, 8, 16), strides=(2, 2)).eval()
    with recorded(network) as outputs, torch.inference_mode():
        network(torch.rand(1, 1, 16, 16))
    gates = attention_gates(outputs)
    assert [gate.shape for gate in gates.values()] == [(8, 8), (16, 16)]
    assert all(name.endswith(".attention") for name in gates)
    assert all(0 <= gate.min() <= gate.max() <= 1 for gate in gates.values())
    assert not any("attention.psi" in name for name in chosen_layers(outputs))


def test_the_channel_that_varies_most_comes_first() -> None:
    maps = np.zeros((3, 2, 2), np.float32)
    maps[1, 0, 0], maps[2, 0, 0] = 5, 1
    assert liveliest_channels(maps, 2) == [1, 2]
