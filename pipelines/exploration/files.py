"""Explorations of datasets written to a folder: what was measured as JSON and CSV, and figures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import atomic_path, output_folder, write_json, write_text
from pipelines.core.labels import FOREGROUND, LABEL_COLORS, AcdcLabel
from pipelines.core.progress import Progress
from pipelines.core.records import Dataset
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_image, load_label
from pipelines.datasets.xray_image import Finding, read_xray
from pipelines.exploration.figures import survey_figures
from pipelines.exploration.findings import Finding as Decision
from pipelines.exploration.findings import (
    Outlier,
    Shift,
    find_outliers,
    groups_by_section,
    kinds_of_label_findings,
    section_shifts,
    survey_findings,
)
from pipelines.exploration.heart import (
    FEATURE_BY_NAME,
    NEARLY_SAME_HEARTS,
    HeartSurvey,
    MeasuredVolume,
    survey_hearts,
    told,
)
from pipelines.exploration.xray import MeasuredXray, XraySurvey, survey_xrays
from pipelines.figures.overlay import WINDOW_PERCENTILES, overlay_figure
from pipelines.figures.style import panels, save_png

CONTENT_NAME: Final = "eda.json"
TABLE_NAME: Final = "survey.csv"
PLOTS: Final = "plots"
PICTURES: Final = "pictures"
"""Folder with pictures of patients; those in `PLOTS` show measured values alone."""

OVERLAYS: Final = "overlays"
"""Folder with the contours of outliers and of odd labels, which show patients too."""

SAMPLES: Final = "Samples"
SAMPLES_OF_GROUP: Final = 5
MAX_OVERLAYS: Final = 6
"""Volumes that are drawn of those that are farthest off, and of those with odd labels."""

SHARES: Final = {"least": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "most": 1.0}
"""Quantiles of each feature by their name in `eda.json`."""

XRAY_FEATURES: Final = ("width_px", "height_px", "aspect", "brightness", "contrast")
GRID_COLUMNS, GRID_ROWS = 6, 2


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was found in a dataset of hearts.

    Attributes:
        survey: What was measured.
        frame: A row per volume.
        findings: What needs a decision, the most urgent first.
        outliers: Volumes far from the others.
        shifts: Features by section, empty without a split.
    """

    survey: HeartSurvey
    frame: pd.DataFrame
    findings: list[Decision]
    outliers: list[Outlier]
    shifts: list[Shift]


