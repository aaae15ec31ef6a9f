"""Random contrast, brightness, bias field, noise and resolution of a batch of MRI slices."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.transforms.batch import change_some


@dataclass(frozen=True, slots=True)
class IntensityAugmentation:
    """Ranges and shares of the random intensity changes, for normalised images.

    Each change touches its share of the slices; all channels of a slice (the
    slice and its neighbours) change alike, except for noise.

    Attributes:
        gamma: Largest logarithm of the exponent of the gamma curve.
        contrast: Largest relative change of contrast.
        brightness: Standard deviation of the added offset, in standard deviations of the image.
        bias: Standard deviation of the logarithm of the bias field.
        noise: Largest standard deviation of the noise, in standard deviations of the image.
        low_resolution: Largest factor by which resolution is lowered.
        share: Share of the slices that each change touches.
    """

    gamma: float = 0.35
    contrast: float = 0.25
    brightness: float = 0.2
    bias: float = 0.2
    noise: float = 0.2
    low_resolution: float = 2.0
    share: float = 0.25

    def apply(self, image: Tensor) -> Tensor:
        """Changed images.

        Args:
            image: `(B, C, H, W)` float32.
        """
        count, device = len(image), image.device
        coarser = 1 + (self.low_resolution - 1) * float(torch.rand(()))
        image = change_some(image, self._chosen(image), lambda some, _: _lower_resolution(some, coarser))
        low = image.amin(dim=(1, 2, 3), keepdim=True)
        span = (image.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)
        unit = (image - low) / span
        exponent = torch.exp(self.gamma * (2 * torch.rand(count, 1, 1, 1, device=device) - 1))
        unit = unit.clamp_min(1e-4)
        unit = change_some(unit, self._chosen(image), lambda some, rows: some ** exponent[rows])
        chosen = self._chosen(image)
        coarse = self.bias * torch.randn(count, 1, 4, 4, device=device)
        unit = change_some(unit, chosen, lambda some, rows: some * _bias_field(coarse[rows], some))
        image = unit * span + low
        factor = 1 + self.contrast * (2 * torch.rand(count, 1, 1, 1, device=device) - 1)
        offset = self.brightness * torch.randn(count, 1, 1, 1, device=device)
        image = torch.where(self._chosen(image), image * factor + offset, image)
        level = self.noise * torch.rand(count, 1, 1, 1, device=device) * self._chosen(image)
        return image + level * torch.randn_like(image)

    def _chosen(self, image: Tensor) -> Tensor:
        return torch.rand(len(image), 1, 1, 1, device=image.device) < self.share


def _bias_field(coarse: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(coarse, image.shape[2:], mode="bicubic", align_corners=True).exp()


def _lower_resolution(image: Tensor, factor: float) -> Tensor:
    size = [max(1, round(length / factor)) for length in image.shape[2:]]
    small = F.interpolate(image, size, mode="area")
    return F.interpolate(small, image.shape[2:], mode="bilinear", align_corners=False)
