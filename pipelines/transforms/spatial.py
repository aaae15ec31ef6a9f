"""Random geometry of a batch of images as one resampling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.transforms.batch import change_some


@dataclass(frozen=True, slots=True)
class SpatialAugmentation:
    """Ranges of the random geometry of a training slice.

    Attributes:
        rotation_deg: Largest rotation to either side, degrees.
        scale: Largest relative change of size, `0.2` for 0.8 to 1.25.
        anisotropy: Largest further relative change of one axis against the other.
        shift: Standard deviation of the crop's centre around the heart, as a fraction of the field of view.
        anywhere: Share of crops whose centre is drawn from the whole field of view instead.
        flip: Probability of a flip of each axis, or of one left to right and one upside down.
        elastic: Largest standard deviation of the elastic displacement, as a fraction of the field of view.
        elastic_grid: Control points of the elastic field along each axis.
        elastic_probability: Share of slices that are deformed.
    """

    rotation_deg: float = 30.0
    scale: float = 0.25
    anisotropy: float = 0.1
    shift: float = 0.05
    anywhere: float = 0.2
    flip: float | Sequence[float] = 0.15
    elastic: float = 0.012
    elastic_grid: int = 7
    elastic_probability: float = 0.4

    def sampling_grid(self, shape: Sequence[int], center: Tensor, size: tuple[int, int]) -> Tensor:
        """Random positions to sample each image of a batch at, as `grid_sample` takes them.

        Randomness comes from torch's global generator.

        Args:
            shape: `(B, C, H, W)` of the batch.
            center: `(B, 2)` float, centre of the crops in the grid's units, -1 to 1, `(row, column)`.
            size: Height and width of the crops in pixels.

        Returns:
            `(B, h, w, 2)` positions `(column, row)`, -1 to 1, on the device of `center`.
        """
        count, _, rows, columns = shape
        device, (height, width) = center.device, size

        angle = _uniform(count, device) * math.radians(self.rotation_deg)
        zoom = (1 + self.scale) ** _uniform(count, device)
        stretch = (1 + self.anisotropy) ** _uniform(count, device)
        flips = 1 - 2 * (torch.rand(count, 2, device=device) < torch.tensor(self.flip, device=device)).float()
        zooms = torch.stack((zoom * stretch, zoom / stretch), dim=1) * flips
        # Pixels from the crop's centre, rotated and scaled in pixels so that shapes are not sheared.
        cos, sin = angle.cos(), angle.sin()
        rotation = torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)
        matrix = rotation * zooms[:, None, :]
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
        return self._elastic(pixels * to_grid + self._crop_center(center)[:, None, None, :])

    def _crop_center(self, center: Tensor) -> Tensor:
        count = len(center)
        near = center.float() + 2 * self.shift * torch.randn(count, 2, device=center.device)
        anywhere = _uniform(count, center.device, 2) * 0.6
        chosen = torch.where((torch.rand(count, 1, device=center.device) < self.anywhere), anywhere, near)
        return chosen.flip(1)

    def _elastic(self, grid: Tensor) -> Tensor:
        count, device, nodes = len(grid), grid.device, self.elastic_grid
        size = grid.shape[1:3]
        strength = 2 * self.elastic * torch.rand(count, 1, 1, 1, device=device)
        chosen = torch.rand(count, 1, 1, 1, device=device) < self.elastic_probability
        coarse = torch.randn(count, 2, nodes, nodes, device=device) * strength

        def bend(some: Tensor, rows: Tensor) -> Tensor:
            field = F.interpolate(coarse[rows], size, mode="bicubic", align_corners=True)
            return some + field.movedim(1, -1)

        return change_some(grid, chosen, bend)


def _uniform(count: int, device: torch.device, *shape: int) -> Tensor:
    return 2 * torch.rand(count, *shape, device=device) - 1
