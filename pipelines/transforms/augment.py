"""Random augmentation of a whole batch of slices in one resampling pass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.transforms.intensity import IntensityAugmentation


@dataclass(frozen=True, slots=True)
class SpatialAugmentation:
    """Ranges of the random geometry of a training slice.

    Attributes:
        rotation_deg: Largest rotation to either side, degrees.
        scale: Largest relative change of size, `0.2` for 0.8 to 1.25.
        anisotropy: Largest further relative change of one axis against the other.
        shift: Standard deviation of the crop's centre around the heart, as a fraction of the field of view.
        anywhere: Share of crops whose centre is drawn from the whole field of view instead.
        flip: Probability of a flip, for each of the two axes.
        elastic: Largest standard deviation of the elastic displacement, as a fraction of the field of view.
        elastic_grid: Control points of the elastic field along each axis.
        elastic_probability: Share of slices that are deformed.
    """

    rotation_deg: float = 30.0
    scale: float = 0.25
    anisotropy: float = 0.1
    shift: float = 0.05
    anywhere: float = 0.2
    flip: float = 0.15
    elastic: float = 0.012
    elastic_grid: int = 7
    elastic_probability: float = 0.4


class RandAugmentBatch:
    """Random crop, geometry and contrast for a batch of slices and labels.

    MONAI has each of these transforms for one sample; doing a batch at once,
    with crop, rotation, scaling, flip and elastic deformation in one resampling,
    costs a few milliseconds a slice less, which decides on a CPU. Labels are
    resampled as linear class probabilities, so that borders stay smooth.

    Randomness comes from torch's global generator.

    Args:
        spatial_size: Height and width of the slices that leave, in pixels.
        classes: Number of label values.
        spatial: Ranges of the geometry.
        intensity: Ranges of the contrast changes.
    """

    def __init__(
        self,
        spatial_size: tuple[int, int] | list[int],
        *,
        classes: int = 4,
        spatial: SpatialAugmentation | None = None,
        intensity: IntensityAugmentation | None = None,
    ) -> None:
        self.spatial_size = (int(spatial_size[0]), int(spatial_size[1]))
        self.classes = classes
        self.spatial = spatial or SpatialAugmentation()
        self.intensity = intensity or IntensityAugmentation()

    def __call__(self, image: Tensor, label: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented batch.

        Args:
            image: `(B, C, H, W)` float, normalised intensities.
            label: `(B, 1, H, W)` integer, values below `classes`.
            center: `(B, 2)` float, centre of the heart in the grid's units, -1 to 1, `(row, column)`.

        Returns:
            Image `(B, C, h, w)` float32 and label `(B, 1, h, w)` int64, with `(h, w) = spatial_size`.
        """
        classes = torch.arange(self.classes, device=label.device).view(1, -1, 1, 1)
        grid = self._sampling_grid(image, center)
        stacked = torch.cat((image.float(), (label == classes).float()), dim=1)
        sampled = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="border", align_corners=False)
        channels = image.shape[1]
        # On a CPU, max finds the class many times faster than argmax.
        classified = sampled[:, channels:].max(dim=1, keepdim=True).indices
        return self.intensity.apply(sampled[:, :channels]), classified

    def _sampling_grid(self, image: Tensor, center: Tensor) -> Tensor:
        """`(B, h, w, 2)` positions `(column, row)` in -1 to 1 to sample each slice at."""
        count, _, rows, columns = image.shape
        device, ranges = image.device, self.spatial
        height, width = self.spatial_size

        angle = _uniform(count, device) * math.radians(ranges.rotation_deg)
        zoom = (1 + ranges.scale) ** _uniform(count, device)
        stretch = (1 + ranges.anisotropy) ** _uniform(count, device)
        flips = 1 - 2 * (torch.rand(count, 2, device=device) < ranges.flip).float()
        size = torch.stack((zoom * stretch, zoom / stretch), dim=1) * flips
        # Pixels from the crop's centre, rotated and scaled in pixels so that shapes are not sheared.
        cos, sin = angle.cos(), angle.sin()
        rotation = torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)
        matrix = rotation * size[:, None, :]
        offsets = torch.stack(
            torch.meshgrid(
                torch.arange(width, device=device) - (width - 1) / 2,
                torch.arange(height, device=device) - (height - 1) / 2,
                indexing="xy",
            ),
            dim=-1,
        )
        pixels = torch.einsum("bij,hwj->bhwi", matrix, offsets)
        to_grid = torch.tensor([2 / columns, 2 / rows], device=device)
        return (
            pixels * to_grid
            + self._crop_center(center)[:, None, None, :]
            + self._elastic_field(count, device)
        )

    def _crop_center(self, center: Tensor) -> Tensor:
        count, ranges = len(center), self.spatial
        near = center.float() + 2 * ranges.shift * torch.randn(count, 2, device=center.device)
        anywhere = _uniform(count, center.device, 2) * 0.6
        chosen = torch.where((torch.rand(count, 1, device=center.device) < ranges.anywhere), anywhere, near)
        return chosen.flip(1)

    def _elastic_field(self, count: int, device: torch.device) -> Tensor:
        ranges, nodes = self.spatial, self.spatial.elastic_grid
        strength = 2 * ranges.elastic * torch.rand(count, 1, 1, 1, device=device)
        chosen = torch.rand(count, 1, 1, 1, device=device) < ranges.elastic_probability
        coarse = torch.randn(count, 2, nodes, nodes, device=device) * strength * chosen
        return F.interpolate(coarse, self.spatial_size, mode="bicubic", align_corners=True).movedim(1, -1)


class RandAugmentBatchd:
    """Dictionary form of `RandAugmentBatch`: keys `image`, `label` and `center` of a batch."""

    def __init__(self, augment: RandAugmentBatch) -> None:
        self.augment = augment

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with `image` and `label` augmented and `center` dropped.

        Raises:
            KeyError: If one of the three keys is missing.
        """
        image, label = self.augment(batch["image"], batch["label"], batch["center"])
        rest = {key: value for key, value in batch.items() if key != "center"}
        return {**rest, "image": image, "label": label}


def _uniform(count: int, device: torch.device, *shape: int) -> Tensor:
    return 2 * torch.rand(count, *shape, device=device) - 1
