"""Tell pneumonia from healthy lungs in a radiograph with one network of the bundle."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from pipelines.bundle import XRAY_BUNDLE, XRAY_NETWORKS, device_settings, load_config
from pipelines.errors import ConfigError
from pipelines.files import write_json
from pipelines.inference.fuse import fused
from pipelines.training.checkpoints import load_weights

OPERATING_POINT_NAME: Final = "operating_point.json"
"""File beside the weights with the threshold chosen on validation."""

DEFAULT_THRESHOLD: Final = 0.5

Pixels = npt.NDArray[np.float32]


class Classifier:
    """A network with its weights, ready to classify radiographs one after the other.

    `module` is the network as it was given, in float32, for gradients; `network` the faster copy.

    Args:
        network: Takes `(B, 3, H, W)`, gives `(B, 2)` logits, normal first.
        weights: File with its weights.
        resize: From a grey `(1, H, W)` tensor, 0 to 1, to the network's height and width.
        to_input: From that `(..., 1, H, W)` to the network's `(..., 3, H, W)`.
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
        if threshold is None:
            threshold = read_threshold(weights.parent)
        if not 0 < threshold < 1:
            raise ConfigError(f"expected a threshold between 0 and 1, found {threshold}")
        self.module = network.eval()
        self.network = fused(network, dtype if device.type == "cpu" else None)
        self.resize, self.to_input = resize, to_input
        self.device, self.dtype, self.threshold = device, dtype, threshold

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
            weights: File to use instead of the bundle's own.
            threshold: As for the class.
            device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
            precision: `"auto"`, `"bf16"` or `"fp32"`.

        Raises:
            ConfigError: If the network is unknown, and as for the class.
        """
        settings = device_settings(device, precision)
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

    def probability(self, pixels: Pixels) -> float:
        """Probability of pneumonia for a grey image `(H, W)`, 0 black to 1 white."""
        return float(self.probabilities([pixels])[0])

    def probabilities(self, images: Iterable[Pixels]) -> npt.NDArray[np.float64]:
        """`(N,)` probabilities of pneumonia for images `(H, W)` of any size, in one batch."""
        grey = [self.resize(torch.from_numpy(np.ascontiguousarray(image))[None]) for image in images]
        batch = self.to_input(torch.stack([image.as_subclass(torch.Tensor) for image in grey]))
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
        ):
            logits = self.network(batch).float()
        positive: npt.NDArray[np.float64] = logits.softmax(dim=1)[:, 1].cpu().numpy().astype(np.float64)
        return positive


def read_threshold(folder: Path) -> float:
    """Threshold that lies beside weights, 0.5 if there is none.

    Raises:
        ConfigError: If the file is there and holds no threshold.
    """
    path = folder / OPERATING_POINT_NAME
    if not path.is_file():
        return DEFAULT_THRESHOLD
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"expected a threshold in {path}, found {error!r}") from error


def write_threshold(folder: Path, threshold: float, **details: Any) -> Path:
    """Write the threshold beside weights, with what it was chosen on; returns the file.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / OPERATING_POINT_NAME
    write_json(path, {"threshold": threshold, **details})
    return path
