"""What a folder of radiographs holds, measured image by image."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.progress import track
from pipelines.core.records import Problem
from pipelines.datasets.duplicates import near_duplicates, pixel_hash, thumbnail
from pipelines.datasets.xray_image import XrayRecord, read_chest_xray, read_xray
from pipelines.exploration.heart import exact_copies


@dataclass(frozen=True, slots=True)
class MeasuredXray:
    """One radiograph and what was measured of it.

    Attributes:
        record: Patient, finding, agent and path.
        width_px: Width in pixels.
        height_px: Height in pixels.
        mode: Pixel format of the file, as Pillow names it, or `"DICOM"`.
        brightness: Mean grey value, 0 black to 1 white.
        contrast: Standard deviation of the grey values.
        digest: Hash of the grey values; equal for exact copies.
        thumbnail: Small flat copy with mean 0 and length 1.
    """

    record: XrayRecord
    width_px: int
    height_px: int
    mode: str
    brightness: float
    contrast: float
    digest: str
    thumbnail: npt.NDArray[np.float32]

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width_px / self.height_px


@dataclass(frozen=True, slots=True)
class XraySurvey:
    """Radiographs of a folder.

    Attributes:
        images: Those that could be read.
        problems: Files skipped, and names that tell no patient.
        copies: Pairs of indices into `images`, the second an exact copy of the first.
        near: Pairs of indices of images that are nearly the same, without the copies.
    """

    images: list[MeasuredXray]
    problems: list[Problem]
    copies: list[tuple[int, int]]
    near: list[tuple[int, int]]

    def images_per_patient(self) -> Counter[str]:
        """Number of images of each patient."""
        return Counter(image.record.patient for image in self.images)


def survey_xrays(root: Path) -> XraySurvey:
    """Read and measure every radiograph below a folder.

    Args:
        root: Existing folder with `NORMAL` and `PNEUMONIA` at any depth.

    Raises:
        DataError: If a finding has no image, or no image can be read.
    """
    dataset = read_chest_xray(root)
    images: list[MeasuredXray] = []
    problems = list(dataset.problems)
    for record in track(dataset.records, lambda one: one.image.name):
        try:
            images.append(_measure(record))
        except DataError as error:
            problems.append(Problem(record.patient, record.image, str(error)))
    if not images:
        raise DataError(f"expected a readable radiograph below {root}, found none: {problems[-1].reason}")
    copies = exact_copies([image.digest for image in images])
    repeated = {second for _, second in copies}
    near = near_duplicates([image.thumbnail for image in images])
    near = [pair for pair in near if not repeated.intersection(pair)]
    return XraySurvey(images, problems, copies, near)


def _measure(record: XrayRecord) -> MeasuredXray:
    image = read_xray(record.image)
    height, width = image.pixels.shape
    return MeasuredXray(
        record=record,
        width_px=width,
        height_px=height,
        mode=image.mode,
        brightness=float(image.pixels.mean()),
        contrast=float(image.pixels.std()),
        digest=pixel_hash(image.pixels),
        thumbnail=thumbnail(image.pixels),
    )
