"""Random augmentation of a whole batch, of slices or of radiographs, in one resampling pass."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def chosen_share(batch: Tensor, share: float) -> Tensor:
    """`(B, 1, ...)` bool, true for a random share of a batch `(B, ...)`."""
    return torch.rand(len(batch), *[1] * (batch.ndim - 1), device=batch.device) < share


def change_some(image: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A batch in which some images are changed; for the others nothing is worked out.

    Args:
        image: `(B, ...)`.
        chosen: `(B, 1, ...)` bool, a value for each image.
        change: Gives the new images for the old ones `(N, ...)` and their indices `(N)` in the batch.
    """
    rows = chosen.flatten().nonzero().flatten()
    return image.index_copy(0, rows, change(image[rows], rows)) if len(rows) else image


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
        chosen = chosen_share(image, self.share)
        image = change_some(image, chosen, lambda some, _: _lower_resolution(some, coarser))
        low = image.amin(dim=(1, 2, 3), keepdim=True)
        span = (image.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)
        unit = (image - low) / span
        exponent = torch.exp(self.gamma * (2 * torch.rand(count, 1, 1, 1, device=device) - 1))
        unit = unit.clamp_min(1e-4)
        unit = change_some(unit, chosen_share(image, self.share), lambda some, rows: some ** exponent[rows])
        chosen = chosen_share(image, self.share)
        coarse = self.bias * torch.randn(count, 1, 4, 4, device=device)
        unit = change_some(unit, chosen, lambda some, rows: some * _bias_field(coarse[rows], some))
        image = unit * span + low
        factor = 1 + self.contrast * (2 * torch.rand(count, 1, 1, 1, device=device) - 1)
        offset = self.brightness * torch.randn(count, 1, 1, 1, device=device)
        image = torch.where(chosen_share(image, self.share), image * factor + offset, image)
        level = self.noise * torch.rand(count, 1, 1, 1, device=device) * chosen_share(image, self.share)
        return image + level * torch.randn_like(image)


def _bias_field(coarse: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(coarse, image.shape[2:], mode="bicubic", align_corners=True).exp()


def _lower_resolution(image: Tensor, factor: float) -> Tensor:
    size = [max(1, round(length / factor)) for length in image.shape[2:]]
    small = F.interpolate(image, size, mode="area")
    return F.interpolate(small, image.shape[2:], mode="bilinear", align_corners=False)


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

    def sampling_grid(self, shape: Sequence[int], center: Tensor, size: Sequence[int]) -> Tensor:
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
        chosen = chosen_share(grid, self.elastic_probability)
        coarse = torch.randn(count, 2, nodes, nodes, device=device) * strength

        def bend(some: Tensor, rows: Tensor) -> Tensor:
            field = F.interpolate(coarse[rows], size, mode="bicubic", align_corners=True)
            return some + field.movedim(1, -1)

        return change_some(grid, chosen, bend)


def _uniform(count: int, device: torch.device, *shape: int) -> Tensor:
    return 2 * torch.rand(count, *shape, device=device) - 1


@dataclass(eq=False)
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

    spatial_size: Sequence[int]
    _: KW_ONLY
    classes: int = 4
    spatial: SpatialAugmentation = SpatialAugmentation()
    intensity: IntensityAugmentation = IntensityAugmentation()

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
        grid = self.spatial.sampling_grid(image.shape, center, self.spatial_size)
        stacked = torch.cat((image.float(), (label == classes).float()), dim=1)
        sampled = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="border", align_corners=False)
        channels = image.shape[1]
        # On a CPU, max finds the class many times faster than argmax.
        classified = sampled[:, channels:].max(dim=1, keepdim=True).indices
        return self.intensity.apply(sampled[:, :channels]), classified


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


@dataclass(eq=False)
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

    spatial: SpatialAugmentation
    intensity: IntensityAugmentation
    _: KW_ONLY
    size: Sequence[int] | None = None
    unchanged: float = 0.0

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
        chosen, size = chosen_share(image, self.unchanged), (height, width)
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
