"""Segment a volume with one network of the bundle or the mean of several."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

from pipelines.bundle import ACDC_BUNDLE, NETWORKS, device_settings, load_config
from pipelines.datasets.nifti import Undo, Volume, slices_last
from pipelines.errors import ConfigError, DataError
from pipelines.inference.fuse import fused
from pipelines.inference.native_grid import Box, foreground_box, to_native_box
from pipelines.labels import AcdcLabel
from pipelines.quality.certainty import expected_dice
from pipelines.training.checkpoints import load_weights

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""A transform of a dictionary of tensors."""

FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""In-plane flips of `(S, C, H, W)` slices that test-time augmentation averages."""

BATCH_SLICES: Final = 16
"""Slices that go through a network at a time."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A segmentation on the volume's own grid.

    Attributes:
        mask: `(X, Y, Z)` uint8, values from `AcdcLabel`, one connected component a structure.
        seconds: Wall time of `"preprocess"`, `"network"` and `"postprocess"`.
        certainty: Dice that the probabilities promise for each structure, 0 to 1.
    """

    mask: npt.NDArray[np.uint8]
    seconds: dict[str, float]
    certainty: Mapping[AcdcLabel, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Field:
    """Probabilities where the networks see the volume.

    Attributes:
        probabilities: `(4, x, y, Z)` float32 on the volume's own grid, slices last.
        box: Rows and columns of the volume that they cover.
        shape: `(X, Y, Z)` of the volume, slices last.
        undo: Way back to the file's order of axes.
        seconds: Wall time of `"preprocess"` and `"network"`.
    """

    probabilities: torch.Tensor
    box: Box
    shape: tuple[int, ...]
    undo: Undo
    seconds: dict[str, float]


class Predictor:
    """Networks with their weights, ready to segment volumes one after the other.

    Args:
        members: Networks by name; the probabilities of several are averaged.
        tta: Average over in-plane flips; four times slower.
    """

    def __init__(self, members: Mapping[str, "Member"], *, tta: bool = False) -> None:
        self.networks = tuple(members)
        self.tta = tta
        self._members = list(members.values())

    @classmethod
    def load(
        cls,
        network: str | Sequence[str] = NETWORKS[0],
        *,
        bundle: Path = ACDC_BUNDLE,
        weights: Path | None = None,
        tta: bool = False,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Predictor":
        """Networks of a bundle, as its configuration describes them.

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
        names = (network,) if isinstance(network, str) else tuple(network)
        if weights is not None and len(names) != 1:
            raise ConfigError(f"expected one network for {weights}, found {len(names)}; name the one it fits")
        settings = device_settings(device, precision)
        members = {name: Member.load(name, bundle=bundle, weights=weights, **settings) for name in names}
        return cls(members, tta=tta)

    @classmethod
    def joined(cls, predictors: Sequence["Predictor"]) -> "Predictor":
        """The mean of several predictors, with their networks and not with copies of them."""
        return cls(
            {
                name: member
                for predictor in predictors
                for name, member in zip(predictor.networks, predictor._members, strict=True)
            }
        )

    @property
    def members(self) -> tuple["Member", ...]:
        """The networks whose probabilities are averaged, with their preprocessing."""
        return tuple(self._members)

    def predict(self, volume: Volume) -> Prediction:
        """Label map on the volume's own grid.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            DataError: If the volume is not 3-D.
        """
        with torch.inference_mode():
            found = self._in_field(volume)
            start = time.perf_counter()
            mask = np.zeros(found.shape, dtype=np.uint8)
            heart = foreground_box(found.probabilities)
            mask[found.box][heart] = self._members[0].label_map(found.probabilities[:, *heart])
            certainty = expected_dice(found.probabilities, mask[found.box])
        mask = np.ascontiguousarray(found.undo(mask))
        return Prediction(mask, found.seconds | {"postprocess": time.perf_counter() - start}, certainty)

    def probabilities(self, volume: Volume) -> npt.NDArray[np.float32]:
        """`(4, X, Y, Z)` float32 on the volume's own grid, before the clean-up.

        They add up to one inside the field the networks see and are zero outside of it.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            DataError: If the volume is not 3-D.
        """
        with torch.inference_mode():
            found = self._in_field(volume)
        whole = np.zeros((len(found.probabilities), *found.shape), dtype=np.float32)
        whole[:, *found.box] = found.probabilities.numpy()
        return np.stack([found.undo(channel) for channel in whole])

    def flipped_masks(self, volume: Volume) -> list[npt.NDArray[np.uint8]]:
        """What the first network finds in each in-plane flip of a volume, turned back.

        They are on the network's own grid and not cleaned up: how far they differ tells how sure it is.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Returns:
            Four label maps `(H, W, Z)` uint8, the first of the volume as it is.

        Raises:
            DataError: If the volume is not 3-D.
        """
        member = self._members[0]
        with torch.inference_mode():
            image = member.prepare(_stack(volume)[0])
            masks = [member.probabilities(image, [flip]).argmax(dim=1) for flip in FLIPS]
        return [mask.to(torch.uint8).movedim(0, -1).numpy() for mask in masks]

    def _in_field(self, volume: Volume) -> _Field:
        stack, undo = _stack(volume)
        start = time.perf_counter()
        images = [member.prepare(stack) for member in self._members]
        prepared = time.perf_counter()
        flips = FLIPS if self.tta else FLIPS[:1]
        found = [
            member.probabilities(image, flips) for member, image in zip(self._members, images, strict=True)
        ]
        mean = torch.stack(found).mean(dim=0) if len(found) > 1 else found[0]
        native, box = to_native_box(
            mean, images[0].affine.numpy(), affine_without_shear(stack), stack.array.shape
        )
        seconds = {"preprocess": prepared - start, "network": time.perf_counter() - prepared}
        return _Field(native, box, stack.array.shape, undo, seconds)


