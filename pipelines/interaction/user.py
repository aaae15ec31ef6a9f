"""A simulated user who corrects a mask click by click, and validation of the correcting network by it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import read_label, read_volume
from pipelines.interaction.clicks import Click, Mask, largest_error
from pipelines.interaction.corrector import Correction, Corrector
from pipelines.models.heart import Member, Predictor, Transform


@dataclass(frozen=True, slots=True)
class Step:
    """What one click did.

    Attributes:
        click: Where the user clicked, and the label given.
        mask: `(X, Y, Z)` label map after it.
        seconds: Time from the click to the mask.
    """

    click: Click
    mask: Mask
    seconds: float


def click_on_errors(
    correction: Correction, mask: Mask, truth: Mask, count: int, *, only_slice: int | None = None
) -> Iterator[Step]:
    """Click up to `count` times in the middle of the largest error; ends before if none is left.

    Args:
        correction: Volume to correct.
        mask: `(X, Y, Z)` label map to start from, in the file's order of axes.
        truth: `(X, Y, Z)`, what it should be.
        count: Largest number of clicks.
        only_slice: Index of the one slice to correct; by default the whole volume.
    """
    settled: list[Click] = []
    for _ in range(count):
        click = worst_click(mask, truth, correction.axis, only_slice=only_slice)
        if click is None:
            return
        start = time.perf_counter()
        mask = correction.correct(mask, [click], settled=settled, one_slice=only_slice is not None)
        seconds = time.perf_counter() - start
        settled.append(click)
        yield Step(click, mask, seconds)


def worst_click(mask: Mask, truth: Mask, axis: int, *, only_slice: int | None = None) -> Click | None:
    """Click in the middle of the largest wrong region of a slice, None if all is right.

    Args:
        mask: `(X, Y, Z)` label map.
        truth: `(X, Y, Z)`, what it should be.
        axis: Axis across the slices.
        only_slice: Index of the one slice to look at; by default all.
    """
    present, wanted = (np.moveaxis(array, axis, 2) for array in (mask, truth))
    first = 0
    if only_slice is not None:
        first = only_slice
        present, wanted = (array[:, :, first : first + 1] for array in (present, wanted))
    found = largest_error(present, wanted)
    if found is None:
        return None
    i, j, k = np.insert([found.i, found.j], axis, found.k + first).tolist()
    return Click(i, j, k, found.label)


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
