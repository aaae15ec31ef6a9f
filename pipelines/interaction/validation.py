"""Validation of the correcting network in training: whole volumes after a few simulated clicks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import read_label, read_volume
from pipelines.interaction.clicks import Mask
from pipelines.interaction.corrector import Corrector
from pipelines.interaction.user import click_on_errors
from pipelines.models.member import Member, Transform
from pipelines.models.predictor import Predictor


class ClickedVolumes:
    """What a MONAI evaluator does with each volume: a user corrects the automatic mask.

    Args:
        network: Correcting network as it is in training.
        automatic: Gives the masks to be corrected; each volume is segmented once and remembered.
        preprocessing: As of `Member`.
        to_label_map: As of `Member`.
        device: Where the network runs.
        dtype: Type of the fast operations, None for float32.
        clicks: Clicks on each volume.
    """

    def __init__(
        self,
        network: nn.Module,
        automatic: Predictor,
        *,
        preprocessing: Transform,
        to_label_map: Transform,
        device: torch.device,
        dtype: torch.dtype | None,
        clicks: int,
    ) -> None:
        self.network, self.automatic, self.clicks = network, automatic, clicks
        self._settings: dict[str, Any] = {
            "preprocessing": preprocessing,
            "to_label_map": to_label_map,
            "device": device,
            "dtype": dtype,
        }
        self._masks: dict[str, Mask] = {}
        self._corrector: Corrector | None = None

    def __call__(self, engine: Engine, batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        """`pred` and `label` of the one volume of a batch, each `(4, X, Y, Z)` one-hot.

        Args:
            engine: Evaluator.
            batch: `image` and `label`, each a list of one path.
        """
        if self._corrector is None or engine.state.iteration == 1:
            self._corrector = Corrector(Member(self.network, None, **self._settings))
        image, label = batch["image"][0], batch["label"][0]
        volume, truth = read_volume(Path(image)), read_label(Path(label)).array
        if image not in self._masks:
            self._masks[image] = self.automatic.predict(volume).mask
        mask = self._masks[image]
        for step in click_on_errors(self._corrector.open(volume), mask, truth, self.clicks):
            mask = step.mask
        return [{"pred": _one_hot(mask), "label": _one_hot(truth)}]


def _one_hot(mask: Mask) -> Tensor:
    return torch.from_numpy(np.stack([mask == label for label in AcdcLabel])).float()
