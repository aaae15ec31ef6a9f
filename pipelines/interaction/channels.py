"""What the correcting network sees: image, present mask and clicks as channels of one slice."""

from typing import Final

import torch
from torch import Tensor

CLICK_SIGMA_PX: Final = 3.0
"""Standard deviation of the bell that stands for a click, pixels of the network's grid."""

LAYOUT: Final = (
    *(f"image at offset {offset}" for offset in (-1, 0, 1)),
    *(f"present {name} at offset {offset}" for offset in (0, -1, 1) for name in ("rv", "myo", "lv")),
    *(f"clicks {name}" for name in ("background", "rv", "myo", "lv")),
    *(f"clicks {name} in the neighbouring slices" for name in ("background", "rv", "myo", "lv")),
    "newest click",
)
"""Names of the channels in order."""


def input_channels(
    image: Tensor, present: Tensor, clicks: Tensor, neighbour_clicks: Tensor, newest: Tensor
) -> Tensor:
    """Channels of a batch of slices in the order of `LAYOUT`.

    Args:
        image: `(B, 3, H, W)`, the slice between its neighbours.
        present: `(B, 3, 4, H, W)`, share of each class at offsets -1, 0 and 1.
        clicks: `(B, 4, H, W)`, bells of the clicks in the slice, by class.
        neighbour_clicks: `(B, 4, H, W)`, those of the slices before and after it.
        newest: `(B, 1, H, W)`, bell of the click to act on, in whichever of the three slices.

    Returns:
        `(B, 21, H, W)` float32, channels last in memory.
    """
    before, this, after = (present[:, index, 1:] for index in range(3))
    stacked = torch.cat((image, this, before, after, clicks, neighbour_clicks, newest), dim=1)
    return stacked.float().contiguous(memory_format=torch.channels_last)


def bell(center: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bells `(B, H, W)` of height 1 at `center` `(B, 2)`, row and column in pixels."""
    rows = torch.arange(shape[0], device=center.device)
    columns = torch.arange(shape[1], device=center.device)
    squared = (rows[None, :, None] - center[:, 0, None, None]) ** 2 + (
        columns[None, None, :] - center[:, 1, None, None]
    ) ** 2
    return torch.exp(-squared / (2 * CLICK_SIGMA_PX**2))
