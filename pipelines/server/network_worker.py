"""The networks of a server in a process of their own, so that no volume can stop the server."""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.core.stack_order import stack_order
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import Click, Mask
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.predictor import Prediction
from pipelines.server.predictors import OpenVolume, Predictors
from pipelines.server.published import PublishedWeights
from pipelines.server.worker import Worker

INFER_S: Final = 300.0
"""Longest inference, s; a stack takes about a second, the largest volume that is admitted some minutes."""

INFER_BYTES: Final = 12 * 1024**3
"""Memory of an inference on a CPU, of which the largest volume that is admitted takes most."""

OPEN_VOLUMES: Final = 16
"""Volumes that stay prepared for clicks in the process, the latest ones."""


class WorkerPredictors(Predictors):
    """As `Predictors`, with the networks in a process that is killed past its limits and replaced.

    Args:
        networks: Networks of the bundle, the default first.
        bundle: Root folder of the bundle.
        device: `"auto"` or a torch device.
        published: Weights that are served instead of the bundle's own, where there are some.
    """

    def __init__(
        self,
        networks: tuple[str, ...],
        *,
        bundle: Path = ACDC_BUNDLE,
        device: str = "auto",
        published: PublishedWeights | None = None,
    ) -> None:
        super().__init__(networks, bundle=bundle, device=device, published=published)
        # Drivers of GPUs reserve more addresses than there is memory.
        self.worker = Worker("networks", most_s=INFER_S, most_bytes=None if _has_gpu(device) else INFER_BYTES)
        self._settings = {"networks": networks, "bundle": bundle, "device": device, "published": published}

    def predict(self, name: str, volume: Volume) -> Prediction:
        """As `Predictors.predict`.

        Raises:
            TooLongError: If it takes longer than `INFER_S`.
            TooLargeError: If it needs more memory than `INFER_BYTES`.
        """
        prediction, self._numbers = self.worker.call(_predict, self._settings, name, volume)
        return prediction

    def probabilities(self, name: str, volume: Volume) -> npt.NDArray[np.float32]:
        """As `Predictors.probabilities`; raises as `predict`."""
        return self.worker.call(_probabilities, self._settings, name, volume)

    def load(self, name: str) -> None:
        """Load a network in the process before it is asked for."""
        self.worker.call(_load, self._settings, name)

    def load_corrector(self) -> "CorrectorAway":
        """The correcting network, loaded in the process at the first call."""
        self.worker.call(_load_corrector, self._settings)
        return CorrectorAway(self.worker, self._settings)


class CorrectorAway:
    """The correcting network in the process of another one."""

    def __init__(self, worker: Worker, settings: dict[str, Any]) -> None:
        self._worker = worker
        self._settings = settings

    def open(self, volume: Volume) -> "CorrectionAway":
        """Prepare a volume for clicks, as `Corrector.open`."""
        correction = CorrectionAway(self._worker, self._settings, volume)
        correction.open()
        return correction


class CorrectionAway:
    """As `Correction`, with the prepared volume in the process of the networks."""

    _numbers = itertools.count()

    def __init__(self, worker: Worker, settings: dict[str, Any], volume: Volume) -> None:
        order = stack_order(volume.affine, volume.spacing_mm, is_oriented=volume.is_oriented)
        self.axis = order.axes[2]
        self._worker = worker
        self._settings = settings
        self._volume = volume
        self._number = next(self._numbers)

    def open(self) -> None:
        """Prepare the volume, at first and in a process that does not have it."""
        self._worker.call(_open, self._settings, self._number, self._volume)

    def correct(
        self, mask: Mask, clicks: Sequence[Click], *, settled: Sequence[Click] = (), one_slice: bool = False
    ) -> Mask:
        """As `Correction.correct`."""
        found = self._worker.call(_correct, self._number, mask, clicks, settled, one_slice)
        if found is None:  # forgotten for later ones, or the process was replaced
            self.open()
            found = self._worker.call(_correct, self._number, mask, clicks, settled, one_slice)
        assert found is not None
        return found


def _has_gpu(device: str) -> bool:
    import torch

    return torch.cuda.is_available() if device == "auto" else not device.startswith("cpu")


# What follows runs in the process.

_LOADED: list[Predictors] = []
_OPEN: OrderedDict[int, OpenVolume] = OrderedDict()


def _predictors(settings: dict[str, Any]) -> Predictors:
    if not _LOADED:
        _LOADED.append(Predictors(**settings))
    return _LOADED[0]


def _predict(settings: dict[str, Any], name: str, volume: Volume) -> tuple[Prediction, dict[str, int]]:
    predictors = _predictors(settings)
    return predictors.predict(name, volume), predictors._numbers


def _probabilities(settings: dict[str, Any], name: str, volume: Volume) -> npt.NDArray[np.float32]:
    return _predictors(settings).probabilities(name, volume)


def _load(settings: dict[str, Any], name: str) -> None:
    _predictors(settings).load(name)


def _load_corrector(settings: dict[str, Any]) -> None:
    _predictors(settings).load_corrector()


def _open(settings: dict[str, Any], number: int, volume: Volume) -> None:
    _OPEN[number] = _predictors(settings).open(volume)
    while len(_OPEN) > OPEN_VOLUMES:
        _OPEN.popitem(last=False)


def _correct(
    number: int, mask: Mask, clicks: Sequence[Click], settled: Sequence[Click], one_slice: bool
) -> Mask | None:
    if number not in _OPEN:
        return None
    _OPEN.move_to_end(number)
    return _OPEN[number].correct(mask, clicks, settled=settled, one_slice=one_slice)
