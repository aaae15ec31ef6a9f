"""The networks that a server offers, loaded once and used one at a time."""

import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from monai.bundle import ConfigParser

from pipelines.core.cine import find_ed_es
from pipelines.core.indices import structure_volumes_ml
from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import Click, Mask
from pipelines.interaction.corrector import Corrector
from pipelines.models.bundle import ACDC_BUNDLE, CORRECTOR
from pipelines.models.predictor import Prediction, Predictor
from pipelines.server.published import BUNDLE_VERSION, PublishedWeights

ENSEMBLE: Final = "ensemble"
"""Name of the mean of all networks."""


class OpenVolume(Protocol):
    """A volume prepared for clicks, here or in another process; see `Correction`."""

    axis: int

    def correct(
        self, mask: Mask, clicks: Sequence[Click], *, settled: Sequence[Click] = (), one_slice: bool = False
    ) -> Mask:
        """As `Correction.correct`."""


class OpensVolumes(Protocol):
    """The correcting network, here or in another process; see `Corrector`."""

    def open(self, volume: Volume) -> OpenVolume:
        """As `Corrector.open`."""


class Predictors:
    """Predictors by the name of their network; `ENSEMBLE` averages all of them.

    Args:
        networks: Networks of the bundle, the default first.
        bundle: Root folder of the bundle.
        device: `"auto"` or a torch device.
        published: Weights that are served instead of the bundle's own, where there are some.

    Attributes:
        loading: Held while a network is loaded, when `torch.fx` redirects the calls of all modules of
            the process; to be held by whoever runs one otherwise than by `predict`.
    """

    def __init__(
        self,
        networks: tuple[str, ...],
        *,
        bundle: Path = ACDC_BUNDLE,
        device: str = "auto",
        published: PublishedWeights | None = None,
    ) -> None:
        self.networks = networks
        self.bundle = bundle
        self.device = device
        self.published = published
        self._loaded: dict[str, Predictor] = {}
        self._corrector: OpensVolumes | None = None
        self.loading = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Names that `predict` knows."""
        return (*self.networks, ENSEMBLE) if len(self.networks) > 1 else self.networks

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return _version(self.bundle)

    def version_of(self, name: str) -> str:
        """Version of the weights that the last prediction was made with, such as `0.1.0+unet.2`.

        After the plus are the numbers of published versions; without one it is the bundle's own.
        """
        return self._described({network: self._numbers.get(network) for network in self._needed(name)})

    def latest(self, name: str) -> str:
        """Version of the weights that the next prediction will be made with."""
        return self._described(dict.fromkeys(self._needed(name)))

    def has_weights(self, name: str) -> bool:
        """Whether the bundle has what a name needs."""
        return all(
            (self.bundle / "models" / network / "model.pt").is_file() for network in self._needed(name)
        )

    def predict(self, name: str, volume: Volume) -> Prediction:
        """Label map on the volume's own grid; waits while another one is made.

        Args:
            name: One of `names`.
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            ConfigError: If weights are missing or do not fit.
            DataError: If the volume is not 3-D.
        """
        with self._lock:
            return self._get(name).predict(volume)

    def probabilities(self, name: str, volume: Volume) -> npt.NDArray[np.float32]:
        """`(4, X, Y, Z)` float32 on the volume's own grid, background first; waits as `predict` does.

        Args:
            name: One of `names`.
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            ConfigError: If weights are missing or do not fit.
            DataError: If the volume is not 3-D.
        """
        with self._lock:
            return self._get(name).probabilities(volume)

    def can_correct(self) -> bool:
        """Whether the bundle has the weights of the correcting network."""
        return (self.bundle / "models" / CORRECTOR / "model.pt").is_file()

    def open(self, volume: Volume) -> OpenVolume:
        """A volume prepared for clicks.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            ConfigError: If weights are missing or do not fit.
            DataError: If the volume is not 3-D.
        """
        return self.load_corrector().open(volume)

    def load_corrector(self) -> OpensVolumes:
        """The correcting network, loaded at the first call.

        Raises:
            ConfigError: If weights are missing or do not fit.
        """
        if self._corrector is not None:
            return self._corrector  # a click does not wait until the uncertainty of a volume is found
        with self._lock, self.loading:
            if self._corrector is None:
                self._corrector = Corrector.load(bundle=self.bundle, device=self.device)
            return self._corrector

    def load(self, name: str) -> None:
        """Load a network before it is asked for.

        Raises:
            ConfigError: If weights are missing or do not fit.
        """
        with self._lock:
            self._get(name)

    def find_phases(self, cine: Volume) -> tuple[int, int]:
        """ED and ES of a cine `(X, Y, Z, T)`, 0-based, from the LV volumes of the default network.

        Raises:
            DataError: If the LV was found in fewer than two frames.
        """
        lv_ml = []
        for index in range(cine.array.shape[3]):
            mask: npt.NDArray[np.uint8] = self.predict(self.networks[0], cine.frame(index)).mask
            lv_ml.append(structure_volumes_ml(mask, cine.spacing_mm)[AcdcLabel.LV])
        return find_ed_es(lv_ml)

    def _get(self, name: str) -> Predictor:
        self._forget_outdated()
        if name not in self._loaded:
            self._loaded[name] = (
                Predictor.joined([self._get(network) for network in self.networks])
                if name == ENSEMBLE
                else self._load(name)
            )
        return self._loaded[name]

    def _load(self, name: str) -> Predictor:
        number = self._number(name)
        weights = self.published.path(name, number) if self.published else None
        with self.loading:
            predictor = Predictor.load(name, bundle=self.bundle, weights=weights, device=self.device)
        self._numbers[name] = number
        return predictor

    def _forget_outdated(self) -> None:
        """Drop networks whose weights were published or restored since they were loaded."""
        for name, number in list(self._numbers.items()):
            if number != self._number(name):
                del self._numbers[name]
                self._loaded.pop(name, None)
                self._loaded.pop(ENSEMBLE, None)

    def _number(self, network: str) -> int:
        return self.published.current(network) if self.published else BUNDLE_VERSION

    def _needed(self, name: str) -> tuple[str, ...]:
        return self.networks if name == ENSEMBLE else (name,)

    def _described(self, numbers: dict[str, int | None]) -> str:
        known = {name: self._number(name) if number is None else number for name, number in numbers.items()}
        learned = [f"{name}.{number}" for name, number in known.items() if number != BUNDLE_VERSION]
        return "+".join([self.version, ".".join(learned)] if learned else [self.version])


@cache
def _version(bundle: Path) -> str:
    return str(ConfigParser.load_config_file(bundle / "configs" / "metadata.json")["version"])