def explore_hearts(
    dataset: Dataset,
    output: Path,
    *,
    name: str,
    sections: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Exploration:
    """Measure every volume of a dataset; write tables, pictures and TensorBoard entries.

    Labels of the section `"test"` are not opened.

    Args:
        dataset: As a reader yields it.
        output: Folder for `survey.csv` (a row per volume), `eda.json`, `plots/`, `pictures/` and
            `tensorboard/`; made if it does not exist.
        name: Name of the dataset.
        sections: Section of the split by patient.
        seed: Seed of the patients drawn as samples.
        progress: Called with patients done, patients in all and the patient's name.

    Raises:
        DataError: If no image can be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    survey = survey_hearts(dataset, sections=sections, progress=progress)
    frame = survey.frame()
    outliers, shifts = find_outliers(frame), section_shifts(frame)
    found = Exploration(survey, frame, survey_findings(survey, frame, outliers, shifts), outliers, shifts)
    plots = survey_figures(frame)
    samples = {SAMPLES: _heart_samples(survey, np.random.default_rng(seed))}
    pictures = _write_pictures(output, plots, samples)
    with atomic_path(output / OVERLAYS) as folder:
        folder.mkdir()
        overlays = [*_outlier_overlays(survey, outliers, folder), *_odd_labels(survey, frame, folder)]
    write_text(output / TABLE_NAME, frame.to_csv(index=False))
    write_json(output / CONTENT_NAME, _heart_content(found, name) | pictures | {"overlays": overlays})
    with SummaryWriter(str(output / "tensorboard")) as writer:
        _write_images(writer, output, pictures)
        for feature in told(frame):
            writer.add_histogram(feature.name, frame[feature.name].dropna().to_numpy())
        lines = [f"- **{finding.urgency}**: {finding.found} {finding.decide}" for finding in found.findings]
        writer.add_text("findings that need a decision", "\n".join(lines) or "none")
    return found


def explore_xrays(root: Path, output: Path, *, seed: int = 0, progress: Progress | None = None) -> XraySurvey:
    """Measure every radiograph below a folder; write a table, pictures and TensorBoard entries.

    Args:
        root: Existing folder with `NORMAL` and `PNEUMONIA` at any depth.
        output: Folder for `eda.json`, `plots/`, `pictures/` and `tensorboard/`; made if it does not exist.
        seed: Seed of the images drawn for the sample grids.
        progress: Called with images done, images in all and the image's name.

    Raises:
        DataError: If a finding has no image, or no image can be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    survey = survey_xrays(root, progress=progress)
    generator = np.random.default_rng(seed)
    samples = {
        f"samples: {group}": _xray_samples(members, generator) for group, members in _groups(survey.images)
    }
    pictures = _write_pictures(output, _xray_plots(survey), samples)
    write_json(output / CONTENT_NAME, _xray_content(survey) | pictures)
    with SummaryWriter(str(output / "tensorboard")) as writer:
        _write_images(writer, output, pictures)
        for name in XRAY_FEATURES:
            writer.add_histogram(name, np.array([getattr(image, name) for image in survey.images]))
    return survey


def _write_pictures(
    output: Path, plots: Mapping[str, Figure], samples: Mapping[str, Figure]
) -> dict[str, list[dict[str, str]]]:
    """Write figures as PNG; their files and titles as `eda.json` has them."""
    listed: dict[str, list[dict[str, str]]] = {}
    for kind, figures in ((PLOTS, plots), (PICTURES, samples)):
        with atomic_path(output / kind) as folder:
            folder.mkdir()
            listed[kind] = []
            for number, (title, figure) in enumerate(figures.items(), start=1):
                save_png(figure, folder / f"{number}.png")
                listed[kind].append({"picture": f"{kind}/{number}.png", "title": title})
    return listed


def _write_images(writer: SummaryWriter, output: Path, pictures: Mapping[str, Any]) -> None:
    for one in [*pictures[PLOTS], *pictures[PICTURES]]:
        pixels = np.asarray(Image.open(output / one["picture"]).convert("RGB"))
        writer.add_image(one["title"], pixels, dataformats="HWC")


def _heart_content(found: Exploration, name: str) -> dict[str, Any]:
    frame, survey = found.frame, found.survey
    return {
        "dataset": name,
        "patients": int(frame.patient.nunique()),
        "volumes": len(frame),
        "labels": frame.label.value_counts().to_dict(),
        "groups": frame.drop_duplicates("patient").group.value_counts().sort_index().to_dict(),
        "sections": groups_by_section(frame) if frame.section.any() else {},
        "findings": [asdict(finding) for finding in found.findings],
        "label_findings": dict(kinds_of_label_findings(frame).most_common()),
        "features": {
            feature.name: {
                "volumes": int(frame[feature.name].notna().sum()),
                **{word: float(frame[feature.name].quantile(share)) for word, share in SHARES.items()},
            }
            for feature in told(frame)
        },
        "outliers": [
            {"volume": survey.volumes[outlier.index].name, **asdict(outlier)} for outlier in found.outliers
        ],
        "shifts": [asdict(shift) for shift in found.shifts],
        "implausible_phases": [list(pair) for pair in survey.odd_patients],
        "copies": [[survey.volumes[index].name for index in pair] for pair in survey.copies],
        "near_duplicates": [[survey.volumes[index].name for index in pair] for pair in survey.near],
        "most_alike": survey.most_alike,
        "nearly_same_from": NEARLY_SAME_HEARTS,
        "put_aside": [
            {"patient": problem.patient, "file": problem.path.name, "reason": problem.reason}
            for problem in survey.problems
        ],
    }


def _heart_samples(survey: HeartSurvey, generator: np.random.Generator) -> Figure:
    """The middle slice of patients drawn from each group, with the contours where they were read."""
    first: dict[str, MeasuredVolume] = {}
    for volume in survey.volumes:
        first.setdefault(volume.record.patient, volume)
    groups = sorted({volume.record.group for volume in first.values()})
    figure, grid = panels(SAMPLES_OF_GROUP, len(groups), width=2.0, height=2.2)
    for axes in grid:
        axes.set_axis_off()
    for line, group in enumerate(groups):
        members = [volume for volume in first.values() if volume.record.group == group]
        chosen = generator.choice(len(members), min(len(members), SAMPLES_OF_GROUP), replace=False)
        for axes, index in zip(grid[line * SAMPLES_OF_GROUP :], chosen, strict=False):
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
    return figure


def _outlier_overlays(
    survey: HeartSurvey, outliers: Sequence[Outlier], folder: Path
) -> Iterator[dict[str, str]]:
    """Overlays of the volumes that are farthest off, one a patient, with what is odd about them."""
    patients: set[str] = set()
    for outlier in outliers:
        volume = survey.volumes[outlier.index]
        if volume.record.patient in patients or len(patients) == MAX_OVERLAYS:
            continue
        patients.add(volume.record.patient)
        features = [(FEATURE_BY_NAME[one.feature], one) for one in outliers if one.index == outlier.index]
        why = [
            f"{feature.words}: {feature.shown(one.value)} (median {feature.shown(one.median)})"
            for feature, one in features
        ]
        yield _overlay(volume, "outliers", "; ".join(why), folder / f"outlier{len(patients)}.png")


def _odd_labels(survey: HeartSurvey, frame: pd.DataFrame, folder: Path) -> Iterator[dict[str, str]]:
    """Overlays of the labels with the most findings."""
    counts = frame.label_findings.map(lambda text: len(text.split("; ")) if text else 0)
    chosen = [index for index in counts.sort_values(ascending=False, kind="stable").index if counts[index]]
    for index in chosen[:MAX_OVERLAYS]:
        why = str(frame.label_findings[index])
        yield _overlay(survey.volumes[index], "labels", why, folder / f"label{index}.png")


def _overlay(volume: MeasuredVolume, of: str, why: str, path: Path) -> dict[str, str]:
    image, mask = _loaded(volume)
    title = f"{volume.name}, {volume.record.group}"
    overlay_figure(image.array, mask, path, title=title, spacing_mm=image.spacing_mm)
    return {
        "picture": f"{OVERLAYS}/{path.name}",
        "of": of,
        "title": f"slices of {volume.name}",
        "caption": f"{title}: {why}",
    }


def _loaded(volume: MeasuredVolume) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """Image and mask with slices last; an empty mask where the label was not read."""
    image = slices_last(load_image(volume.record))[0]
    label = load_label(volume.record) if volume.label else None
    if label is None:
        return image, np.zeros(image.array.shape, np.uint8)
    mask = slices_last(label)[0].array
    return image, np.where(np.isin(mask, list(AcdcLabel)), mask, 0).astype(np.uint8)


def _groups(images: Sequence[MeasuredXray]) -> list[tuple[str, list[MeasuredXray]]]:
    """Images by finding and agent, in the order of their names."""
    groups: dict[str, list[MeasuredXray]] = {}
    for image in images:
        groups.setdefault(f"{image.record.finding.value.lower()} {image.record.agent}".strip(), []).append(
            image
        )
    return sorted(groups.items())


def _xray_content(survey: XraySurvey) -> dict[str, Any]:
    images, patients = survey.images, survey.images_per_patient()

    def named(pairs: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        records = [(images[first].record, images[second].record) for first, second in pairs]
        return [
            {
                "first": one.image.name,
                "second": other.image.name,
                "same_finding": one.finding is other.finding,
            }
            for one, other in records
        ]

    return {
        "images": len(images),
        "patients": len(patients),
        "most_images_of_a_patient": max(patients.values()),
        "patients_with_several": sum(count > 1 for count in patients.values()),
        "groups": {
            group: {"images": len(members), "patients": len({image.record.patient for image in members})}
            for group, members in _groups(images)
        },
        "modes": dict(Counter(image.mode for image in images).most_common()),
        "features": {
            name: {
                word: float(np.quantile([getattr(image, name) for image in images], share))
                for word, share in SHARES.items()
            }
            for name in XRAY_FEATURES
        },
        "copies": named(survey.copies),
        "near_duplicates": named(survey.near),
        "put_aside": [{"file": problem.path.name, "reason": problem.reason} for problem in survey.problems],
    }


def _xray_plots(survey: XraySurvey) -> dict[str, Figure]:
    by_finding = {
        finding.value.lower(): [image for image in survey.images if image.record.finding is finding]
        for finding in Finding
    }
    sizes, (places, aspects) = panels(2, width=4.4)
    grey, histograms = panels(2, width=4.4)
    for name, members in by_finding.items():
        widths, heights = ([getattr(image, side) for image in members] for side in ("width_px", "height_px"))
        places.scatter(widths, heights, s=6, alpha=0.4, label=name)
        aspects.hist([image.aspect for image in members], bins=30, alpha=0.6)
        for axes, measure in zip(histograms, ("brightness", "contrast"), strict=True):
            values = [getattr(image, measure) for image in members]
            axes.hist(values, bins=30, alpha=0.6, density=True, label=name)
    places.set(xlabel="width, pixels", ylabel="height, pixels")
    aspects.set(xlabel="width over height", ylabel="images")
    histograms[0].set(xlabel="mean grey", ylabel="density")
    histograms[1].set(xlabel="SD of grey", ylabel="density")
    for axes in (places, histograms[0]):
        axes.legend(fontsize=8)
    patients, (bars,) = panels(width=4.4)
    counts = Counter(survey.images_per_patient().values())
    bars.bar(list(counts), list(counts.values()))
    bars.set(yscale="log", xlabel="images of a patient", ylabel="patients")
    bars.xaxis.get_major_locator().set_params(integer=True)
    return {
        "sizes and aspect ratios": sizes,
        "brightness and contrast": grey,
        "images per patient": patients,
    }


def _xray_samples(images: Sequence[MeasuredXray], generator: np.random.Generator) -> Figure:
    count = min(len(images), GRID_COLUMNS * GRID_ROWS)
    chosen = [images[index] for index in generator.choice(len(images), count, replace=False)]
    figure, grid = panels(GRID_COLUMNS, GRID_ROWS, width=1.6, height=1.8)
    for axes, image in zip(grid, chosen, strict=False):
        axes.imshow(read_xray(image.record.image).pixels, cmap="gray", vmin=0, vmax=1)
        axes.set_title(image.record.patient, fontsize=7)
    for axes in grid:
        axes.set_axis_off()
    return figure
