"""Random augmentation of a whole batch of radiographs in one resampling pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.transforms.batch import change_some
from pipelines.transforms.intensity import IntensityAugmentation
from pipelines.transforms.spatial import SpatialAugmentation


class RandAugmentXray:
    """Random geometry and contrast for a batch of radiographs.

    What a rotation or a shift brings into the picture is black, as beside a
    collimated field: nothing is mirrored or continued into it. Randomness comes
    from torch's global generator.

    Some images stay as they are, only shrunk: what the network will see in use. Without
    them it learns from pictures that are all a little turned and a little blurred, and
    its batch normalisation is off on those that are not.

    Args:
        spatial: Ranges of the geometry; `shift` is around the picture's middle.
        intensity: Ranges of the contrast changes.
        size: Height and width of the result in pixels, by default those of the images. Images of twice
            the size stay as sharp as if they had been shrunk without being turned.
        unchanged: Share of the images that stay as they are.
    """

    def __init__(
        self,
        spatial: SpatialAugmentation,
        intensity: IntensityAugmentation,
        *,
        size: Sequence[int] | None = None,
        unchanged: float = 0.0,
    ) -> None:
        self.spatial = spatial
        self.intensity = intensity
        self.size = size
        self.unchanged = unchanged

    def __call__(self, image: Tensor) -> Tensor:
        """Augmented batch `(B, 1, h, w)` float32 of `(B, 1, H, W)` float, 0 black to 1 white."""
        height, width = self.size or image.shape[2:]
        middle = torch.zeros(len(image), 2, device=image.device)
        grid = self.spatial.sampling_grid((len(image), 1, height, width), middle, (height, width))
        sampled = F.grid_sample(
            image.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        augmented = self.intensity.apply(sampled).clamp(0, 1)
        if not self.unchanged:
            return augmented
        chosen = torch.rand(len(image), 1, 1, 1, device=image.device) < self.unchanged
        size = (height, width)
        return change_some(
            augmented, chosen, lambda _, rows: F.interpolate(image[rows].float(), size, mode="area")
        )


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
