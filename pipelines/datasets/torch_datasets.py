"""Training slices and radiographs, preprocessed once and cached."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.data import PersistentDataset
from monai.transforms import Compose, Resize
from torch import Tensor
from torch.utils.data import Dataset

from pipelines.datasets.xray_image import read_xray

FORMAT = 2
"""Raised whenever the code of the preprocessing changes, so that older files are not taken."""


def cache_folder(root: Path, settings: Any) -> Path:
    """Folder below `root` that belongs to these settings alone.

    Data is told apart by the fingerprint in each item, which MONAI hashes into
    the file name; settings, the MONAI version and `FORMAT` are told apart here.

    Args:
        root: Folder of all caches.
        settings: Anything that JSON can hold.
    """
    text = json.dumps([FORMAT, monai.__version__, settings], sort_keys=True, default=str)
    return root / hashlib.sha256(text.encode()).hexdigest()[:16]


class SliceDataset(Dataset[dict[str, Tensor]]):
    """Slices of preprocessed volumes, held in memory as float16.

    Args:
        data: Items with `image`, `label` (paths) and `fingerprint`, as in a datalist.
        transform: Deterministic preprocessing that gives `image` `(C, H, W, Z)` and `label` `(1, H, W, Z)`.
        cache_dir: Folder of the disk cache; made if it does not exist.
        settings: Everything in the configuration that the preprocessing depends on, for the cache.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[..., Any],
        cache_dir: str | Path,
        settings: Any,
    ) -> None:
        self.data = list(data)
        # MONAI takes a nested Compose for a random transform and would not cache what it does.
        flat = transform.flatten() if isinstance(transform, Compose) else transform
        volumes = PersistentDataset(self.data, flat, cache_dir=cache_folder(Path(cache_dir), settings))
        self._samples: list[dict[str, Tensor]] = []
        self.volumes: list[int] = []  # for each slice the index of its volume in `data`
        for index in range(len(volumes)):
            found = _slices(volumes[index])
            self._samples += found
            self.volumes += [index] * len(found)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """`image` `(C, H, W)` float16, `label` `(1, H, W)` uint8, `center` `(2,)` of the heart, -1 to 1."""
        return self._samples[index]


def _slices(volume: Mapping[str, Any]) -> list[dict[str, Tensor]]:
    image = torch.as_tensor(np.asarray(volume["image"])).half()
    label = torch.as_tensor(np.asarray(volume["label"])).to(torch.uint8)
    center = _heart_center(label)
    return [
        {"image": image[..., z].contiguous(), "label": label[..., z].contiguous(), "center": center}
        for z in range(image.shape[-1])
    ]


def _heart_center(label: Tensor) -> Tensor:
    """Mean position `(row, column)` of the labelled voxels, -1 to 1; the middle if there are none."""
    rows_columns = (label[0] > 0).nonzero()[:, :2].float()
    if not len(rows_columns):
        return torch.zeros(2)
    size = torch.tensor(label.shape[1:3]).float()
    return (2 * rows_columns.mean(dim=0) + 1) / size - 1


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
