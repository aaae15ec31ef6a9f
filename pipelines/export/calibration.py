"""Training images that int8 models are calibrated with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from torch import Tensor

from pipelines.core.volume import read_volume, slices_last
from pipelines.datasets import prepare, prepare_xray
from pipelines.datasets.xray_image import read_xray
from pipelines.models.classifier import Classifier
from pipelines.models.member import Member

CALIBRATION_IMAGES: Final = 300
"""Radiographs that a classifier is calibrated with."""

CALIBRATION_SLICES: Final = 90
"""Slices that a heart network is calibrated with."""

SLICES_EACH: Final = 3
"""Slices of a calibration volume: the first, the middle and the last."""

Item = TypeVar("Item")


def calibration_slices(member: Member, dataset_dir: Path) -> list[Tensor]:
    """Inputs `(1, C, H, W)` of a heart network, spread over the training volumes of a datalist.

    Args:
        member: Network with its preprocessing.
        dataset_dir: Prepared folder, or its datalist.

    Raises:
        DataError: If there is no datalist of volumes, or a volume cannot be read.
    """
    items = prepare.select(prepare.read_datalist(dataset_dir), "training", 0)
    inputs = []
    for item in spread(items, CALIBRATION_SLICES // SLICES_EACH):
        stack, _ = slices_last(read_volume(Path(item["image"])))
        slices = member.prepare(stack).as_tensor().movedim(-1, 0)
        chosen = np.linspace(0, len(slices) - 1, SLICES_EACH).round().astype(int)
        inputs += [slices[index : index + 1].contiguous() for index in chosen.tolist()]
    return inputs


def calibration_images(classifier: Classifier, dataset_dir: Path) -> list[Tensor]:
    """Inputs `(1, 3, H, W)` of a classifier, spread over the training images of a datalist.

    Args:
        classifier: Network with its preprocessing.
        dataset_dir: Prepared folder, or its datalist.

    Raises:
        DataError: If there is no datalist of images, or an image cannot be read.
    """
    training = prepare_xray.select(prepare.read_datalist(dataset_dir, kind="images"), "training")
    return classifier_inputs(classifier, spread(training, CALIBRATION_IMAGES))


def classifier_inputs(classifier: Classifier, items: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """Inputs `(1, 3, H, W)` of a classifier for the items of a datalist.

    Raises:
        DataError: If an image cannot be read.
    """
    return [classifier.batch([read_xray(Path(item["image"])).pixels]) for item in items]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly spread over the sequence."""
    return list(items[:: max(1, len(items) // most)][:most])
