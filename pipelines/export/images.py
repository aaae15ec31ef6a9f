"""Images that an export is checked on."""

import tempfile
from pathlib import Path
from typing import Final

from pipelines.core.volume import Volume, read_volume
from pipelines.datasets import prepare, prepare_xray
from pipelines.datasets.phantom.cohort import MIN_FRAMES, write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.xray_image import read_xray
from pipelines.export.calibration import spread
from pipelines.inference.classify import find_xrays
from pipelines.inference.inputs import find_studies
from pipelines.models.classifier import Pixels

VOLUMES: Final = 4
"""Volumes that an export is checked on."""

RADIOGRAPHS: Final = 64


def check_volumes(data: Path | None) -> list[Volume]:
    """Some volumes `(X, Y, Z)`: of a datalist from its validation section, else what is found.

    Args:
        data: Prepared folder, or file or folder as for `thorax segment`; None for generated hearts.

    Raises:
        DataError: If there is nothing to read.
    """
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            write_phantom_cohort(Path(folder), patients=VOLUMES // 2, frames=MIN_FRAMES, cine=False)
            return _volumes_below(Path(folder))
    if prepare.is_datalist(data):
        items = prepare.select(prepare.read_datalist(data), "validation", 0)
        return [read_volume(Path(item["image"])) for item in spread(items, VOLUMES)]
    return _volumes_below(data)


def check_radiographs(data: Path | None) -> list[Pixels]:
    """Some radiographs `(H, W)`: of a datalist from its validation section, else what is found.

    Args:
        data: Prepared folder, or file or folder as for `thorax classify`; None for generated ones.

    Raises:
        DataError: If there is nothing to read.
    """
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            write_phantom_xrays(Path(folder), patients=RADIOGRAPHS, images=1)
            return [read_xray(path).pixels for path in find_xrays([Path(folder)])]
    if prepare.is_datalist(data):
        items = prepare_xray.select(prepare.read_datalist(data, kind="images"), "validation")
        paths = [Path(item["image"]) for item in items]
    else:
        paths = find_xrays([data])
    return [read_xray(path).pixels for path in spread(paths, RADIOGRAPHS)]


def _volumes_below(data: Path) -> list[Volume]:
    studies, _ = find_studies([data])
    images = spread([image for study in studies for image in study.images], VOLUMES)
    volumes = [image.load()[0] for image in images]
    return [volume.frame(0) if volume.array.ndim == 4 else volume for volume in volumes]
