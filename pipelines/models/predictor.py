"""Segment a volume with one network of the bundle or the mean of several."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import Undo, Volume, slices_last
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, device_settings
from pipelines.models.certainty import expected_dice
from pipelines.models.engines import PYTORCH, Engine
from pipelines.models.member import Member, field_affine
from pipelines.models.native_grid import Box, foreground_box, to_native_box

FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""In-plane flips of `(S, C, H, W)` slices that test-time augmentation averages."""


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
        undo: Way back to the file's order of axes and slices.
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

    def __init__(self, members: Mapping[str, Member], *, tta: bool = False) -> None:
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
        engine: Engine = PYTORCH,
    ) -> "Predictor":
        """Networks of a bundle, as its configuration describes them.

        Args:
            network: One of `NETWORKS`, or several whose probabilities are averaged.
            bundle: Root folder of the bundle.
            weights: File to use instead of the bundle's own; only with a single network.
            tta: Average over in-plane flips; four times slower.
            device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
            precision: `"auto"`, `"bf16"` or `"fp32"`.
            engine: What runs the networks: `"pytorch"`, or on CPUs `"openvino"` or `"int8"`.

        Raises:
            ConfigError: If a network is unknown, weights or an int8 model are missing or do not fit,
                or the engine is not installed or not for the device.
        """
        names = (network,) if isinstance(network, str) else tuple(network)
        if weights is not None and len(names) != 1:
            raise ConfigError(f"expected one network for {weights}, found {len(names)}; name the one it fits")
        if engine != PYTORCH and device == "auto":
            device = "cpu"
        settings = device_settings(device, precision)
        members = {
            name: Member.load(name, bundle=bundle, weights=weights, engine=engine, **settings)
            for name in names
        }
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
    def members(self) -> tuple[Member, ...]:
        """The networks whose probabilities are averaged, with their preprocessing."""
        return tuple(self._members)

    @property
    def seen(self) -> frozenset[str] | None:
        """Hashes of the images that a member was trained on, None if those of a member are not known."""
        known = [member.seen for member in self._members]
        found = [seen for seen in known if seen is not None]
        return frozenset().union(*found) if len(found) == len(known) else None

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
        native, box = to_native_box(mean, images[0].affine.numpy(), field_affine(stack), stack.array.shape)
        seconds = {"preprocess": prepared - start, "network": time.perf_counter() - prepared}
        return _Field(native, box, stack.array.shape, undo, seconds)


def _stack(volume: Volume) -> tuple[Volume, Undo]:
    """The volume in the order of training, and the way back."""
    if volume.array.ndim != 3:
        raise DataError(f"expected one frame (3-D), found {volume.array.shape}; give the frames one by one")
    return slices_last(volume)
