"""Segment a volume with one network of the bundle or the mean of several."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

from pipelines.bundle import ACDC_BUNDLE, NETWORKS, load_config
from pipelines.datasets.nifti import Volume, slices_last
from pipelines.errors import ConfigError, DataError
from pipelines.training.checkpoints import load_weights

FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""In-plane flips of a `(1, C, X, Y, Z)` tensor that test-time augmentation averages."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A segmentation on the volume's own grid.

    Attributes:
        mask: `(X, Y, Z)` uint8, values from `AcdcLabel`, one connected component a structure.
        probabilities: `(4, X, Y, Z)` float32, before the clean-up; they add up to one inside the
            field the networks see and are zero outside of it.
        seconds: Wall time of `"preprocess"`, `"network"` and `"postprocess"`.
    """

    mask: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
    seconds: dict[str, float] = field(default_factory=dict)


class Predictor:
    """Networks with their weights, ready to segment volumes one after the other.

    Args:
        network: One of `NETWORKS`, or several whose probabilities are averaged.
        bundle: Root folder of the bundle.
        weights: File to use instead of the bundle's own; only with a single network.
        tta: Average over in-plane flips; four times slower.
        device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
        precision: `"auto"`, `"bf16"` or `"fp32"`.

    Raises:
        ConfigError: If a network is unknown, or weights are missing or do not fit.
    """

    def __init__(
        self,
        network: str | Sequence[str] = NETWORKS[0],
        *,
        bundle: Path = ACDC_BUNDLE,
        weights: Path | None = None,
        tta: bool = False,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.networks = (network,) if isinstance(network, str) else tuple(network)
        if weights is not None and len(self.networks) != 1:
            raise ConfigError(
                f"expected one network for {weights}, found {len(self.networks)}; name the one it fits"
            )
        self.tta = tta
        settings: dict[str, Any] = {"precision": precision}
        if device != "auto":
            settings["device"] = f"$torch.device({device!r})"
        self._members = [_Member(name, bundle, weights, settings) for name in self.networks]

    def predict(self, volume: Volume) -> Prediction:
        """Label map and probabilities on the volume's own grid.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            DataError: If the volume is not 3-D.
        """
        if volume.array.ndim != 3:
            raise DataError(
                f"expected one frame (3-D), found {volume.array.shape}; give the frames one by one"
            )
        stack, undo = slices_last(volume)
        seconds = dict.fromkeys(("preprocess", "network", "postprocess"), 0.0)
        with torch.inference_mode():
            members = [
                member.probabilities(stack, FLIPS if self.tta else FLIPS[:1], seconds)
                for member in self._members
            ]
            start = time.perf_counter()
            mean = torch.stack(members).mean(dim=0) if len(members) > 1 else members[0]
            mask = self._members[0].label_map(mean)
        probabilities = np.stack([undo(channel) for channel in mean.numpy()])
        seconds["postprocess"] += time.perf_counter() - start
        return Prediction(np.ascontiguousarray(undo(mask)), probabilities, seconds)


class _Member:
    """One network with the preprocessing that its configuration describes."""

    def __init__(self, network: str, bundle: Path, weights: Path | None, settings: dict[str, Any]) -> None:
        config = load_config(network, bundle=bundle, **settings)
        self.device: torch.device = config.get_parsed_content("device")
        self.dtype: torch.dtype | None = config.get_parsed_content("autocast_dtype")
        self.preprocessing = config.get_parsed_content("preprocessing")
        self.inferer = config.get_parsed_content("inferer")
        self.to_native_grid = config.get_parsed_content("to_native_grid")
        self.to_label_map = config.get_parsed_content("to_label_map")
        self.network: torch.nn.Module = config.get_parsed_content("network")
        load_weights(self.network, weights or Path(config.get_parsed_content("weights")))
        self.network.eval()

    def probabilities(
        self, stack: Volume, flips: Sequence[tuple[int, ...]], seconds: dict[str, float]
    ) -> torch.Tensor:
        """`(4, X, Y, Z)` float32 on the grid of `stack`, on the CPU; adds to `seconds`."""
        start = time.perf_counter()
        array = np.ascontiguousarray(stack.array, dtype=np.float32)
        item = self.preprocessing({"image": MetaTensor(torch.from_numpy(array)[None], affine=stack.affine)})
        image = item["image"][None].as_tensor().to(self.device)
        prepared = time.perf_counter()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits = [self._logits(image, flip) for flip in flips]
        merged = logits[0] if len(logits) == 1 else torch.stack(logits).softmax(dim=2).mean(dim=0).log()
        inferred = time.perf_counter()
        item["pred"] = MetaTensor(merged[0].float().cpu(), meta=item["image"].meta)
        native: torch.Tensor = self.to_native_grid(item)["pred"].as_tensor()
        seconds["preprocess"] += prepared - start
        seconds["network"] += inferred - prepared
        seconds["postprocess"] += time.perf_counter() - inferred
        return native

    def label_map(self, probabilities: torch.Tensor) -> npt.NDArray[np.uint8]:
        """`(X, Y, Z)` uint8 after the clean-up."""
        mask: torch.Tensor = self.to_label_map({"pred": probabilities})["pred"]
        return mask[0].numpy().astype(np.uint8)

    def _logits(self, image: torch.Tensor, flip: tuple[int, ...]) -> torch.Tensor:
        output: torch.Tensor = self.inferer(image.flip(flip), self.network)
        return output.float().flip(flip)
