"""Images that are the same, or nearly, and patients whose images are those of another."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.core.records import PatientRecord, Problem, VolumeRecord
from pipelines.core.volume import slices_last
from pipelines.datasets.loading import load_image

SIDE_PX: Final = 32
"""Side of the thumbnails that are compared."""

NEARLY_SAME: Final = 0.985
"""Correlation of two thumbnails from which images are near duplicates.

Among the 5,278 radiographs of the public release that were at hand, pairs of
different images reach 0.976, and the same image saved again 1.000.
"""


def pixel_hash(pixels: npt.NDArray[np.float32]) -> str:
    """First 16 hex digits of the SHA-256 of an image's values, `(H, W)` in 0 to 1."""
    rounded = np.round(pixels * 65535).astype(np.uint16)
    return hashlib.sha256(str(pixels.shape).encode() + rounded.tobytes()).hexdigest()[:16]


def voxel_hash(voxels: npt.NDArray[Any]) -> str:
    """First 16 hex digits of the SHA-256 of a volume's values as read; files may be packed in another way."""
    values = np.ascontiguousarray(voxels, dtype=np.float32)
    return hashlib.sha256(str(voxels.shape).encode() + values.tobytes()).hexdigest()[:16]


def thumbnail(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A small copy of an image `(H, W)`, flat, with mean 0 and length 1; all 0 if it is constant."""
    small = np.asarray(Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)).ravel()
    centered = small - small.mean()
    flat: npt.NDArray[np.float32] = (centered / max(float(np.linalg.norm(centered)), 1e-6)).astype(np.float32)
    return flat


def near_duplicates(
    thumbnails: Sequence[npt.NDArray[np.float32]], *, least: float = NEARLY_SAME
) -> list[tuple[int, int]]:
    """Pairs `(i, j)`, `i < j`, of thumbnails whose correlation is at least `least`."""
    stack = np.asarray(thumbnails)
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(stack), 1024):
        rows = stack[first : first + 1024] @ stack.T
        for i, j in zip(*np.nonzero(rows >= least), strict=True):
            if first + i < j:
                pairs.append((int(first + i), int(j)))
    return pairs


def joined(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> dict[str, str]:
    """The least name among those that pairs connect, for each name.

    Args:
        names: Name of each image's patient; names may repeat.
        pairs: Indices of images that belong together.
    """
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for i, j in pairs:
        first, second = sorted((find(names[i]), find(names[j])))
        root[second] = first
    return {name: find(name) for name in root}


TEST = "test"


def without_copies(
    patients: Sequence[PatientRecord],
    parts: Mapping[str, int | str],
    hashes: Mapping[Path, str],
    *,
    keep_test: bool,
) -> tuple[list[PatientRecord], list[Problem]]:
    """Patients whose images are their own, and those skipped as copies.

    Two patients with one equal volume are taken for one. A heart that is in training and in
    test would make a network look better than it is.

    Args:
        patients: With the volumes that are used.
        parts: `"test"` or the fold of each patient.
        hashes: Hash of the values of each image, as from `image_hashes`.
        keep_test: Of copies the one in the test section stays, as in a published split that must not
            lose patients; otherwise one that is trained on. Of several the first by name stays.
    """
    found = [(patient.patient, hashes[volume.image]) for patient in patients for volume in patient.volumes]
    first: dict[str, int] = {}
    pairs = [(first.setdefault(digest, index), index) for index, (_, digest) in enumerate(found)]
    same = joined([name for name, _ in found], pairs)
    stays: dict[str, str] = {}
    for name in sorted(same, key=lambda name: ((parts[name] == TEST) != keep_test, name)):
        stays.setdefault(same[name], name)
    kept, problems = [], []
    for patient in patients:
        other = stays[same[patient.patient]]
        if other == patient.patient:
            kept.append(patient)
            continue
        reason = (
            f"expected images of its own, found those of {other}: the same heart would count twice, or be in "
            f"training and test; {other} stays"
        )
        problems.append(Problem(patient.patient, patient.volumes[0].image.parent, reason))
    return kept, problems


def image_hash(volume: VolumeRecord) -> str:
    """Hash of an image's voxels, the same in whatever order of axes and by whatever packing they are stored.

    Raises:
        DataError: If it cannot be read.
    """
    stack, _ = slices_last(load_image(volume))
    return voxel_hash(stack.array)


def image_hashes(volumes: Iterable[VolumeRecord]) -> dict[Path, str]:
    """`image_hash` of each volume, by the path of its image.

    Raises:
        DataError: If an image cannot be read.
    """
    return {volume.image: image_hash(volume) for volume in volumes}
