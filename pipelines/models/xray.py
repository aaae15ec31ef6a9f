"""Classify a radiograph as normal or pneumonia with one network of the bundle, or its int8 model."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipelines.core.errors import ConfigError
from pipelines.models.bundle import XRAY_BUNDLE, XRAY_NETWORKS, device_settings, load_config
from pipelines.models.engines import INT8_NAME, Run, compiled, fused
from pipelines.models.weights import load_weights, read_network, read_seen, read_threshold

Pixels = npt.NDArray[np.float32]


class XrayModel(ABC):
    """What classifies radiographs one after the other, whatever runs its network.

    `seen` has the hashes of the images that the weights were trained on, None if they are not known.

    Args:
        resize: From a grey `(1, H, W)` tensor, 0 to 1, to the network's height and width.
        to_input: From that `(..., 1, H, W)` to the network's `(..., 3, H, W)`.
        folder: Folder of the weights, where the default threshold lies.
        threshold: Probability from which pneumonia is decided, None for the one in `folder`.

    Raises:
        ConfigError: If the threshold is not within 0 and 1.
    """

    def __init__(
        self,
        *,
        resize: Callable[[torch.Tensor], torch.Tensor],
        to_input: Callable[[torch.Tensor], torch.Tensor],
        folder: Path,
        threshold: float | None = None,
    ) -> None:
        threshold = read_threshold(folder) if threshold is None else threshold
        if not 0 < threshold < 1:
            raise ConfigError(f"expected a threshold between 0 and 1, found {threshold}")
        self.resize, self.to_input, self.threshold = resize, to_input, threshold
        self.folder = folder
        self.seen = read_seen(folder)

    @abstractmethod
    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """`(B, 2)` float32 logits, normal first, of the network's input `(B, 3, H, W)`."""

    def batch(self, images: Iterable[Pixels]) -> torch.Tensor:
        """The network's input `(B, 3, H, W)` for images `(H, W)` of any size."""
        grey = [self.resize(torch.from_numpy(np.ascontiguousarray(image))[None]) for image in images]
        return self.to_input(torch.stack([image.as_subclass(torch.Tensor) for image in grey]))

    def probability(self, pixels: Pixels) -> float:
        """Probability of pneumonia for a grey image `(H, W)`, 0 black to 1 white."""
        return float(self.probabilities([pixels])[0])

    def probabilities(self, images: Iterable[Pixels]) -> npt.NDArray[np.float64]:
        """`(N,)` probabilities of pneumonia for images `(H, W)` of any size, in one batch."""
        return positive_probability(self.logits(self.batch(images)))


class Classifier(XrayModel):
    """A network with its weights, ready to classify radiographs one after the other.

    `module` is the network as it was given, in float32, for gradients; `network` the faster copy;
    `weights` the file that they came from.

    Args:
        network: Takes `(B, 3, H, W)`, gives `(B, 2)` logits, normal first.
        weights: File with its weights.
        resize: As for `XrayModel`.
        to_input: As for `XrayModel`.
        device: Where the network runs.
        dtype: Type of the fast operations, None for float32.
        threshold: Probability from which pneumonia is decided; by default the one chosen
            on validation that lies beside the weights, or 0.5.

    Raises:
        ConfigError: If weights are missing or do not fit, or the threshold is not within 0 and 1.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        weights: Path,
        *,
        resize: Callable[[torch.Tensor], torch.Tensor],
        to_input: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
        dtype: torch.dtype | None,
        threshold: float | None = None,
    ) -> None:
        load_weights(network, weights)
        super().__init__(resize=resize, to_input=to_input, folder=weights.parent, threshold=threshold)
        self.weights, self.module = weights, network.eval()
        self.network = fused(network, dtype if device.type == "cpu" else None)
        self.device, self.dtype = device, dtype
        self._run: Run | None = None

    @classmethod
    def load(
        cls,
        network: str = XRAY_NETWORKS[0],
        *,
        bundle: Path = XRAY_BUNDLE,
        weights: Path | None = None,
        threshold: float | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Classifier":
        """A network of the bundle, as its configuration describes it.

        Args:
            network: One of `XRAY_NETWORKS`.
            bundle: Root folder of the bundle.
            weights: File to use instead of the bundle's own, with the size and head that lie beside it.
            threshold: As for the class.
            device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
            precision: `"auto"`, `"bf16"` or `"fp32"`.

        Raises:
            ConfigError: If the network is unknown, and as for the class.
        """
        settings = device_settings(device, precision)
        if weights is not None:
            settings |= read_network(weights.parent, network)
        get = load_config(network, bundle=bundle, **settings).get_parsed_content
        return cls(
            get("network"),
            weights or Path(get("weights")),
            resize=get("resize"),
            to_input=get("to_input"),
            device=get("device"),
            dtype=get("autocast_dtype"),
            threshold=threshold,
        )

    def run_by(self, run: Run) -> "Classifier":
        """The same transforms and threshold around another way to run the network.

        Args:
            run: Takes `(B, 3, H, W)` float32, gives `(B, 2)` float32 logits.
        """
        other = copy.copy(self)
        other._run = run
        return other

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """As for `XrayModel`, by the faster copy."""
        if self._run is not None:
            return self._run(batch)
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
        ):
            found: torch.Tensor = self.network(batch).float()
        return found.cpu()


def positive_probability(logits: torch.Tensor) -> npt.NDArray[np.float64]:
    """`(B,)` probabilities of pneumonia of `(B, 2)` logits."""
    positive: npt.NDArray[np.float64] = logits.softmax(dim=1)[:, 1].numpy().astype(np.float64)
    return positive


class Int8Classifier(XrayModel):
    """The int8 model of a network of the bundle, ready to classify radiographs; runs on CPUs.

    Args:
        network: One of `XRAY_NETWORKS`.
        bundle: Root folder of the bundle.
        model: OpenVINO's `.xml` file to use instead of the bundle's own, with its `.bin`, its size and its
            default threshold beside it.
        threshold: Probability from which pneumonia is decided; by default the one beside the model.

    Raises:
        ConfigError: If the network is unknown, OpenVINO is not installed, or the model is missing or
            cannot be run.
    """

    def __init__(
        self,
        network: str = XRAY_NETWORKS[0],
        *,
        bundle: Path = XRAY_BUNDLE,
        model: Path | None = None,
        threshold: float | None = None,
    ) -> None:
        settings = read_network(model.parent, network) if model else {}
        get = load_config(network, bundle=bundle, **settings).get_parsed_content
        model = model or Path(get("weights")).with_name(INT8_NAME)
        super().__init__(
            resize=get("resize"), to_input=get("to_input"), folder=model.parent, threshold=threshold
        )
        if not model.is_file():
            raise ConfigError(
                f"expected an int8 model at {model}, found none; make it by thorax export --format int8"
            )
        self._run = compiled(model)

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """As for `XrayModel`."""
        return self._run(batch)


def check_int8_classifier(path: Path, weights: Path, network: str) -> None:
    """Refuse an int8 model of a classifier that is missing or does not fit the network.

    Args:
        path: `int8.xml`, with the settings and the threshold that lie beside it.
        weights: The bundle's own, which may be others: an int8 model is compared when it is made.
        network: Network that it is of.

    Raises:
        ConfigError: If so, or if OpenVINO is not installed.
    """
    Int8Classifier(network, model=path)
