"""Segment a volume with one network of the bundle or the mean of several."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

from pipelines.bundle import ACDC_BUNDLE, NETWORKS, load_config
from pipelines.datasets.nifti import Volume, slices_last
from pipelines.errors import ConfigError, DataError
from pipelines.inference.fuse import fused
from pipelines.inference.native_grid import foreground_box, to_native_box
from pipelines.training.checkpoints import load_weights

FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""In-plane flips of `(S, C, H, W)` slices that test-time augmentation averages."""

BATCH_SLICES: Final = 16
"""Slices that go through a network at a time."""


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
        with torch.inference_mode():
            start = time.perf_counter()
            images = [member.prepare(stack) for member in self._members]
            prepared = time.perf_counter()
            flips = FLIPS if self.tta else FLIPS[:1]
            found = [
                member.probabilities(image, flips)
                for member, image in zip(self._members, images, strict=True)
            ]
            inferred = time.perf_counter()
            mean = torch.stack(found).mean(dim=0) if len(found) > 1 else found[0]
            native, field = to_native_box(
                mean, images[0].affine.numpy(), _affine_without_shear(stack), stack.array.shape
            )
            probabilities = np.zeros((len(native), *stack.array.shape), dtype=np.float32)
            probabilities[:, *field] = native.numpy()
            mask = np.zeros(stack.array.shape, dtype=np.uint8)
            heart = foreground_box(native)
            mask[field][heart] = self._members[0].label_map(native[:, *heart])
        seconds = {
            "preprocess": prepared - start,
            "network": inferred - prepared,
            "postprocess": time.perf_counter() - inferred,
        }
        on_file_axes = np.stack([undo(channel) for channel in probabilities])
        return Prediction(np.ascontiguousarray(undo(mask)), on_file_axes, seconds)


class _Member:
    """One network with the preprocessing that its configuration describes."""

    def __init__(self, network: str, bundle: Path, weights: Path | None, settings: dict[str, Any]) -> None:
        config = load_config(network, bundle=bundle, **settings)
        self.device: torch.device = config.get_parsed_content("device")
        self.dtype: torch.dtype | None = config.get_parsed_content("autocast_dtype")
        self.preprocessing = config.get_parsed_content("preprocessing")
        self.to_label_map = config.get_parsed_content("to_label_map")
        module: torch.nn.Module = config.get_parsed_content("network")
        load_weights(module, weights or Path(config.get_parsed_content("weights")))
        # On a CPU, casting weights at each call and batch norms take a good part of the time.
        self.network = fused(module.eval(), self.dtype if self.device.type == "cpu" else None)

    def prepare(self, stack: Volume) -> MetaTensor:
        """`(C, H, W, Z)` float32, the network's field of view, with its affine."""
        array = np.ascontiguousarray(stack.array, dtype=np.float32)
        affine = _affine_without_shear(stack)
        item = self.preprocessing({"image": MetaTensor(torch.from_numpy(array)[None], affine=affine)})
        image: MetaTensor = item["image"]
        return image

    def probabilities(self, image: MetaTensor, flips: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """`(Z, 4, H, W)` float32 for a `(C, H, W, Z)` image, on the CPU, averaged over flips."""
        slices = image.as_tensor().movedim(-1, 0)
        found = [self._logits(slices.flip(flip)).flip(flip).softmax(dim=1) for flip in flips]
        return torch.stack(found).mean(dim=0).cpu() if len(found) > 1 else found[0].cpu()

    def label_map(self, probabilities: torch.Tensor) -> npt.NDArray[np.uint8]:
        """`(X, Y, Z)` uint8 after the clean-up."""
        mask: torch.Tensor = self.to_label_map({"pred": probabilities})["pred"]
        return mask[0].numpy().astype(np.uint8)

    def _logits(self, slices: torch.Tensor) -> torch.Tensor:
        """`(S, 4, h, w)` float32 for slices `(S, C, h, w)`."""
        batches = slices.to(self.device).contiguous(memory_format=torch.channels_last).split(BATCH_SLICES)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return torch.cat([self.network(batch).float() for batch in batches])


def _affine_without_shear(stack: Volume) -> npt.NDArray[np.float64]:
    """The stack's affine, or one along its own axes where slices are shifted against each other."""
    axes = stack.affine[:3, :3] / stack.spacing_mm
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        return stack.affine
    return np.diag([*stack.spacing_mm, 1.0])
