"""Files of an exploration: tables, figures, TensorBoard."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import atomic_path, output_folder, write_json, write_text
from pipelines.core.records import FOREGROUND, LABEL_COLORS, LABEL_NAMES, AcdcLabel, Dataset
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_image, load_label
from pipelines.datasets.xray_image import read_xray
from pipelines.exploration.findings import (
    SECTIONS,
    Outlier,
    Shift,
    find_outliers,
    groups_by_section,
    kinds_of_label_findings,
    section_shifts,
    survey_findings,
)
from pipelines.exploration.findings import Finding as Decision
from pipelines.exploration.heart import (
    FEATURE_BY_NAME,
    NEARLY_SAME_HEARTS,
    HeartSurvey,
    MeasuredVolume,
    compared,
    reported_features,
    survey_hearts,
)
from pipelines.exploration.xray import MeasuredXray, XraySurvey, survey_xrays
from pipelines.figures.overlay import WINDOW_PERCENTILES, overlay_figure, panels, save_png

WORDS: Final = {name: feature.words for name, feature in FEATURE_BY_NAME.items()}
COLUMNS: Final = 3
PANEL_INCHES: Final = (3.6, 2.7)
FEW_DECADES: Final = 100
"""Range of a logarithmic axis up to which 2 and 5 are marked too."""

PHASE_COLORS: Final = {"ED": "#1f77b4", "ES": "#ff7f0e"}


def survey_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """Figures by title; those for which there is nothing to show are left out.

    Args:
        frame: As `HeartSurvey.frame` gives it.
    """
    figures = {"Grid and field of view": _panels(frame, _ACQUISITION, _histogram)}
    figures["Acquisition by group"] = _panels(frame, _BY_GROUP, _by_group)
    figures["Intensity and noise"] = _intensity(frame)
    if frame.lv_ml.notna().any() or frame.rv_ml.notna().any():
        figures["Volumes by group and phase"] = _panels(frame, _VOLUMES, _by_group)
        figures["Class balance"] = _classes(frame)
    if frame.section.nunique() > 1:
        features = [feature.name for feature in compared(frame, labels=False)]
        figures["Distributions by split"] = _panels(frame, features, _cumulative)
    return figures


_ACQUISITION: Final = (
    "pixel_x_mm", "slice_distance_mm", "slices", "field_x_mm", "field_y_mm", "coverage_mm",
)  # fmt: skip
_BY_GROUP: Final = ("pixel_x_mm", "slice_distance_mm", "slices", "field_x_mm", "snr_image", "cnr")
_VOLUMES: Final = tuple(f"{LABEL_NAMES[label]}_ml" for label in FOREGROUND)


def _panels(frame: pd.DataFrame, names: Any, draw: Callable[[Axes, pd.DataFrame, str], None]) -> Figure:
    shown = [name for name in names if frame[name].notna().any()]
    size = {"width": PANEL_INCHES[0], "height": PANEL_INCHES[1]}
    figure, grid = panels(COLUMNS, -(-len(shown) // COLUMNS), **size)
    for axes, name in zip(grid, shown, strict=False):
        draw(axes, frame, name)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    if labels:
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9
        )
    return figure


def _histogram(axes: Axes, frame: pd.DataFrame, name: str) -> None:
    values = frame.groupby("patient")[name].first().dropna()
    if name == "slices":
        low, high = int(values.min()), int(values.max())
        axes.hist(values, bins=np.arange(low, high + 2) - 0.5, rwidth=0.8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    else:
        axes.hist(values, bins=20)
    axes.set(xlabel=WORDS[name], ylabel="patients")


def _by_group(axes: Axes, frame: pd.DataFrame, name: str) -> None:
    groups = sorted(frame.group.unique())
    for offset, (phase, color) in zip((-0.18, 0.18), PHASE_COLORS.items(), strict=True):
        members = frame[frame.phase == phase]
        for place, group in enumerate(groups):
            values = members[members.group == group][name].dropna()
            if len(values) == 0:
                continue
            jitter = 0.12 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5)
            axes.plot(
                place + offset + jitter, values, ".", color=color, alpha=0.55, markersize=5,
                label=phase if place == 0 else None,
            )  # fmt: skip
            axes.plot(
                [place + offset - 0.13, place + offset + 0.13], [values.median()] * 2, "k-", linewidth=1.5
            )
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.set_ylabel(WORDS[name], fontsize=9)
    if name in ("snr_image", "cnr"):
        _log(axes.yaxis, frame[name])


def _intensity(frame: pd.DataFrame) -> Figure:
    figure, (scale, snr, blood) = panels(COLUMNS)
    bright = frame.pivot_table(index="patient", columns="phase", values="intensity_p99")
    if set(PHASE_COLORS) <= set(bright):
        scale.plot(bright.ED, bright.ES, ".")
        ends = [bright.min().min(), bright.max().max()]
        scale.plot(ends, ends, color="0.6", linewidth=1)
        scale.set(xscale="log", yscale="log", xlabel="ED", ylabel="ES")
        scale.set_title("99th percentile of intensity", fontsize=9)
    else:
        scale.hist(frame.intensity_p99, bins=20)
        scale.set(xlabel=WORDS["intensity_p99"], ylabel="volumes")
    for axes, name in ((snr, "snr_image"), (blood, "cnr")):
        order = frame.groupby("patient")[name].mean().dropna().sort_values().index
        for phase, color in PHASE_COLORS.items():
            values = frame[frame.phase == phase].set_index("patient")[name].reindex(order)
            axes.plot(range(len(order)), values, ".", color=color, markersize=4, label=phase)
        axes.set(xlabel="patients, by their mean", ylabel=WORDS[name])
        if len(order):
            _log(axes.yaxis, frame[name])
            axes.legend(frameon=False, fontsize=8)
        else:
            axes.set_axis_off()
    return figure


def _classes(frame: pd.DataFrame) -> Figure:
    figure, (axes,) = panels(width=PANEL_INCHES[0] * COLUMNS, height=3.0)
    read = frame[frame.label == "read"]
    cells = sorted({(row.group, row.phase) for row in read.itertuples()})
    for offset, label in zip((-0.25, 0.0, 0.25), FOREGROUND, strict=True):
        shares = []
        for group, phase in cells:
            part = read[(read.group == group) & (read.phase == phase)]
            total = part[[f"{name}_voxels" for name in LABEL_NAMES.values()]].sum().sum()
            shares.append(100 * part[f"{LABEL_NAMES[label]}_voxels"].sum() / total)
        axes.bar(
            np.arange(len(cells)) + offset, shares, width=0.23, color=LABEL_COLORS[label], label=label.name
        )
    axes.set_xticks(range(len(cells)), [f"{group} {phase}" for group, phase in cells], fontsize=8)
    axes.set_ylabel("% of all voxels")
    axes.legend(frameon=False, fontsize=8, ncols=3)
    return figure


def _cumulative(axes: Axes, frame: pd.DataFrame, name: str) -> None:
    feature = FEATURE_BY_NAME[name]
    for section in SECTIONS:
        values = frame[frame.section == section].groupby("patient")[name].mean().dropna()
        if len(values):
            axes.ecdf(values, label=f"{section} ({len(values)})")
    axes.set_xlabel(feature.words, fontsize=9)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of patients", fontsize=9)
    if feature.on_log:
        _log(axes.xaxis, frame[name])


def _log(axis: Axis, values: pd.Series) -> None:
    """A logarithmic axis with plain numbers, if the values allow one."""
    if values.min() > 0:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if values.max() < FEW_DECADES * values.min() else (1,))
        )
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


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
    dataset: Dataset, output: Path, *, name: str, sections: Mapping[str, str] | None = None, seed: int = 0
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

    Raises:
        DataError: If no image can be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    survey = survey_hearts(dataset, sections=sections)
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
        for feature in reported_features(frame):
            writer.add_histogram(feature.name, frame[feature.name].dropna().to_numpy())
        lines = [f"- **{finding.urgency}**: {finding.found} {finding.decide}" for finding in found.findings]
        writer.add_text("findings that need a decision", "\n".join(lines) or "none")
    return found


def explore_xrays(root: Path, output: Path, *, seed: int = 0) -> XraySurvey:
    """Measure every radiograph below a folder; write a table, pictures and TensorBoard entries.

    Args:
        root: Existing folder with `NORMAL` and `PNEUMONIA` at any depth.
        output: Folder for `eda.json`, `survey.csv`, `plots/`, `pictures/` and `tensorboard/`; made if it does
            not exist.
        seed: Seed of the images drawn for the sample grids.

    Raises:
        DataError: If a finding has no image, or no image can be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    survey = survey_xrays(root)
    generator = np.random.default_rng(seed)
    samples = {
        f"samples: {group}": _xray_samples(members, generator) for group, members in _groups(survey.images)
    }
    frame = pd.DataFrame(
        [
            {"finding": one.record.finding.value.lower(), "patient": one.record.patient}
            | {name: getattr(one, name) for name in XRAY_FEATURES}
            for one in survey.images
        ]
    )
    frame.to_csv(output / TABLE_NAME, index=False)
    pictures = _write_pictures(output, xray_figures(frame), samples)
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
            for feature in reported_features(frame)
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


def xray_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """Figures of radiographs by title, from the table of `explore_xrays`."""
    sizes, (places, aspects) = panels(2, width=4.4)
    grey, histograms = panels(2, width=4.4)
    for name, members in frame.groupby("finding"):
        places.scatter(members.width_px, members.height_px, s=6, alpha=0.4, label=name)
        aspects.hist(members.aspect, bins=30, alpha=0.6)
        for axes, measure in zip(histograms, ("brightness", "contrast"), strict=True):
            axes.hist(members[measure], bins=30, alpha=0.6, density=True, label=name)
    places.set(xlabel="width, pixels", ylabel="height, pixels")
    aspects.set(xlabel="width over height", ylabel="images")
    histograms[0].set(xlabel="mean grey", ylabel="density")
    histograms[1].set(xlabel="SD of grey", ylabel="density")
    for axes in (places, histograms[0]):
        axes.legend(fontsize=8)
    patients, (bars,) = panels(width=4.4)
    counts = frame.patient.value_counts().value_counts()
    bars.bar(counts.index, counts)
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
