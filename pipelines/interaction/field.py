"""The square of the network's grid in which a volume is corrected, and how masks and clicks get there."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.core.labels import AcdcLabel
from pipelines.interaction.clicks import Click, Mask

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """A square of the network's field of view.

    Attributes:
        corner: First row and column.
        size: Side in pixels.
        scale: Pixels of the field for each voxel, along rows and columns.
        origin: Row and column in the field of the volume's first voxel.
    """

    corner: tuple[int, int]
    size: int
    scale: tuple[float, float]
    origin: tuple[float, float]

    @classmethod
    def around(
        cls,
        click: Click,
        size: int,
        field_affine: Affine,
        native_affine: Affine,
        field_shape: tuple[int, ...],
    ) -> Self:
        """Window with the click in its middle, as far as the field goes.

        Args:
            click: On the volume with slices last.
            size: Side in pixels, at most that of the field.
            field_affine: 4 x 4, of the network's field.
            native_affine: 4 x 4, of the volume, with axes as those of the field.
            field_shape: Rows and columns of the field.
        """
        to_field = np.linalg.inv(field_affine) @ native_affine
        scale = (float(to_field[0, 0]), float(to_field[1, 1]))
        origin = (float(to_field[0, 3]), float(to_field[1, 3]))
        corner = []
        for axis, place in enumerate((click.i, click.j)):
            first = round(scale[axis] * place + origin[axis] - size / 2)
            corner.append(min(max(first, 0), field_shape[axis] - size))
        return cls((corner[0], corner[1]), size, scale, origin)

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the field."""
        return slice(self.corner[0], self.corner[0] + self.size), slice(
            self.corner[1], self.corner[1] + self.size
        )

    def affine(self, field_affine: Affine) -> Affine:
        """Affine of the window's pixels, 4 x 4."""
        shift = np.eye(4)
        shift[:2, 3] = self.corner
        moved: Affine = field_affine @ shift
        return moved

    def position(self, click: Click) -> Tensor:
        """`(1, 2)` float32, row and column of a click among the window's pixels, not rounded."""
        places = [
            self.scale[axis] * place + self.origin[axis] - self.corner[axis]
            for axis, place in enumerate((click.i, click.j))
        ]
        return torch.tensor([places])

    def to_field(self, masks: Mask) -> Tensor:
        """One-hot masks `(S, 4, h, w)` float32 in the window of label maps `(X, Y, S)`.

        Classes are resampled as shares, and the largest share wins; beyond the volume is background.
        """
        kinds = torch.arange(len(AcdcLabel)).view(1, -1, 1, 1)
        native = torch.from_numpy(np.ascontiguousarray(masks)).movedim(-1, 0)[:, None]
        lines = []
        for axis, length in enumerate(masks.shape[:2]):
            field = torch.arange(self.size) + self.corner[axis]
            voxel = (field - self.origin[axis]) / self.scale[axis]
            lines.append((2 * voxel + 1) / length - 1)
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], dim=-1).float()
        shares = F.grid_sample(
            (native == kinds).float()[:, 1:],
            grid.expand(len(native), *grid.shape),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        shares = torch.cat((1 - shares.sum(dim=1, keepdim=True), shares), dim=1)
        index = shares.max(dim=1, keepdim=True).indices
        return torch.zeros_like(shares).scatter_(1, index, 1.0)