def _stack(volume: Volume) -> tuple[Volume, Undo]:
    """The volume with its slices last, and the way back."""
    if volume.array.ndim != 3:
        raise DataError(f"expected one frame (3-D), found {volume.array.shape}; give the frames one by one")
    return slices_last(volume)


class Member:
    """One network with its weights and the transforms before and after it.

    Args:
        network: Takes `(S, C, h, w)` slices, gives `(S, 4, h, w)` logits.
        weights: File with its weights, None for those that it has.
        preprocessing: From `{"image": (1, X, Y, Z)}` to the network's field of view `(C, h, w, Z)`.
        to_label_map: From `{"pred": (4, X, Y, Z)}` probabilities to a clean label map.
        device: Where the network runs.
        dtype: Type of the fast operations, None for float32.

    Raises:
        ConfigError: If weights are missing or do not fit.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        weights: Path | None,
        *,
        preprocessing: Transform,
        to_label_map: Transform,
        device: torch.device,
        dtype: torch.dtype | None,
    ) -> None:
        self.preprocessing, self.to_label_map = preprocessing, to_label_map
        self.device, self.dtype = device, dtype
        if weights is not None:
            load_weights(network, weights)
        # On a CPU, casting weights at each call and batch norms take a good part of the time.
        self.network = fused(network.eval(), dtype if device.type == "cpu" else None)

    @classmethod
    def load(cls, network: str, *, bundle: Path, weights: Path | None = None, **settings: Any) -> "Member":
        """A network of a bundle, as its configuration describes it.

        Args:
            network: Network overlay of the bundle.
            bundle: Root folder of the bundle.
            weights: File to use instead of the bundle's own.
            **settings: Values that replace those of the configuration.

        Raises:
            ConfigError: If the network is unknown, or weights are missing or do not fit.
        """
        get = load_config(network, bundle=bundle, **settings).get_parsed_content
        return cls(
            get("network"),
            weights or Path(get("weights")),
            preprocessing=get("preprocessing"),
            to_label_map=get("to_label_map"),
            device=get("device"),
            dtype=get("autocast_dtype"),
        )

    def prepare(self, stack: Volume) -> MetaTensor:
        """`(C, H, W, Z)` float32, the network's field of view, with its affine."""
        array = np.ascontiguousarray(stack.array, dtype=np.float32)
        affine = affine_without_shear(stack)
        item = self.preprocessing({"image": MetaTensor(torch.from_numpy(array)[None], affine=affine)})
        image: MetaTensor = item["image"]
        return image

    def probabilities(self, image: MetaTensor, flips: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """`(Z, 4, H, W)` float32 for a `(C, H, W, Z)` image, on the CPU, averaged over flips."""
        slices = image.as_tensor().movedim(-1, 0)
        found = [self.logits(slices.flip(flip)).flip(flip).softmax(dim=1) for flip in flips]
        return torch.stack(found).mean(dim=0).cpu() if len(found) > 1 else found[0].cpu()

    def label_map(self, probabilities: torch.Tensor) -> npt.NDArray[np.uint8]:
        """`(X, Y, Z)` uint8 after the clean-up."""
        mask: torch.Tensor = self.to_label_map({"pred": probabilities})["pred"]
        return mask[0].numpy().astype(np.uint8)

    def logits(self, slices: torch.Tensor) -> torch.Tensor:
        """`(S, 4, h, w)` float32 for slices `(S, C, h, w)`."""
        batches = slices.to(self.device).contiguous(memory_format=torch.channels_last).split(BATCH_SLICES)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return torch.cat([self.network(batch).float() for batch in batches])


def affine_without_shear(stack: Volume) -> npt.NDArray[np.float64]:
    """The stack's affine, or one along its own axes where slices are shifted against each other."""
    axes = stack.affine[:3, :3] / stack.spacing_mm
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        return stack.affine
    return np.diag([*stack.spacing_mm, 1.0])
