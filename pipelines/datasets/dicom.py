"""Short-axis cine series in DICOM, read into one volume with nibabel's geometry."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume
from pipelines.datasets.dicom_file import (
    FEWEST_FRAMES,
    SAME_DIRECTION,
    SAME_ECHO,
    DicomImage,
    by_position,
    decode,
    is_parallel,
    padding_of,
    read_dataset,
    read_images,
)

MISSING_SLICE_RATIO = 1.5
"""A gap of this many times the usual slice spacing means that a slice is missing."""

UNEVEN_SHARE = 0.1
"""Slice gaps that differ from the median by more than this share are worth a warning."""

DRIFT_WARNING_MM = 2.0
"""In-plane shift between slices above which a warning is given, mm."""

FRAME_ORDER_TAGS = (
    "TriggerTime",
    "TemporalPositionIdentifier",
    "AcquisitionTime",
    "ContentTime",
    "InstanceNumber",
)
"""Tags that order the frames of a slice, the most trustworthy first."""

HEART_MODALITY: Final = "MR"

HEART_PARTS: Final = ("HEART", "CARDIAC", "CHEST", "THORAX", "CORONARY", "AORTA")
"""Words of BodyPartExamined that may stand for a heart."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Images of a series in their places.

    Attributes:
        slices: From the lowest along the normal, each with its frames in time order.
        reference: An image whose grid all others have or are resampled to.
        frame_s: Time between frames in seconds, or None.
        warnings: What was left out or replaced, in plain words.
    """

    slices: list[list[DicomImage]]
    reference: DicomImage
    frame_s: float | None
    warnings: list[str]


def read_series(files: Sequence[Path]) -> Volume:
    """Volume `(X, Y, Z)` or cine `(X, Y, Z, T)`, float32, of one DICOM series.

    X runs along the image rows, Y down the columns and Z along the slice normal.
    The slice spacing comes from the slice positions; only a single slice takes it
    from its tags. Rescale slope and intercept are applied. Each of these costs what it
    must and is told in a warning: images in other directions and phase images are left
    out, the last scan of a slice counts, a frame that a slice lacks is left out in all,
    and a slice on another grid is resampled to that of the others.

    Args:
        files: Existing image files of one series, in any order; or enhanced multi-frame files.

    Returns:
        The volume with its RAS+ affine and warnings in plain words.

    Raises:
        DataError: If a file cannot be read or is no plain grey slice with geometry, images are of
            several patients or contrasts, most have no common orientation, a slice is missing,
            frames cannot be put in order, or the image is constant.
    """
    stack = _stack(files)
    first = stack.reference
    columns, rows, normal, (column_gap, row_gap) = _plane(first)
    slice_gap, warnings = _slice_spacing([group[0] for group in stack.slices], normal)
    array = _pixels(stack)
    lps = np.eye(4)
    lps[:3, 0] = columns * column_gap
    lps[:3, 1] = rows * row_gap
    lps[:3, 2] = normal * slice_gap
    lps[:3, 3] = _origin(stack, normal)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    return Volume(
        array,
        affine,
        (column_gap, row_gap, slice_gap),
        first.path.parent,
        stack.frame_s,
        warnings=(*_doubts(first), *stack.warnings, *warnings),
    )


def order_series(files: Sequence[Path]) -> tuple[list[list[Path]], list[str]]:
    """Files of a series by slice, from the lowest along the normal, and in each slice by time.

    Args:
        files: Existing image files of one series, in any order, an image each.

    Returns:
        The files that `read_series` takes pixels from, and its warnings about those it leaves out.

    Raises:
        DataError: As for `read_series`, as far as headers tell, or for multi-frame files.
    """
    stack = _stack(files)
    for image in itertools.chain(*stack.slices):
        if image.is_multi_frame:
            raise DataError(f"expected one image a file, found a multi-frame file {image.path}")
    return [[image.path for image in group] for group in stack.slices], stack.warnings


def _stack(files: Sequence[Path]) -> _Stack:
    if not files:
        raise DataError("expected the files of a DICOM series, found none")
    warnings: list[str] = []
    images = [image for path in sorted(files) for image in read_images(path)]
    if not images:
        raise DataError(f"expected images, found none in the {len(files)} DICOM files of {files[0].parent}")
    _check_one_study(images)
    images = _without_copies(images)
    images = _magnitudes(images, warnings)
    for image in images:
        _plane(image)
    images = _parallel(images, warnings)
    reference = _alike(images, _is_same_grid)[0][0]
    slices = by_position(images, _plane(reference)[2])
    _check_one_contrast(slices)
    slices = _of_one_grid(slices, reference, warnings)
    slices = _even(_last_scans(slices, warnings), warnings)
    slices, frame_s = _ordered_in_time(slices, warnings)
    return _Stack(slices, reference, frame_s, warnings)


def _check_one_study(images: list[DicomImage]) -> None:
    for what, found in (
        ("patient", {image.subject for image in images}),
        ("study", {(image.study,) for image in images}),
    ):
        if len(found) > 1:
            names = ", ".join(sorted("/".join(filter(None, one)) or "without a name" for one in found)[:3])
            raise DataError(
                f"expected the images of one {what}, found {len(found)} ({names}) in {images[0].path.parent}"
            )


def _without_copies(images: list[DicomImage]) -> list[DicomImage]:
    """Images less those whose tags and pixels are all those of one before: an anonymiser may repeat UIDs."""
    alike: dict[object, list[DicomImage]] = defaultdict(list)
    for image in images:
        place = None if image.position_mm is None else tuple(image.position_mm)
        contrast = (image.kind, image.echo_ms, image.inversion_ms)
        alike[(image.instance, image.series, contrast, place, tuple(image.times.items()))].append(image)
    copies: set[DicomImage] = set()
    for group in alike.values():
        if len(group) == 1 or group[0].is_multi_frame:
            continue
        kept: list[npt.NDArray[Any]] = []
        for image in group:
            pixels = decode(read_dataset(image.path), image.path)
            if any(np.array_equal(pixels, other) for other in kept):
                copies.add(image)
            else:
                kept.append(pixels)
    return [image for image in images if image not in copies]


def _magnitudes(images: list[DicomImage], warnings: list[str]) -> list[DicomImage]:
    kept = [image for image in images if not image.is_phase]
    if not kept:
        raise DataError(
            f"expected images of magnitudes, found phases or velocities (ImageType "
            f"{'/'.join(images[0].kind)}) in {images[0].path.parent}; give the magnitude series"
        )
    if len(kept) < len(images):
        warnings.append(f"{len(images) - len(kept)} images of phases or velocities are left out")
    return kept


def _plane(image: DicomImage) -> tuple[Floats, Floats, Floats, tuple[float, float]]:
    """Directions along a row, down a column and of the normal (LPS); column and row spacing in mm."""
    wanted: dict[str, tuple[int, npt.ArrayLike]] = {
        "ImageOrientationPatient": (6, image.directions),
        "ImagePositionPatient": (3, image.position_mm),
        "PixelSpacing": (2, image.spacing_mm),
    }
    for tag, (length, value) in wanted.items():
        if np.isnan(value).any():
            raise DataError(f"expected {length} values of {tag}, found none or others in {image.path}")
    columns, rows = image.directions
    normal = image.normal
    if abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise DataError(
            f"expected two perpendicular unit directions in ImageOrientationPatient of {image.path}"
        )
    if min(image.spacing_mm) <= 0:
        raise DataError(f"expected positive pixel spacing in mm, found {image.spacing_mm} in {image.path}")
    return columns, rows, normal / np.linalg.norm(normal), image.spacing_mm


def _parallel(images: list[DicomImage], warnings: list[str]) -> list[DicomImage]:
    """The images whose slices are parallel, if they are the most."""
    directions = _alike(images, is_parallel)
    odd = [image for group in directions[1:] for image in group]
    if len(odd) >= len(directions[0]):
        raise DataError(
            f"expected parallel slices in one series, found another orientation in {odd[0].path}; "
            "give the short-axis series alone"
        )
    if odd:
        names = sorted({image.path.name for image in odd})
        warnings.append(
            f"{len(odd)} of {len(images)} images in other directions (a localiser?) are left out: "
            f"{', '.join(names[:3])}{', ...' * (len(names) > 3)}"
        )
    return directions[0]


def _alike(
    images: Iterable[DicomImage], is_same: Callable[[DicomImage, DicomImage], bool]
) -> list[list[DicomImage]]:
    """Images in groups of those that are like the first of the group, the largest group first."""
    groups: list[list[DicomImage]] = []
    for image in images:
        group = next((group for group in groups if is_same(image, group[0])), None)
        if group is None:
            groups.append(group := [])
        group.append(image)
    return sorted(groups, key=len, reverse=True)


def _is_same_grid(one: DicomImage, other: DicomImage) -> bool:
    """Whether images have one size, and spacing and directions that differ in the last digits only."""
    return (
        one.size == other.size
        and bool(np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3))
        and bool(np.abs(one.directions - other.directions).max() <= SAME_DIRECTION)
    )


def _check_one_contrast(slices: list[list[DicomImage]]) -> None:
    """Refuse a slice that is there in several contrasts; slices may differ from each other."""
    contrasts: dict[str, Callable[[DicomImage], Any]] = {
        "kinds (ImageType)": lambda image: "/".join(image.kind),
        "echo times": lambda image: image.echo_ms,
        "inversion times": lambda image: image.inversion_ms,
    }
    for group in slices:
        for what, value_of in contrasts.items():
            values = sorted({value_of(image) for image in group} - {None})
            differ = [
                value
                for before, value in itertools.pairwise(values)
                if isinstance(value, str) or value - before > SAME_ECHO * value
            ]
            if differ:
                found = ", ".join(str(value) for value in (values[0], *differ))
                raise DataError(
                    f"expected one contrast in a series, found the {what} {found} of one slice in "
                    f"{group[0].path.parent}; give the images of one contrast alone"
                )


def _of_one_grid(
    slices: list[list[DicomImage]], reference: DicomImage, warnings: list[str]
) -> list[list[DicomImage]]:
    """Slices that are on another grid in part without that part, with a warning of those that are wholly."""
    kept = []
    for number, group in enumerate(slices, start=1):
        same = [image for image in group if _is_same_grid(image, reference)]
        if same and len(same) < len(group):
            warnings.append(f"{len(group) - len(same)} images of another size in slice {number} are left out")
        if not same:
            warnings.append(
                f"slice {number} has {_shown(group[0])}, the others {_shown(reference)}: it is resampled"
            )
        kept.append(same or group)
    return kept


def _shown(image: DicomImage) -> str:
    (columns, rows), (column_gap, row_gap) = image.size, image.spacing_mm
    return f"{columns} x {rows} pixels of {column_gap:.3g} x {row_gap:.3g} mm"


def _last_scans(slices: list[list[DicomImage]], warnings: list[str]) -> list[list[DicomImage]]:
    """Of each slice that was scanned again, the last scan with all its frames."""
    usual = _usual_count(slices)
    kept = []
    for number, group in enumerate(slices, start=1):
        scans = _scans(group, usual)
        if len(scans) > 1:
            whole = [scan for scan in scans if len(scan) >= min(usual, max(map(len, scans)))]
            group = _in_order_of_scan(whole)[-1]
            warnings.append(f"slice {number} was scanned {len(scans)} times, the last scan counts")
        kept.append(group)
    return kept


def _usual_count(slices: list[list[DicomImage]]) -> int:
    """Images that most slices have; of two that are as frequent, the larger one."""
    counts = Counter(map(len, slices))
    return max(counts, key=lambda count: (counts[count], count))


def _scans(group: list[DicomImage], usual: int) -> list[list[DicomImage]]:
    """Images of one slice by the scan that they are from; one scan if nothing tells of more."""
    by_series: dict[str, list[DicomImage]] = defaultdict(list)
    for image in group:
        by_series[image.series].append(image)
    if len(by_series) > 1:
        return list(by_series.values())
    repeats = _repeats(group)
    if len(group) <= usual and repeats < 2:
        return [group]
    if usual == 1:
        return [[image] for image in group]
    by_number: dict[float | None, list[DicomImage]] = defaultdict(list)
    for image in group:
        by_number[image.times.get("AcquisitionNumber")].append(image)
    if len(by_number) > 1 and all(_repeats(scan) < 2 and len(scan) > 1 for scan in by_number.values()):
        return list(by_number.values())
    runs = _runs(group)
    if len(runs) > 1 and min(map(len, runs)) >= FEWEST_FRAMES * min(usual, len(group) / len(runs)):
        return runs
    return [group]


def _repeats(group: list[DicomImage]) -> int:
    """How often each time of a slice occurs at least; 1 if times do not tell."""
    for tag in FRAME_ORDER_TAGS[:2]:
        counts = Counter(image.times.get(tag) for image in group)
        if None not in counts and len(counts) > 1:
            return min(counts.values())
    return 1


def _runs(group: list[DicomImage]) -> list[list[DicomImage]]:
    """Images in the order of their numbers, cut where the trigger time starts anew."""
    if any("TriggerTime" not in image.times or "InstanceNumber" not in image.times for image in group):
        return [group]
    ordered = sorted(group, key=lambda image: image.times["InstanceNumber"])
    runs = [[ordered[0]]]
    for before, image in itertools.pairwise(ordered):
        if image.times["TriggerTime"] <= before.times["TriggerTime"]:
            runs.append([])
        runs[-1].append(image)
    return runs


def _in_order_of_scan(scans: list[list[DicomImage]]) -> list[list[DicomImage]]:
    """Scans of a slice from the first to the last, by the first value that tells them apart."""
    for tag in ("AcquisitionTime", "SeriesNumber", "ContentTime", "AcquisitionNumber", "InstanceNumber"):
        values = [[image.times.get(tag) for image in scan] for scan in scans]
        if tag == "SeriesNumber":
            values = [[image.series_number for image in scan] for scan in scans]
        firsts = [min((value for value in one if value is not None), default=None) for one in values]
        present = [first for first in firsts if first is not None]
        if len(set(present)) == len(scans):
            return [scan for _, scan in sorted(zip(present, scans, strict=True), key=lambda pair: pair[0])]
    return sorted(scans, key=lambda scan: [int(part) for part in re.findall(r"\d+", scan[0].series)])


def _even(slices: list[list[DicomImage]], warnings: list[str]) -> list[list[DicomImage]]:
    """Slices without those that have too few images to belong to the cine."""
    usual = _usual_count(slices)
    kept = []
    for number, group in enumerate(slices, start=1):
        if len(group) >= FEWEST_FRAMES * usual:
            kept.append(group)
        else:
            warnings.append(f"slice {number} has {len(group)} of {usual} frames and is left out")
    counts = [len(group) for group in kept]
    if max(counts) > usual:
        raise _uneven(kept, usual)
    return kept


def _uneven(slices: list[list[DicomImage]], usual: int) -> DataError:
    odd = ", ".join(
        f"slice {number}: {len(group)}" for number, group in enumerate(slices, start=1) if len(group) != usual
    )
    return DataError(
        f"expected {usual} frames in each of the {len(slices)} slices, found {odd} "
        f"in {slices[0][0].path.parent}; copy the series again or remove the odd slices"
    )


def _ordered_in_time(
    slices: list[list[DicomImage]], warnings: list[str]
) -> tuple[list[list[DicomImage]], float | None]:
    """Slices with their frames in time order, as many in each, and the seconds between frames if told."""
    usual = _usual_count(slices)
    if usual == 1:
        return slices, None
    for tag in FRAME_ORDER_TAGS:
        times = [[image.times.get(tag) for image in group] for group in slices]
        if any(None in group or len(set(group)) < len(group) for group in times):
            continue
        ordered = [sorted(group, key=lambda image: image.times[tag]) for group in slices]
        steps = [np.diff([image.times[tag] for image in group]) for group in ordered if len(group) == usual]
        frame_s = float(np.median(steps)) / 1000 if tag == "TriggerTime" else None
        return _with_frames_of_all(ordered, tag, warnings), frame_s
    raise DataError(
        f"expected trigger times, acquisition times or instance numbers that order the {usual} frames of "
        f"each slice, found none that differ in {slices[0][0].path.parent}"
    )


def _with_frames_of_all(
    slices: list[list[DicomImage]], tag: str, warnings: list[str]
) -> list[list[DicomImage]]:
    """Slices with only those frames that none lacks."""
    usual = _usual_count(slices)
    times = [np.array([image.times[tag] for image in group]) for group in slices]
    whole = [z for z, group in enumerate(slices) if len(group) == usual]
    gaps = {z: np.diff(group) for z, group in enumerate(times) if len(group) > 1}
    # A gap where a frame lacks is twice as long as the others.
    steps = {z: float(np.median(found[found < 1.5 * found.min()])) for z, found in gaps.items()}
    starts = [times[z][0] for z in whole]
    line = np.polyfit(whole, starts, 1) if len(whole) > 1 else [0.0, starts[0]]
    # Times may count from the beat, or go on from slice to slice; if neither, only gaps tell what lacks.
    is_known = float(np.abs(np.polyval(line, whole) - starts).max()) < 0.3 * steps[whole[0]]
    places: list[list[int]] = []
    lacking: dict[int, list[int]] = {}
    for z, group in enumerate(slices):
        if len(group) == usual or z not in steps:
            places.append(list(range(len(group))))
            if z not in steps and usual > 1:
                raise _uneven(slices, usual)
            continue
        start = float(np.polyval(line, z)) if is_known else float(times[z][0])
        found = [round(float(time - start) / steps[z]) for time in times[z]]
        if len(set(found)) < len(found) or not 0 <= min(found) <= max(found) < usual:
            raise _uneven(slices, usual)
        places.append(found)
        for frame in set(range(usual)) - set(found):
            lacking.setdefault(frame, []).append(z)
    if usual - len(lacking) < max(2, FEWEST_FRAMES * usual):
        raise _uneven(slices, usual)
    for frame, zs in sorted(lacking.items()):
        numbers = ", ".join(str(z + 1) for z in zs)
        warnings.append(f"frame {frame + 1} is missing in slice {numbers} and left out in all slices")
    return [
        [image for place, image in zip(found, group, strict=True) if place not in lacking]
        for found, group in zip(places, slices, strict=True)
    ]


def _slice_spacing(stack: list[DicomImage], normal: Floats) -> tuple[float, list[str]]:
    """Mean distance between slices along the normal, mm, and warnings."""
    if len(stack) == 1:
        spacing = stack[0].thickness_mm
        if not spacing or spacing <= 0:
            raise DataError(f"expected SliceThickness in the only slice, found none in {stack[0].path}")
        return spacing, []
    positions = np.array([image.position_mm for image in stack])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    # With two gaps the median lies between them, so the smallest gap decides what is usual.
    usual = float(gaps.min()) if len(gaps) == 2 else usual
    for index in np.flatnonzero(gaps > MISSING_SLICE_RATIO * usual):
        raise DataError(
            f"expected a slice every {usual:.1f} mm, found a gap of {gaps[index]:.1f} mm between slices "
            f"{index + 1} and {index + 2} in {stack[0].path.parent}; copy the missing slice"
        )
    warnings = []
    if np.abs(gaps - usual).max() > UNEVEN_SHARE * usual:
        warnings.append(
            f"slice spacing varies from {gaps.min():.1f} to {gaps.max():.1f} mm, its mean is used"
        )
    on_grid = np.array([image.position_mm for image in stack if _is_same_grid(image, stack[0])])
    offsets = on_grid - on_grid[0]
    drift = float(np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max())
    if drift > DRIFT_WARNING_MM:
        warnings.append(
            f"slices are shifted in plane by up to {drift:.1f} mm, they are stacked without the shift"
        )
    return float(gaps.mean()), warnings


def _origin(stack: _Stack, normal: Floats) -> Floats:
    """Centre of the first pixel of the lowest slice (LPS), on the grid of the reference."""
    lowest, reference = stack.slices[0][0], stack.reference
    if _is_same_grid(lowest, reference):
        return lowest.position_mm
    along_mm = (lowest.position_mm - reference.position_mm) @ normal
    return np.asarray(reference.position_mm + along_mm * normal)


def _pixels(stack: _Stack) -> npt.NDArray[np.float32]:
    """Intensities `(X, Y, Z)` or `(X, Y, Z, T)`, one file in memory at a time."""
    places: dict[Path, list[tuple[int, int, DicomImage]]] = defaultdict(list)
    for z, group in enumerate(stack.slices):
        for t, image in enumerate(group):
            places[image.path].append((z, t, image))
    shape = (*stack.reference.size, len(stack.slices), len(stack.slices[0]))
    array: npt.NDArray[np.float32] | None = None
    for path, found in places.items():
        dataset = read_dataset(path)
        frames = decode(dataset, path)
        if array is None:  # only after a file was decoded: sizes in a damaged header may be anything
            array = np.empty(shape, dtype=np.float32)
        for z, t, image in found:
            values = frames[image.index].astype(np.float32) * np.float32(image.slope) + np.float32(
                image.intercept
            )
            # Networks learned images whose largest value is white.
            values = -values if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else values
            if (padding := padding_of(frames[image.index], dataset)) is not None:
                values[padding] = values[~padding].min()
            if not _is_same_grid(image, stack.reference):
                values = _resampled(values, image, stack.reference)
            array[:, :, z, t] = values.T
    if array is None or array.min() == array.max():
        raise DataError(
            f"expected an image with contrast, found a constant one in {stack.reference.path.parent}"
        )
    return array[..., 0] if shape[3] == 1 else array


def _resampled(
    values: npt.NDArray[np.float32], image: DicomImage, reference: DicomImage
) -> npt.NDArray[np.float32]:
    """`(rows, columns)` of a slice on the grid of a parallel one, by linear interpolation."""
    # Down a column, along a row: the order of the array's axes.
    steps_mm = reference.directions[::-1] * np.array(reference.spacing_mm[::-1])[:, None]
    per_mm = image.directions[::-1] / np.array(image.spacing_mm[::-1])[:, None]
    # A border of one pixel, since rounded positions put the outermost just outside.
    found: npt.NDArray[np.float32] = ndimage.affine_transform(
        np.pad(values, 1, mode="edge"),
        per_mm @ steps_mm.T,
        per_mm @ (reference.position_mm - image.position_mm) + 1,
        output_shape=reference.size[::-1],
        order=1,
        cval=float(values.min()),
    )
    return found


def _doubts(image: DicomImage) -> list[str]:
    """Warnings of tags that tell of another examination than cardiac MRI."""
    doubts = []
    if image.modality not in (HEART_MODALITY, ""):
        doubts.append(f"its modality is {image.modality}: the networks know cardiac MRI only")
    if not any(part in image.body_part.upper() for part in HEART_PARTS) and image.body_part:
        doubts.append(f"its body part is {image.body_part}: not a heart?")
    return doubts


@dataclass(frozen=True, slots=True)
class DicomSource:
    """One frame of a short-axis series, without a label.

    Attributes:
        files: The frame's file of each slice.
    """

    files: tuple[Path, ...]

    def read_image(self) -> Volume:
        """Image `(X, Y, Z)`, float32, slices from the lowest along their normal.

        Raises:
            DataError: As for `read_series`.
        """
        return read_series(self.files)

    def read_label(self) -> Volume | None:
        """None: there is no label."""
        return None


def dicom_spacing_mm(slices: list[list[Path]]) -> tuple[float, float, float]:
    """`(dx, dy, dz)` in mm of an ordered series from headers; dz is 0 if one slice does not tell it.

    Args:
        slices: Files by slice and frame, as from `order_series`.
    """
    first, last = (read_images(group[0])[0] for group in (slices[0], slices[-1]))
    if len(slices) == 1:
        return (*first.spacing_mm, first.thickness_mm or 0.0)
    return (
        *first.spacing_mm,
        float(np.linalg.norm(last.position_mm - first.position_mm)) / (len(slices) - 1),
    )
