"""The networks that a server offers, in a process of their own, with what was learned from its labels."""

import itertools
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from monai.bundle import ConfigParser

from pipelines.core.cardiac import find_ed_es, structure_volumes_ml
from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path, read_json, write_json
from pipelines.core.plausibility import stack_order
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import Click, Mask
from pipelines.interaction.corrector import Corrector
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.heart import Prediction, Predictor
from pipelines.server.history import read_records, utc_now
from pipelines.server.images import WORK_FOLDER
from pipelines.server.worker import Worker

Taken = ParamSpec("Taken")
Result = TypeVar("Result")

BUNDLE_VERSION: Final = 0
"""Number of the weights that the bundle ships."""

CURRENT_NAME: Final = "current.json"


class PublishedWeights:
    """Versions of networks' weights in `.thorax/models/<network>/` of a studies folder.

    A version is `0001.pt` with a record, `0001.json`; neither is ever written again. `current.json` names
    the version that is served, and is replaced as a whole, so that there is always exactly one.

    Args:
        root: Studies folder.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / WORK_FOLDER / "models"

    def current(self, network: str) -> int:
        """Number of the version that is served, `BUNDLE_VERSION` for the bundle's own weights."""
        return self._current(network)["version"]

    def path(self, network: str, version: int) -> Path | None:
        """Weights file of a version, None for the bundle's own."""
        if version == BUNDLE_VERSION:
            return None
        return self.folder / network / f"{version:04d}.pt"

    def versions(self, network: str) -> list[dict[str, Any]]:
        """Records of all versions, the oldest first: `version`, `time`, and what `publish` was told."""
        return read_records(self.folder / network)

    def publish(self, network: str, weights: Path, record: Mapping[str, Any]) -> int:
        """Keep weights as a new version and serve it from now on.

        Args:
            network: Name of the network.
            weights: Existing file.
            record: How the weights came about, for the version's record.

        Returns:
            Number of the version.

        Raises:
            OutputError: If it cannot be written; what was served before stays.
        """
        before = self.current(network)
        version = max([BUNDLE_VERSION, *(entry["version"] for entry in self.versions(network))]) + 1
        folder = self.folder / network
        with atomic_path(folder / f"{version:04d}.pt") as temporary:
            shutil.copyfile(weights, temporary)
        about = {"version": version, "time": utc_now(), "replaces": before}
        write_json(folder / f"{version:04d}.json", about | dict(record))
        write_json(folder / CURRENT_NAME, {"version": version, "before": before})
        return version

    def restore(self, network: str, version: int | None = None) -> int:
        """Serve another version that was kept.

        Args:
            network: Name of the network.
            version: Its number, `BUNDLE_VERSION` for the bundle's own weights; None for the one that was
                served before the present one.

        Returns:
            Number of the version that is served now.

        Raises:
            ConfigError: If there is no such version.
            OutputError: If it cannot be written.
        """
        now = self._current(network)
        wanted = now["before"] if version is None else version
        known = [BUNDLE_VERSION, *(entry["version"] for entry in self.versions(network))]
        if wanted not in known:
            raise ConfigError(
                f"expected a version of {network} among {', '.join(map(str, known))} (0: the bundle's own), "
                f"found {wanted}"
            )
        write_json(self.folder / network / CURRENT_NAME, {"version": wanted, "before": now["version"]})
        return int(wanted)

    def _current(self, network: str) -> dict[str, int]:
        path = self.folder / network / CURRENT_NAME
        if not path.is_file():
            return {"version": BUNDLE_VERSION, "before": BUNDLE_VERSION}
        known: dict[str, int] = read_json(path)
        return known


class OpenVolume(Protocol):
    """A volume prepared for clicks, here or in another process; see `Correction`."""

    axis: int

    def correct(
        self, mask: Mask, clicks: Sequence[Click], *, settled: Sequence[Click] = (), one_slice: bool = False
    ) -> Mask:
        """As `Correction.correct`."""


