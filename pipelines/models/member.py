"""One network with the transforms before and after it, and what runs it."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

from pipelines.core.volume import Volume
from pipelines.models.bundle import load_config
from pipelines.models.checkpoints import load_weights
from pipelines.models.engines import PYTORCH, Engine, engine_run
from pipelines.models.fuse import fused
from pipelines.models.openvino_runtime import Run
from pipelines.models.weights_sidecar import read_seen

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
        """`(C, H, W, Z)` float32, the network's field of view, of a stack in the order of `slices_last`."""
        array = np.ascontiguousarray(stack.array, dtype=np.float32)
        affine = field_affine(stack)
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
        return self._in_pytorch(slices) if self._run is None else self._run(slices)

    def _in_pytorch(self, slices: torch.Tensor) -> torch.Tensor:
        batches = slices.to(self.device).contiguous(memory_format=torch.channels_last).split(BATCH_SLICES)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return torch.cat([self.network(batch).float() for batch in batches])


def field_affine(stack: Volume) -> npt.NDArray[np.float64]:
    """Affine of a stack as in ACDC: a network sees the size of voxels, not where they lie in space."""
    dx, dy, dz = stack.spacing_mm
    return np.diag([-dx, -dy, dz, 1.0])
