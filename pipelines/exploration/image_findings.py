"""Findings about the images of a survey: grids, headers, intensities, noise."""

from collections.abc import Iterator
from typing import Final

import pandas as pd

from pipelines.core.plausibility import CENTRAL_WINDOW_MM
from pipelines.exploration.survey_decisions import Finding, Urgency, counted, listed

UNEVEN_SPACING: Final = 1.1
"""Ratio of the largest to the least pixel spacing from which a common one is worth a decision."""

CLIPPED_SHARE: Final = 0.001
"""Share of the voxels with the largest value from which an image counts as clipped.

A 12-bit image of 256 x 256 x 10 voxels that was not clipped has a handful of them.
"""

UNEVEN_INTENSITY: Final = 2.0
"""Ratio of 99th percentiles from which intensities are not on one scale."""

UNEVEN_SNR: Final = 3.0
"""Ratio of the 95th to the 5th percentile of SNR from which noise is worth a decision."""


def image_findings(frame: pd.DataFrame) -> Iterator[Finding]:
    """Findings about images, in the order of the page.

    Args:
        frame: As `HeartSurvey.frame` gives it.
    """
    yield from _wrapped(frame)
    yield from _orientation(frame)
    yield from _grid(frame)
    yield from _field(frame)
    yield from _intensities(frame)
    yield from _noise(frame)


def _wrapped(frame: pd.DataFrame) -> Iterator[Finding]:
    wrapped = frame[frame.is_unwrapped]
    if len(wrapped):
        yield Finding(
            Urgency.STOPS,
            f"Unsigned intensities are stored as signed ones in {counted(len(wrapped), 'image')}: "
            f"{listed(_names(wrapped))}.",
            "Store them again, or leave them out of training as 'thorax prepare' does.",
        )


def _orientation(frame: pd.DataFrame) -> Iterator[Finding]:
    counts = frame.orientation.value_counts()
    if len(counts) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield Finding(
            Urgency.METHOD,
            f"Mixed orientation: the axes of the files point in {len(counts)} ways ({shown}).",
            "Reorient while loading, or train with flips and turns so that the network does not care.",
        )
    placeless = int((~frame.has_position).sum())
    if placeless:
        yield Finding(
            Urgency.METHOD,
            f"{placeless} of {len(frame)} files hold no place or turn in the scanner, only the spacing.",
            "Do not rely on their orientation: augment with turns and flips, and do not register by headers.",
        )


def _grid(frame: pd.DataFrame) -> Iterator[Finding]:
    pixel = frame.pixel_x_mm
    if pixel.max() / pixel.min() > UNEVEN_SPACING:
        yield Finding(
            Urgency.METHOD,
            f"Pixel spacing from {pixel.min():.2f} to {pixel.max():.2f} mm, median {pixel.median():.2f} mm.",
            "A common spacing in plane, or augmentation by scale; measure volumes on the native grid.",
        )
    oblong = frame[(frame.pixel_x_mm / frame.pixel_y_mm - 1).abs() > 0.01]
    if len(oblong):
        yield Finding(
            Urgency.METHOD,
            f"{counted(len(oblong), 'volume')} with pixels that are not square: {listed(_names(oblong))}.",
            "Resample to square pixels.",
        )
    distance, slices = frame.slice_distance_mm, frame.slices
    ratio = (distance / pixel).median()
    if distance.max() / distance.min() > UNEVEN_SPACING or ratio > 2:
        yield Finding(
            Urgency.METHOD,
            f"Slices {distance.min():.1f} to {distance.max():.1f} mm apart, median {distance.median():.1f}, "
            f"{slices.min():.0f} to {slices.max():.0f} of them; voxels {ratio:.1f} times as deep as wide.",
            "Work slice by slice or with patches that are flat along z; interpolate no labels across slices.",
        )
    counts = frame.groupby("patient").slices.nunique()
    if (counts > 1).any():
        yield Finding(
            Urgency.NOTE,
            f"ED and ES have different numbers of slices: {listed(list(counts[counts > 1].index))}.",
            "Check the acquisition: volumes of the two phases may not cover the same heart.",
        )


def _field(frame: pd.DataFrame) -> Iterator[Finding]:
    x, y = frame.field_x_mm, frame.field_y_mm
    smallest = pd.concat([x, y], axis=1).min(axis=1)
    matrices = frame.groupby(["columns_px", "rows_px"]).ngroups
    if matrices > 1:
        small = int((smallest < CENTRAL_WINDOW_MM).sum())
        yield Finding(
            Urgency.METHOD,
            f"{matrices} different matrices; fields of view from {smallest.min():.0f} to "
            f"{max(x.max(), y.max()):.0f} mm, {small} of {len(frame)} smaller somewhere than the central "
            f"{CENTRAL_WINDOW_MM:.0f} mm that the networks see.",
            "Crop or pad to one size around the centre; see the labels for hearts beyond that window.",
        )


def _intensities(frame: pd.DataFrame) -> Iterator[Finding]:
    clipped = frame[frame.clipped_share > CLIPPED_SHARE]
    if len(clipped):
        yield Finding(
            Urgency.METHOD,
            f"{len(clipped)} of {len(frame)} images are clipped: {clipped.clipped_share.median():.2%} of the "
            f"voxels (median) have the largest value, at most {clipped.clipped_share.max():.2%}.",
            "What was brighter is lost: normalise by mean and SD or by percentiles below the clip, clip "
            "images of other sources alike before they are mixed in.",
        )
    bright = frame.intensity_p99
    if bright.max() / bright.min() > UNEVEN_INTENSITY:
        yield Finding(
            Urgency.METHOD,
            f"Intensities are on no common scale: 99th percentiles from {bright.min():.0f} to "
            f"{bright.max():.0f}.",
            "Normalise each image by itself.",
        )
    phases = frame.groupby("patient").intensity_p99.agg(["min", "max"])
    apart = phases[phases["max"] / phases["min"] > UNEVEN_INTENSITY]
    if len(apart):
        yield Finding(
            Urgency.METHOD,
            f"ED and ES of {counted(len(apart), 'patient')} differ more than {UNEVEN_INTENSITY:.0f}-fold in "
            f"brightness: {listed(list(apart.index))}.",
            "Normalise each phase by itself, not the patient; do not use differences of phases as input.",
        )


def _noise(frame: pd.DataFrame) -> Iterator[Finding]:
    snr = frame.snr_image.dropna()
    if len(snr):
        low, high = snr.quantile(0.05), snr.quantile(0.95)
        if high / low > UNEVEN_SNR:
            yield Finding(
                Urgency.METHOD,
                f"SNR of tissue from {low:.0f} to {high:.0f} (5th to 95th percentile).",
                "Augment with noise and blur over that range, and report results by SNR.",
            )
    unknown = len(frame) - len(snr)
    if unknown:
        yield Finding(
            Urgency.NOTE,
            f"Noise could not be told in {counted(unknown, 'image')}: "
            f"{listed(_names(frame[frame.snr_image.isna()]))}.",
            "Look at them: they may be filtered, rounded or nearly empty.",
        )


def _names(frame: pd.DataFrame) -> list[str]:
    return [f"{row.patient} {row.phase}" for row in frame.itertuples()]
