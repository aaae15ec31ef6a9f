"""Images that are no heart or somebody else's: coverage in millimetres, and copies."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.core.plausibility import HEART_FRAME, THICK_SLICE_RATIO, in_words
from pipelines.core.records import PatientRecord, Problem, VolumeRecord
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_image

MIN_FIELD_MM: Final = 50.0
"""Width in plane below which no heart fits into an image, mm; a left ventricle alone has 70."""

MAX_FIELD_MM: Final = 600.0
"""Width in plane beyond which no scanner sees, mm; bores are 600 to 700 wide, fields up to 500."""

MIN_STACK_MM: Final = 40.0
"""Length of several slices below which they cannot reach from base to apex, mm; hearts have 70 to 110."""

MAX_STACK_MM: Final = 200.0
"""Length beyond which thick slices are no stack of one heart, mm."""

MAX_ANGLE_DEG: Final = 60.0
"""Largest angle of slices' normal and the usual long axis of the LV; of long-axis views it is near 90."""

ALONG_BODY_DEG: Final = 5.0
"""Slices within this angle of the body's planes have an affine that tells nothing about the heart."""

MIN_FRAMES: Final = 8
"""Fewest frames of which neighbours must be alike; a beat has 20 to 30."""

MORE_ALIKE: Final = 0.7
"""Slices and frames are taken for exchanged if neighbouring slices differ by less than this share of what
neighbouring frames differ by. Slices are 8 mm apart, frames 30 ms."""


SLICES_ALIKE: Final = 0.2
"""Median difference of neighbouring slices, in standard deviations of the image, below which slices are taken
for frames; it is at least 0.30 in 40 stacks of ACDC, and 0.13 between the frames of a phantom's slice."""


def check_coverage(volume: Volume) -> list[str]:
    """Warnings about what an image covers; empty if a heart can be in it from base to apex.

    Args:
        volume: `(X, Y, Z)` or `(X, Y, Z, T)` image in any order of the spatial axes.

    Raises:
        DataError: If it is too small in plane for any heart.
    """
    stack, _ = slices_last(volume)
    shape, spacing = stack.array.shape, stack.spacing_mm
    field_mm = min(shape[axis] * spacing[axis] for axis in (0, 1))
    length_mm = shape[2] * spacing[2]
    if field_mm < MIN_FIELD_MM:
        advice = "axes may be in another order than the header tells, or its unit or voxel size is wrong"
        if field_mm * 10 > MIN_FIELD_MM and length_mm < MIN_STACK_MM:
            advice = "the voxel size may be in centimetres: multiply pixdim and the affine by 10"
        raise DataError(
            f"expected slices at least {MIN_FIELD_MM:.0f} mm wide, found {shape[0] * spacing[0]:.0f} x "
            f"{shape[1] * spacing[1]:.0f} mm; {advice}"
        )
    warnings = []
    if max(shape[axis] * spacing[axis] for axis in (0, 1)) > MAX_FIELD_MM:
        warnings.append(
            f"the slices are {shape[0] * spacing[0]:.0f} x {shape[1] * spacing[1]:.0f} mm wide, more than "
            "any scanner sees: the voxel size or its unit is wrong"
        )
    if shape[2] > 1 and length_mm < MIN_STACK_MM:
        warnings.append(
            f"the {shape[2]} slices cover {length_mm:.0f} mm, too little for a heart from base to apex: "
            "volumes are not of whole ventricles, or the slice distance is wrong"
        )
    warnings += _odd_slices(stack.array)
    is_thick = spacing[2] >= THICK_SLICE_RATIO * max(spacing[:2])
    if is_thick and length_mm > MAX_STACK_MM:
        warnings.append(
            f"the {shape[2]} slices cover {length_mm:.0f} mm, more than a heart: "
            "frames may be stored as slices"
        )
    rows, columns = (slice(length // 4, length - length // 4) for length in shape[:2])
    middle = stack.array[rows, columns]
    if is_thick and len(shape) == 3 and shape[2] >= MIN_FRAMES:
        differences = np.abs(np.diff(middle, axis=2)).mean(axis=(0, 1))
        if 0 < float(np.median(differences)) < SLICES_ALIKE * float(middle.std()):
            warnings.append("neighbouring slices are as alike as frames are: frames may be stored as slices")
    normal = np.cross(stack.affine[:3, 0], stack.affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    is_along_body = np.abs(normal).max() > np.cos(np.deg2rad(ALONG_BODY_DEG))
    is_across = abs(normal @ HEART_FRAME[:, 2]) >= np.cos(np.deg2rad(MAX_ANGLE_DEG))
    if is_thick and volume.is_oriented and not is_along_body and not is_across:
        warnings.append(
            "the slices do not lie across the long axis of a heart: this may be no short-axis stack"
        )
    if len(shape) == 4 and shape[3] >= MIN_FRAMES and shape[2] > 2:
        slices, frames = (float(np.abs(np.diff(middle, axis=axis)).mean()) for axis in (2, 3))
        if slices < MORE_ALIKE * frames:
            warnings.append(
                "neighbouring slices are more alike than neighbouring frames: slices and frames may be "
                "exchanged"
            )
    return warnings


def _odd_slices(array: npt.NDArray[Any]) -> list[str]:
    """Warnings of slices `(X, Y, Z)` or `(X, Y, Z, T)` without a picture, and of those stored twice."""
    cine = array.reshape(*array.shape[:3], -1)
    is_empty = cine.max(axis=(0, 1)) == cine.min(axis=(0, 1))
    pairs = zip(np.moveaxis(cine, 2, 0)[:-1], np.moveaxis(cine, 2, 0)[1:], strict=True)
    is_copy = [(one == other).all(axis=(0, 1)) for one, other in pairs]
    copies = [z + 2 for z, found in enumerate(is_copy) if (found & ~is_empty[z]).any()]
    warnings = []
    if is_empty.any():
        frames = in_words("frame", np.flatnonzero(is_empty.any(axis=0)) + 1)
        warnings.append(
            f"{in_words('slice', np.flatnonzero(is_empty.any(axis=1)) + 1)} without a picture (one value "
            f"alone){f' in {frames}' * (array.ndim == 4)}: volumes may be too small"
        )
    if copies:
        warnings.append(
            f"{in_words('slice', copies)} with the voxels of the slice before: stored twice, volumes may be "
            "too large"
        )
    return warnings


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
