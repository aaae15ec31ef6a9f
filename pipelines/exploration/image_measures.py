"""What an image of a heart tells without its label: grid, position, intensities and noise."""

import itertools
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

from pipelines.core.volume import Volume
from pipelines.exploration.survey_features import MAD_OF_NORMAL

LEAST_BLOCKS = 50
"""Fewest blocks of four pixels from which noise is estimated."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ImageMeasures:
    """One volume, its slices on the third axis.

    Attributes:
        columns_px: Pixels along the first axis.
        rows_px: Pixels along the second axis.
        slices: Number of slices.
        pixel_x_mm: Pixel spacing along the first axis, mm.
        pixel_y_mm: Pixel spacing along the second axis, mm.
        slice_distance_mm: Distance of neighbouring slices, mm; with gaps more than their thickness.
        field_x_mm: Field of view along the first axis, mm.
        field_y_mm: Field of view along the second axis, mm.
        coverage_mm: Slices times their distance, mm.
        orientation: Where the file's own axes point, e.g. `"LPS"`.
        is_oblique: The axes are not those of the scanner.
        has_position: The header holds more than the spacing: a turn, or a place in the scanner.
        intensity_min: Least value.
        intensity_median: Median value.
        intensity_p99: 99th percentile.
        intensity_max: Largest value.
        clipped_share: Share of the voxels that have the largest value.
        is_unwrapped: The file stores unsigned values as signed ones, and reading undid it.
        noise_sd: SD of the noise in tissue, in the image's unit; None where it cannot be told.
        snr_image: Mean of the tissue over `noise_sd`, or None.
    """

    columns_px: int
    rows_px: int
    slices: int
    pixel_x_mm: float
    pixel_y_mm: float
    slice_distance_mm: float
    field_x_mm: float
    field_y_mm: float
    coverage_mm: float
    orientation: str
    is_oblique: bool
    has_position: bool
    intensity_min: float
    intensity_median: float
    intensity_p99: float
    intensity_max: float
    clipped_share: float
    is_unwrapped: bool
    noise_sd: float | None
    snr_image: float | None


def measure_image(volume: Volume, orientation: str) -> ImageMeasures:
    """Measures of a volume; no label is needed.

    Args:
        volume: `(X, Y, Z)` with its slices on the third axis.
        orientation: Where the axes of the file point, as `file_orientation` tells.
    """
    array = volume.array
    columns, rows, slices = array.shape
    dx, dy, dz = volume.spacing_mm
    least, median, p99, most = (float(value) for value in np.percentile(array, (0, 50, 99, 100)))
    tissue = tissue_mask(array)
    noise = noise_sd(array, tissue)
    directions = volume.affine[:3, :3] / np.asarray(volume.spacing_mm)
    is_oblique = bool((np.abs(directions).max(axis=0) < 1 - 1e-4).any())
    # However axes were turned since, without a place in the header one corner of the stack is at zero.
    corners = np.array(list(itertools.product(*((0, length - 1) for length in array.shape))))
    from_zero_mm = np.linalg.norm(corners @ volume.affine[:3, :3].T + volume.affine[:3, 3], axis=1)
    return ImageMeasures(
        columns_px=columns,
        rows_px=rows,
        slices=slices,
        pixel_x_mm=dx,
        pixel_y_mm=dy,
        slice_distance_mm=dz,
        field_x_mm=columns * dx,
        field_y_mm=rows * dy,
        coverage_mm=slices * dz,
        orientation=orientation,
        is_oblique=is_oblique,
        has_position=is_oblique or bool(from_zero_mm.min() > 0),
        intensity_min=least,
        intensity_median=median,
        intensity_p99=p99,
        intensity_max=most,
        clipped_share=float(np.mean(array == array.max())),
        is_unwrapped=volume.is_unwrapped,
        noise_sd=noise,
        snr_image=float(array[tissue].mean()) / noise if noise else None,
    )


def file_orientation(volume: Volume) -> str:
    """Where the axes of a volume point, e.g. `"LPS"`: towards left, posterior and superior."""
    return "".join(nib.aff2axcodes(volume.affine))


def tissue_mask(array: npt.NDArray[Any]) -> BoolArray:
    """Voxels of tissue: those brighter than Otsu's threshold on the square root of the intensity.

    The square root keeps dark muscle on the side of the tissue.

    Args:
        array: Image of any shape.

    References:
        Otsu, IEEE Trans. Syst. Man Cybern. 9(1), 1979, doi:10.1109/TSMC.1979.4310076.
    """
    root = np.sqrt(array - array.min())
    mask: BoolArray = root > threshold_otsu(root.ravel())
    return mask


def noise_sd(array: npt.NDArray[Any], tissue: BoolArray) -> float | None:
    """SD of white noise in the tissue, in the image's unit; None if it cannot be told.

    The median of the absolute finest diagonal Haar detail over 0.6745, within blocks of four pixels
    of a slice that are all tissue. It assumes noise that is independent from pixel to pixel: where
    the scanner interpolated (zero filling), filtered or rounded, it is too small, and ratios to it
    serve to compare images of one dataset, not as the SNR of the scanner. Background is left out:
    its noise is Rician, and many scanners blank it.

    Args:
        array: `(X, Y, Z)` image, slices on the third axis.
        tissue: `(X, Y, Z)` where to look.

    Returns:
        The SD, or None with fewer than `LEAST_BLOCKS` blocks, or no variation in most of them.

    References:
        Donoho and Johnstone, Biometrika 81(3), 1994, doi:10.1093/biomet/81.3.425.
        Noise of magnitude images: Gudbjartsson and Patz, 1995, doi:10.1002/mrm.1910340618.
    """
    inside = (tissue & (array < array.max())).astype(bool)
    a, b, c, d = _corners(array.astype(np.float64))
    detail = np.abs(a - b - c + d)[np.logical_and.reduce(_corners(inside))] / 2
    if detail.size < LEAST_BLOCKS:
        return None
    return float(np.median(detail)) / MAD_OF_NORMAL or None


def _corners(array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Each of the four pixels of the blocks of a slice."""
    even = array[: array.shape[0] // 2 * 2, : array.shape[1] // 2 * 2]
    return [even[i::2, j::2] for i in (0, 1) for j in (0, 1)]
