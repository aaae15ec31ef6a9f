"""Random augmentation of a whole batch of radiographs in one resampling pass."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.transforms.intensity import IntensityAugmentation
from pipelines.transforms.spatial import SpatialAugmentation


class RandAugmentXray:
    """Random geometry and contrast for a batch of radiographs.

    What a rotation or a shift brings into the picture is black, as beside a
    collimated field: nothing is mirrored or continued into it. Randomness comes
    from torch's global generator.

    Args:
        spatial: Ranges of the geometry; `shift` is around the picture's middle.
        intensity: Ranges of the contrast changes.
    """

    def __init__(self, spatial: SpatialAugmentation, intensity: IntensityAugmentation) -> None:
        self.spatial = spatial
        self.intensity = intensity

    def __call__(self, image: Tensor) -> Tensor:
        """Augmented batch `(B, 1, H, W)` float32 of `(B, 1, H, W)` float, 0 black to 1 white."""
        middle = torch.zeros(len(image), 2, device=image.device)
        size = (image.shape[2], image.shape[3])
        grid = self.spatial.sampling_grid(image.shape, middle, size)
        sampled = F.grid_sample(
            image.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return self.intensity.apply(sampled).clamp(0, 1)


class RandAugmentXrayd:
    """Dictionary form of `RandAugmentXray`: key `image` of a batch."""

    def __init__(self, augment: RandAugmentXray) -> None:
        self.augment = augment

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with `image` augmented.

        Raises:
            KeyError: If there is no `image`.
        """
        return {**batch, "image": self.augment(batch["image"])}