@dataclass(eq=False)
class Predictors:
    """Predictors by the name of their network.

    Attributes:
        networks: Networks of the bundle, the default first.
        bundle: Root folder of the bundle.
        device: `"auto"` or a torch device.
        published: Weights that are served instead of the bundle's own, where there are some.
        loading: Held while a network is loaded, when `torch.fx` redirects the calls of all modules of
            the process; to be held by whoever runs one otherwise than by `predict`.
    """

    networks: tuple[str, ...]
    bundle: Path = ACDC_BUNDLE
    device: str = "auto"
    published: PublishedWeights | None = None

    def __post_init__(self) -> None:
        """Nothing is loaded yet."""
        self._loaded: dict[str, Predictor] = {}
        self._corrector: Corrector | None = None
        self.loading = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return bundle_version(self.bundle)

    def version_of(self, name: str) -> str:
        """Version of the weights that the last prediction was made with, such as `0.1.0+unet.2`.

        After the plus are the numbers of published versions; without one it is the bundle's own.
        """
        return self._described({name: self._numbers.get(name)})

    def latest(self, *names: str) -> str:
        """Version of the weights that the next predictions will be made with."""
        return self._described(dict.fromkeys(names))

    def has_weights(self, name: str) -> bool:
        """Whether the bundle has the weights of a network."""
        return (self.bundle / "models" / name / "model.pt").is_file()

    def predict(self, name: str, volume: Volume) -> Prediction:
        """Label map on the volume's own grid; waits while another one is made.

        Args:
            name: One of `networks`.
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
            name: One of `networks`.
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            ConfigError: If weights are missing or do not fit.
            DataError: If the volume is not 3-D.
        """
        with self._lock:
            return self._get(name).probabilities(volume)

    def open(self, volume: Volume) -> OpenVolume:
        """A volume prepared for clicks.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            ConfigError: If weights are missing or do not fit.
            DataError: If the volume is not 3-D.
        """
        corrector = self.load_corrector()
        assert corrector is not None
        return corrector.open(volume)

    def load_corrector(self) -> Corrector | None:
        """The correcting network, loaded at the first call; None if it is in another process.

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
        masks = (self.predict(self.networks[0], cine.frame(t)).mask for t in range(cine.array.shape[3]))
        return find_ed_es([structure_volumes_ml(mask, cine.spacing_mm)[AcdcLabel.LV] for mask in masks])

    def _get(self, name: str) -> Predictor:
        for known, number in list(self._numbers.items()):
            if number != self._number(known):  # published or restored since it was loaded
                del self._numbers[known]
                self._loaded.pop(known, None)
        if name not in self._loaded:
            number = self._number(name)
            weights = self.published.path(name, number) if self.published else None
            with self.loading:
                self._loaded[name] = Predictor.load(
                    name, bundle=self.bundle, weights=weights, device=self.device
                )
            self._numbers[name] = number
        return self._loaded[name]

    def _number(self, network: str) -> int:
        return self.published.current(network) if self.published else BUNDLE_VERSION

    def _described(self, numbers: dict[str, int | None]) -> str:
        known = {name: self._number(name) if number is None else number for name, number in numbers.items()}
        learned = [f"{name}.{number}" for name, number in known.items() if number != BUNDLE_VERSION]
        return f"{self.version}+{'.'.join(learned)}" if learned else self.version


@cache
def bundle_version(bundle: Path) -> str:
    """Version of a bundle, by its metadata."""
    return str(ConfigParser.load_config_file(bundle / "configs" / "metadata.json")["version"])


INFER_S: Final = 300.0
"""Longest inference, s; a stack takes about a second, the largest volume that is admitted some minutes."""

INFER_BYTES: Final = 12 * 1024**3
"""Memory of an inference on a CPU, of which the largest volume that is admitted takes most."""

OPEN_VOLUMES: Final = 16
"""Volumes that stay prepared for clicks in the process, the latest ones."""


class WorkerPredictors(Predictors):
    """As `Predictors`, with the networks in a process that is killed past its limits and replaced."""

    def __post_init__(self) -> None:
        """The process starts with the first call."""
        super().__post_init__()
        # Drivers of GPUs reserve more addresses than there is memory.
        most_bytes = None if _has_gpu(self.device) else INFER_BYTES
        self.worker = Worker("networks", most_s=INFER_S, most_bytes=most_bytes)

    def predict(self, name: str, volume: Volume) -> Prediction:
        """As `Predictors.predict`.

        Raises:
            TooLongError: If it takes longer than `INFER_S`.
            TooLargeError: If it needs more memory than `INFER_BYTES`.
        """
        prediction, self._numbers = self.call(_predict, name, volume)
        return prediction

    def probabilities(self, name: str, volume: Volume) -> npt.NDArray[np.float32]:
        """As `Predictors.probabilities`; raises as `predict`."""
        return self.call(Predictors.probabilities, name, volume)

    def load(self, name: str) -> None:
        """Load a network in the process before it is asked for."""
        self.call(Predictors.load, name)

    def load_corrector(self) -> None:
        """Load the correcting network in the process."""
        self.call(_load_corrector)

    def open(self, volume: Volume) -> "CorrectionAway":
        """Prepare a volume for clicks in the process, as `Corrector.open`."""
        return CorrectionAway(self, volume)

    def call(
        self,
        function: Callable[Concatenate[Predictors, Taken], Result],
        *args: Taken.args,
        **named: Taken.kwargs,
    ) -> Result:
        """Result of a function of a module on the networks in the process; raises as `predict`."""
        settings = self.networks, self.bundle, self.device, self.published
        result: Result = self.worker.call(_do, settings, function, *args, **named)
        return result


class CorrectionAway:
    """As `Correction`, with the prepared volume in the process of the networks."""

    _numbers = itertools.count()

    def __init__(self, predictors: WorkerPredictors, volume: Volume) -> None:
        self.axis = stack_order(volume.affine, volume.spacing_mm, is_oriented=volume.is_oriented).axes[2]
        self._predictors = predictors
        self._volume = volume
        self._number = next(self._numbers)
        self._open()

    def _open(self) -> None:
        """Prepare the volume, at first and in a process that does not have it."""
        self._predictors.call(_open, self._number, self._volume)

    def correct(
        self, mask: Mask, clicks: Sequence[Click], *, settled: Sequence[Click] = (), one_slice: bool = False
    ) -> Mask:
        """As `Correction.correct`."""
        sent = self._number, mask, clicks, settled, one_slice
        found = self._predictors.call(_correct, *sent)
        if found is None:  # forgotten for later ones, or the process was replaced
            self._open()
            found = self._predictors.call(_correct, *sent)
        assert found is not None
        return found


def _has_gpu(device: str) -> bool:
    import torch

    return torch.cuda.is_available() if device == "auto" else not device.startswith("cpu")


# What follows runs in the process.

_LOADED: list[Predictors] = []
_OPEN: OrderedDict[int, OpenVolume] = OrderedDict()


def _do(settings: tuple[Any, ...], function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    if not _LOADED:
        _LOADED.append(Predictors(*settings))
    return function(_LOADED[0], *args, **named)


def _predict(predictors: Predictors, name: str, volume: Volume) -> tuple[Prediction, dict[str, int]]:
    return predictors.predict(name, volume), predictors._numbers


def _load_corrector(predictors: Predictors) -> None:
    predictors.load_corrector()


def _open(predictors: Predictors, number: int, volume: Volume) -> None:
    _OPEN[number] = predictors.open(volume)
    while len(_OPEN) > OPEN_VOLUMES:
        _OPEN.popitem(last=False)


def _correct(
    _: Predictors,
    number: int,
    mask: Mask,
    clicks: Sequence[Click],
    settled: Sequence[Click],
    one_slice: bool,
) -> Mask | None:
    if number not in _OPEN:
        return None
    _OPEN.move_to_end(number)
    return _OPEN[number].correct(mask, clicks, settled=settled, one_slice=one_slice)
