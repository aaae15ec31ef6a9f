from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines.core.errors import ConfigError
from pipelines.interaction.start import start_from_automatic
from pipelines.models.checkpoints import save_weights


def network(channels: int, *, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 4, 1))


def test_before_training_the_network_gives_what_the_automatic_one_gives(tmp_path: Path) -> None:
    automatic, wider = network(3).eval(), network(7).eval()
    save_weights(automatic, tmp_path / "model.pt")
    start_from_automatic(wider, network(3), tmp_path / "model.pt")
    image, more = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 8, 8)
    assert torch.allclose(wider(torch.cat((image, more), dim=1)), automatic(image), atol=1e-6)


def test_a_network_of_other_widths_is_refused(tmp_path: Path) -> None:
    save_weights(network(3), tmp_path / "model.pt")
    with pytest.raises(ConfigError, match="give both the same widths"):
        start_from_automatic(network(7, width=5), network(3), tmp_path / "model.pt")
    with pytest.raises(ConfigError, match="expected weights at"):
        start_from_automatic(network(7), network(3), tmp_path / "none.pt")
