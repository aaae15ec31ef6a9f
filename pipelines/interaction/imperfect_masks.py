"""Masks that fail as automatic ones do: at base and apex, at borders, and alike in neighbouring slices."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.core.labels import FOREGROUND, AcdcLabel

CORE_PX = 5
"""Width over which a class fades at its border before noise moves it, pixels."""

HEART_PX = 30
"""Width of the surroundings of the heart in which something may appear, pixels."""


@dataclass(frozen=True, slots=True)
class ImperfectMasks:
    """Ranges and shares of what goes wrong.

    Attributes:
        border: Largest standard deviation of the noise that moves borders; 0.5 is the class's own border.
        alike: Share of that noise that neighbouring slices have in common, 0 to 1.
        lost: Share of slices in which part or all of a structure is missing.
        empty: Share of slices without any structure, as beyond base and apex.
        swapped: Share of slices that are drawn as the next one.
        spurious: Share of slices in which a structure appears where it is not.
    """

    border: float = 0.5
    alike: float = 0.8
    lost: float = 0.3
    empty: float = 0.06
    swapped: float = 0.15
    spurious: float = 0.15

    def apply(self, classes: Tensor) -> Tensor:
        """Masks with faults, one-hot, from torch's global generator.

        Args:
            classes: `(B, 3, 4, H, W)` float, share of each class in three neighbouring slices.
        """
        count = len(classes)
        swapped = self._chosen(classes, self.swapped)
        side = torch.where(torch.rand(count, 1, 1, 1, 1, device=classes.device) < 0.5, -1, 1)
        shifted = torch.where(side < 0, classes[:, [0, 0, 1]], classes[:, [1, 2, 2]])
        classes = torch.where(swapped, shifted, classes)
        # In two passes, which a CPU does faster than one over squares.
        faded = _mean(_mean(classes.flatten(0, 1), (CORE_PX, 1)), (1, CORE_PX)).view_as(classes)
        heart = self._surroundings(faded)
        faded = faded + heart * self._border_noise(classes)
        faded = faded - self._lost(classes) + heart * self._spurious(classes)
        empty = self._chosen(classes, self.empty) & self._in_slices(classes)
        background = torch.zeros_like(faded)
        background[:, :, AcdcLabel.BACKGROUND] = 1
        faded = torch.where(empty, background, faded)
        # On a CPU, max finds the class many times faster than argmax.
        index = faded.max(dim=2, keepdim=True).indices
        return torch.zeros_like(faded).scatter_(2, index, 1.0)

    def _chosen(self, classes: Tensor, share: float) -> Tensor:
        return torch.rand(len(classes), 1, 1, 1, 1, device=classes.device) < share

    def _in_slices(self, classes: Tensor) -> Tensor:
        """The middle slice always, each neighbour as likely as not."""
        chosen = torch.rand(len(classes), 3, 1, 1, 1, device=classes.device) < 0.5
        chosen[:, 1] = True
        return chosen

    def _surroundings(self, faded: Tensor) -> Tensor:
        heart = 1 - faded[:, :, AcdcLabel.BACKGROUND].amin(dim=1, keepdim=True)
        coarse = F.avg_pool2d(heart, HEART_PX // 3, ceil_mode=True)
        fine = F.interpolate(_mean(coarse, (3, 3)), heart.shape[2:], mode="bilinear", align_corners=False)
        return (4 * fine).clamp(max=1)[:, :, None]

    def _border_noise(self, classes: Tensor) -> Tensor:
        count, slices, kinds, height, width = classes.shape
        device = classes.device
        nodes = int(torch.randint(4, 13, ()))
        common = torch.randn(count, 1, kinds, nodes, nodes, device=device)
        own = torch.randn(count, slices, kinds, nodes, nodes, device=device)
        coarse = self.alike**0.5 * common + (1 - self.alike) ** 0.5 * own
        strength = self.border * torch.rand(count, 1, 1, 1, 1, device=device)
        fine = F.interpolate((strength * coarse).flatten(0, 1), (height, width), mode="bicubic")
        return fine.view(classes.shape)

    def _lost(self, classes: Tensor) -> Tensor:
        """What to take from a structure, on one side of a line through it or everywhere."""
        count, _, kinds, height, width = classes.shape
        device = classes.device
        structure = torch.randint(1, kinds, (count,), device=device)
        structure[torch.rand(count, device=device) < 0.4] = AcdcLabel.RV
        weight = F.one_hot(structure, kinds).float()
        with_wall = torch.rand(count, device=device) < 0.3
        weight[with_wall] = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device)
        side = self._half_plane(classes[:, 1], structure)
        side[torch.rand(count, device=device) < 0.4] = 1.0
        chosen = self._chosen(classes, self.lost) & self._in_slices(classes)
        return 2.0 * chosen * weight[:, None, :, None, None] * side.view(count, 1, 1, height, width)

    def _half_plane(self, classes: Tensor, structure: Tensor) -> Tensor:
        """`(B, H, W)`, 1 on one side of a random line through the structure of each item."""
        count, _, height, width = classes.shape
        device = classes.device
        shape = classes[torch.arange(count, device=device), structure]
        rows = torch.arange(height, device=device).float()[None, :, None]
        columns = torch.arange(width, device=device).float()[None, None, :]
        mass = shape.sum((1, 2)).clamp_min(1e-3)
        row, column = (shape * rows).sum((1, 2)) / mass, (shape * columns).sum((1, 2)) / mass
        angle = 2 * torch.pi * torch.rand(count, 1, 1, device=device)
        extent = (mass / torch.pi).sqrt()[:, None, None]
        offset = extent * (torch.rand(count, 1, 1, device=device) - 0.5)
        distance = (rows - row[:, None, None]) * angle.sin() + (columns - column[:, None, None]) * angle.cos()
        return (distance > offset).float()

    def _spurious(self, classes: Tensor) -> Tensor:
        """What to add to a structure, in an ellipse somewhere."""
        count, _, kinds, height, width = classes.shape
        device = classes.device
        rows = torch.arange(height, device=device).float()[None, :, None] / height
        columns = torch.arange(width, device=device).float()[None, None, :] / width
        center = 0.2 + 0.6 * torch.rand(2, count, 1, 1, device=device)
        radius = 0.03 + 0.12 * torch.rand(2, count, 1, 1, device=device)
        inside = ((rows - center[0]) / radius[0]) ** 2 + ((columns - center[1]) / radius[1]) ** 2 < 1
        structure = torch.randint(0, len(FOREGROUND) + 1, (count,), device=device)
        weight = F.one_hot(structure, kinds).float()[:, None, :, None, None]
        chosen = self._chosen(classes, self.spurious) & self._in_slices(classes)
        return 2.0 * chosen * weight * inside.view(count, 1, 1, height, width)


def _mean(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean of odd surroundings of each pixel, at the border over those that are there."""
    padding = (size[0] // 2, size[1] // 2)
    return F.avg_pool2d(images, size, stride=1, padding=padding, count_include_pad=False)
