"""The way from the network's grid back to the image's own grid."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

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
    return _extent(seen.any(dim=1)), _extent(seen.any(dim=0))


def _extent(seen: Tensor) -> slice:
    places = torch.nonzero(seen)[:, 0]
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
