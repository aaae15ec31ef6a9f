"""Pictures of patients for the page of a heart survey: samples, outliers, odd labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from pipelines.core.labels import FOREGROUND, LABEL_COLORS, AcdcLabel
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_image, load_label
from pipelines.exploration.heart_survey import HeartSurvey, MeasuredVolume
from pipelines.exploration.survey_features import FEATURE_BY_NAME
from pipelines.exploration.survey_outliers import Outlier
from pipelines.figures.overlay import WINDOW_PERCENTILES, overlay_figure
from pipelines.reporting.html import Picture

SAMPLES_OF_GROUP: Final = 5
MOST_OUTLIERS: Final = 6
MOST_ODD_LABELS: Final = 6


def samples_figure(survey: HeartSurvey, generator: np.random.Generator) -> Figure:
    """The middle slice of patients drawn from each group at random, with the contours where they were read.

    Args:
        survey: What was measured.
        generator: Draws the patients.
    """
    first: dict[str, MeasuredVolume] = {}
    for volume in survey.volumes:
        first.setdefault(volume.record.patient, volume)
    groups = sorted({volume.record.group for volume in first.values()})
    figure = Figure(figsize=(2.0 * SAMPLES_OF_GROUP, 2.2 * len(groups)), layout="constrained")
    grid = figure.subplots(len(groups), SAMPLES_OF_GROUP, squeeze=False)
    for line, group in zip(grid, groups, strict=True):
        members = [volume for volume in first.values() if volume.record.group == group]
        chosen = generator.choice(len(members), min(len(members), SAMPLES_OF_GROUP), replace=False)
        for axes, index in zip(line, chosen, strict=False):
            image, mask = _loaded(members[index])
            middle = image.array.shape[2] // 2
            low, high = np.percentile(image.array, WINDOW_PERCENTILES)
            aspect = image.spacing_mm[1] / image.spacing_mm[0]
            axes.imshow(image.array[:, :, middle].T, cmap="gray", vmin=low, vmax=high, aspect=aspect)
            for label in FOREGROUND:
                region = mask[:, :, middle] == label
                if region.any():
                    axes.contour(region.T.astype(float), [0.5], colors=[LABEL_COLORS[label]], linewidths=0.8)
            axes.set_title(f"{group}: {members[index].name}", fontsize=7)
        for axes in line:
            axes.set_axis_off()
    return figure


def outlier_pictures(survey: HeartSurvey, outliers: Sequence[Outlier], folder: Path) -> list[Picture]:
    """Overlays of the volumes that are farthest off, one a patient, with what is odd about them."""
    pictures: list[Picture] = []
    patients: set[str] = set()
    for outlier in outliers:
        volume = survey.volumes[outlier.index]
        if volume.record.patient in patients or len(pictures) == MOST_OUTLIERS:
            continue
        patients.add(volume.record.patient)
        why = [_reason(other) for other in outliers if other.index == outlier.index]
        pictures.append(_overlay(volume, "; ".join(why), folder / f"outlier{len(pictures)}.png"))
    return pictures


def odd_label_pictures(survey: HeartSurvey, frame: pd.DataFrame, folder: Path) -> list[Picture]:
    """Overlays of the labels with the most findings."""
    counts = frame.label_findings.map(lambda text: len(text.split("; ")) if text else 0)
    chosen = [index for index in counts.sort_values(ascending=False, kind="stable").index if counts[index]]
    return [
        _overlay(survey.volumes[index], str(frame.label_findings[index]), folder / f"label{index}.png")
        for index in chosen[:MOST_ODD_LABELS]
    ]


def _reason(outlier: Outlier) -> str:
    feature = FEATURE_BY_NAME[outlier.feature]
    return f"{feature.words}: {feature.shown(outlier.value)} (median {feature.shown(outlier.median)})"


def _overlay(volume: MeasuredVolume, why: str, path: Path) -> Picture:
    image, mask = _loaded(volume)
    overlay_figure(
        image.array, mask, path, title=f"{volume.name}, {volume.record.group}", spacing_mm=image.spacing_mm
    )
    return Picture(
        path, alt=f"slices of {volume.name}", caption=f"{volume.name}, {volume.record.group}: {why}"
    )


def _loaded(volume: MeasuredVolume) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """Image and mask with slices last; an empty mask where the label was not read."""
    image = slices_last(load_image(volume.record))[0]
    label = load_label(volume.record) if volume.label else None
    if label is None:
        return image, np.zeros(image.array.shape, np.uint8)
    mask = slices_last(label)[0].array
    return image, np.where(np.isin(mask, list(AcdcLabel)), mask, 0).astype(np.uint8)
