"""Radiographs for training, read and resized once and held in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Resize
from torch import Tensor
from torch.utils.data import Dataset

from pipelines.datasets.xray_image import read_xray


class XrayDataset(Dataset[dict[str, Any]]):
    """Grey images of one size, as bytes.

    Args:
        data: Items with `image` (path) and `label` (0 or 1), as in a datalist.
        resize: From `(1, H, W)` float32 to the height and width that are held.

    Raises:
        DataError: If an image cannot be read.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], resize: Resize) -> None:
        self.data = list(data)
        self._images: list[Tensor] = []
        for item in self.data:
            pixels = torch.from_numpy(read_xray(Path(item["image"])).pixels)[None]
            self._images.append((resize(pixels) * 255).round().to(torch.uint8).as_subclass(Tensor))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`image` `(1, H, W)` uint8 and `label`."""
        return {"image": self._images[index], "label": int(self.data[index]["label"])}
