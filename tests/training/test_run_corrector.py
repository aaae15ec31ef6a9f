"""Training of the corrector through the bundle, at the size of seconds."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

from pipelines.models.bundle import CORRECTOR, load_config
from pipelines.models.weights import save_weights

Settings = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.slow


class KilledError(Exception):
    """Stands for an end that no handler sees coming."""


@pytest.fixture
def settings(small: Settings, tmp_path: Path) -> dict[str, Any]:
    """Two epochs at half resolution, correcting an automatic network with random weights."""
    weights = tmp_path / "unet.pt"
    torch.manual_seed(1)
    save_weights(load_config("unet").get_parsed_content("network_def"), weights)
    return small(CORRECTOR, max_epochs=2, clicks=1, initial_weights=None, automatic_weights=str(weights))


def train(settings: dict[str, Any], *, stop: bool = False) -> ConfigParser:
    """Train the corrector; `stop` kills it in the middle of epoch 2."""
    config = load_config(CORRECTOR, ["train"], **settings)
    config.get_parsed_content("initialize")
    if stop:
        trainer: Engine = config.get_parsed_content("train#trainer")
        once = Events.ITERATION_COMPLETED(event_filter=lambda engine, event: engine.state.epoch == 2)

        def kill(engine: Engine) -> None:
            raise KilledError

        trainer.add_event_handler(once, kill)
    config.get_parsed_content("training")
    return config


def test_a_killed_run_goes_on_to_the_same_weights_and_validates_by_clicks(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    whole = train(settings | {"output_dir": str(tmp_path / "whole")}).get_parsed_content("network")
    parts = settings | {"output_dir": str(tmp_path / "parts")}
    with pytest.raises((KilledError, RuntimeError)):
        train(parts, stop=True)
    resumed = train(parts | {"resume": True}).get_parsed_content("network")
    first, second = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    with (tmp_path / "whole" / "history.csv").open() as stream:
        scores = [float(row["val_mean_dice"]) for row in csv.DictReader(stream)]
    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)
    assert (tmp_path / "whole" / "best.pt").is_file()
