"""Segment a volume with one network of the bundle or the mean of several, on the image's own grid."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.nn import functional as F

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import FOREGROUND, AcdcLabel
from pipelines.core.volume import Undo, Volume, slices_last
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, device_settings, load_config
from pipelines.models.engines import PYTORCH, Engine, Run, engine_run, fused
from pipelines.models.weights import load_weights, read_seen

Box = tuple[slice, slice]
"""Rows and columns of an image's own grid."""


def to_native_box(
    probabilities: Tensor,
    affine: npt.NDArray[np.float64],
    native_affine: npt.NDArray[np.float64],
    native_shape: tuple[int, ...],
) -> tuple[Tensor, Box]:
    """Probabilities on the image's own grid, where it lies within the network's field of view.

    It gives what MONAI's `Invertd` of the bundle gives there but for the image's last two
    pixels, where that fades, and faster: only those pixels are resampled, in plane.

    Args:
        probabilities: `(Z, C, h, w)` float32 in the field, on the CPU.
        affine: 4 x 4, of the network's field.
        native_affine: 4 x 4, of the image, with axes and slices as those of the field.
        native_shape: `(X, Y, Z)` of the image.

    Returns:
        `(C, x, y, Z)` float32, and where `x` and `y` are in the image.
    """
    to_field = np.linalg.inv(affine) @ native_affine
    lines, places = [], []
    for axis, length in enumerate(probabilities.shape[2:]):
        # Position of each of the image's rows (columns) among those of the field.
        position = to_field[axis, axis] * np.arange(native_shape[axis]) + to_field[axis, 3]
        inside = np.flatnonzero((position > -0.5) & (position < length - 0.5))
        places.append(slice(int(inside[0]), int(inside[-1]) + 1))
        lines.append(torch.from_numpy((2 * position[inside] + 1) / length - 1).float())
    grid = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], dim=-1)
    sampled = F.grid_sample(
        probabilities,
        grid.expand(len(probabilities), *grid.shape),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    # Channels last in memory: the class of a voxel is looked up many times faster.
    layout = sampled.contiguous(memory_format=torch.channels_last)
    return layout.permute(1, 2, 3, 0), (places[0], places[1])


def foreground_box(probabilities: Tensor) -> Box:
    """Rows and columns that hold every voxel whose class is not background; empty where all are.

    Args:
        probabilities: `(C, x, y, Z)`, background first.
    """
    seen = (probabilities[1:].amax(dim=0) > probabilities[0]).any(dim=2)
    if not seen.any():
        return slice(0, 0), slice(0, 0)
    rows, columns = (torch.nonzero(seen.any(dim=axis))[:, 0] for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def expected_dice(probabilities: torch.Tensor, mask: npt.NDArray[np.uint8]) -> dict[AcdcLabel, float]:
    """Dice of each structure of a mask with the network's probabilities in place of the truth.

    If the probabilities were calibrated, twice the probability inside the mask over the sum of the
    mask's size and the whole probability would be about the Dice to expect. Networks are surer than
    they are right, so it is a feature to predict Dice from and not a prediction by itself.

    Args:
        probabilities: `(4, X, Y, Z)` float, background first, 0 to 1.
        mask: `(X, Y, Z)` label map on the same grid.

    Returns:
        0 to 1 for RV, MYO and LV; 0 for a structure that the mask does not have.
    """
    labels = torch.from_numpy(np.ascontiguousarray(mask))
    found = {}
    for label in FOREGROUND:
        inside = labels == label
        channel = probabilities[label]
        total = float(inside.sum()) + float(channel.sum())
        common = float(channel[inside].sum())
        found[label] = 2 * common / total if common > 0 else 0.0
    return found


Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""A transform of a dictionary of tensors."""

BATCH_SLICES: Final = 16
"""Slices that go through a network at a time in PyTorch."""


class Member:
    """One network with its weights and the transforms before and after it.

    `seen` has the hashes of the images that the weights were trained on, None if they are not known.

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
        self.seen = read_seen(weights.parent) if weights is not None else None
        if weights is not None:
            load_weights(network, weights)
        # On a CPU, casting weights at each call and batch norms take a good part of the time.
        self.network = fused(network.eval(), dtype if device.type == "cpu" else None)
        self._run: Run | None = None

    @classmethod
    def load(
        cls,
        network: str,
        *,
        bundle: Path,
        weights: Path | None = None,
        engine: Engine = PYTORCH,
        **settings: Any,
    ) -> "Member":
        """A network of a bundle, as its configuration describes it.

        Args:
            network: Network overlay of the bundle.
            bundle: Root folder of the bundle.
            weights: File to use instead of the bundle's own.
            engine: What runs the network; all but PyTorch are for CPUs.
            **settings: Values that replace those of the configuration.

        Raises:
            ConfigError: If the network is unknown, weights are missing or do not fit, or as for `engine_run`.
        """
        get = load_config(network, bundle=bundle, **settings).get_parsed_content
        weights = weights or Path(get("weights"))
        dtype = get("autocast_dtype")
        member = cls(
            get("network"),
            weights,
            preprocessing=get("preprocessing"),
            to_label_map=get("to_label_map"),
            device=get("device"),
            dtype=dtype if engine == PYTORCH else None,
        )
        if engine == PYTORCH:
            return member
        size = (len(get("slice_offsets")), *get("field_px"))
        return member.run_by(engine_run(engine, member.network, weights, size, get("device"), dtype))

    def run_by(self, run: Run) -> "Member":
        """The same transforms around another way to run the network.

        Args:
            run: Takes slices `(S, C, h, w)` float32, gives `(S, 4, h, w)` float32 logits.
        """
        other = copy.copy(self)
        other._run = run
        return other

    def prepare(self, stack: Volume) -> MetaTensor:
        """`(C, H, W, Z)` float32, the network's field of view, of a stack in the order of `slices_last`.

        Raises:
            DataError: If the stack is not 3-D.
        """
        if stack.array.ndim != 3:
            raise DataError(
                f"expected one frame (3-D), found {stack.array.shape}; give the frames one by one"
            )
        array = np.ascontiguousarray(stack.array, dtype=np.float32)
        affine = field_affine(stack)
        item = self.preprocessing({"image": MetaTensor(torch.from_numpy(array)[None], affine=affine)})
        image: MetaTensor = item["image"]
        return image

    def probabilities(self, image: MetaTensor, flip: tuple[int, ...] = ()) -> torch.Tensor:
        """`(Z, 4, H, W)` float32 for a `(C, H, W, Z)` image, on the CPU; of its flip, turned back."""
        slices = image.as_tensor().movedim(-1, 0)
        return self.logits(slices.flip(flip)).flip(flip).softmax(dim=1).cpu()

    def logits(self, slices: torch.Tensor) -> torch.Tensor:
        """`(S, 4, h, w)` float32 for slices `(S, C, h, w)`."""
        if self._run is not None:
            return self._run(slices)
        batches = slices.to(self.device).contiguous(memory_format=torch.channels_last).split(BATCH_SLICES)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return torch.cat([self.network(batch).float() for batch in batches])


def field_affine(stack: Volume) -> npt.NDArray[np.float64]:
    """Affine of a stack as in ACDC: a network sees the size of voxels, not where they lie in space."""
    dx, dy, dz = stack.spacing_mm
    return np.diag([-dx, -dy, dz, 1.0])


FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""In-plane flips of `(S, C, H, W)` slices."""


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

    `members` are the networks whose probabilities are averaged, with their preprocessing.

    Args:
        members: Networks by name; the probabilities of several are averaged.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        self.networks = tuple(members)
        self.members = tuple(members.values())

    @classmethod
    def load(
        cls,
        network: str | Sequence[str] = NETWORKS[0],
        *,
        bundle: Path = ACDC_BUNDLE,
        weights: Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        engine: Engine = PYTORCH,
    ) -> "Predictor":
        """Networks of a bundle, as its configuration describes them.

        Args:
            network: One of `NETWORKS`, or several whose probabilities are averaged.
            bundle: Root folder of the bundle.
            weights: File to use instead of the bundle's own; only with a single network.
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
        return cls(members)

    @property
    def seen(self) -> frozenset[str] | None:
        """Hashes of the images that a member was trained on, None if those of a member are not known."""
        known = [member.seen for member in self.members]
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
            label_map = self.members[0].to_label_map({"pred": found.probabilities[:, *heart]})["pred"]
            mask[found.box][heart] = label_map[0].numpy().astype(np.uint8)
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
        member = self.members[0]
        with torch.inference_mode():
            image = member.prepare(slices_last(volume)[0])
            masks = [member.probabilities(image, flip).argmax(dim=1) for flip in FLIPS]
        return [mask.to(torch.uint8).movedim(0, -1).numpy() for mask in masks]

    def _in_field(self, volume: Volume) -> _Field:
        stack, undo = slices_last(volume)
        start = time.perf_counter()
        images = [member.prepare(stack) for member in self.members]
        prepared = time.perf_counter()
        found = [member.probabilities(image) for member, image in zip(self.members, images, strict=True)]
        mean = torch.stack(found).mean(dim=0) if len(found) > 1 else found[0]
        native, box = to_native_box(mean, images[0].affine.numpy(), field_affine(stack), stack.array.shape)
        seconds = {"preprocess": prepared - start, "network": time.perf_counter() - prepared}
        return _Field(native, box, stack.array.shape, undo, seconds)
