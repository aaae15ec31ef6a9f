"""Explores a folder of radiographs: an HTML page and TensorBoard entries."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import output_folder
from pipelines.core.progress import Progress
from pipelines.datasets.chest_xray import Finding
from pipelines.datasets.xray_image import read_xray
from pipelines.exploration.xray_survey import MeasuredXray, XraySurvey, survey_xrays
from pipelines.reporting.html import Cell, Picture, Section, Table, write_report

PAGE_NAME: Final = "eda.html"
GRID_COLUMNS, GRID_ROWS = 6, 2
MOST_PAIRS: Final = 20
"""Pairs of duplicates that the page lists."""

DPI: Final = 100


def explore_xrays(root: Path, output: Path, *, seed: int = 0, progress: Progress | None = None) -> XraySurvey:
    """Measure every radiograph below a folder, and write `eda.html` and TensorBoard entries.

    Args:
        root: Existing folder with `NORMAL` and `PNEUMONIA` at any depth.
        output: Folder for the page and `tensorboard/`; made if it does not exist.
        seed: Seed of the images drawn for the sample grids.
        progress: Called with images done, images in all and the image's name.

    Raises:
        DataError: If a finding has no image, or no image can be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    survey = survey_xrays(root, progress=progress)
    figures = _figures(survey, np.random.default_rng(seed))
    with SummaryWriter(str(output / "tensorboard")) as writer:
        for name, figure in figures.items():
            writer.add_figure(name, figure)
        for name in ("width_px", "height_px", "aspect", "brightness", "contrast"):
            writer.add_histogram(name, np.array([getattr(image, name) for image in survey.images]))
    with tempfile.TemporaryDirectory() as folder:
        pictures = {}
        for number, (name, figure) in enumerate(figures.items()):
            path = Path(folder) / f"{number}.png"
            figure.savefig(path, dpi=DPI)
            pictures[name] = Picture(path, alt=name, caption=name)
        _write_page(output / PAGE_NAME, survey, pictures)
    return survey


def _figures(survey: XraySurvey, generator: np.random.Generator) -> dict[str, Figure]:
    images = survey.images
    figures = {
        "sizes and aspect ratios": _sizes_figure(images),
        "brightness and contrast": _histograms(images, {"brightness": "mean grey", "contrast": "SD of grey"}),
        "images per patient": _patients_figure(survey),
    }
    for group in sorted({_group(image) for image in images}):
        members = [image for image in images if _group(image) == group]
        figures[f"samples: {group}"] = _samples_figure(members, generator)
    return figures


def _write_page(path: Path, survey: XraySurvey, pictures: dict[str, Picture]) -> None:
    images = survey.images
    patients = survey.images_per_patient()
    samples = [picture for name, picture in pictures.items() if name.startswith("samples")]
    sections = [
        Section("Counts", tables=[_counts_table(images), _modes_table(images)]),
        Section(
            "Sizes",
            tables=[_ranges_table(images)],
            pictures=[pictures["sizes and aspect ratios"], pictures["brightness and contrast"]],
        ),
        Section(
            "Patients",
            paragraphs=[
                f"{len(patients)} patients, {max(patients.values())} images at most of one, "
                f"{sum(count > 1 for count in patients.values())} patients with more than one. "
                "A split by image would put such a patient into training and test."
            ],
            pictures=[pictures["images per patient"]],
        ),
        Section("Samples", paragraphs=["Drawn at random."], pictures=samples),
        Section(
            "Duplicates",
            paragraphs=[
                f"{len(survey.copies)} exact copies, and {len(survey.near)} further pairs that are nearly "
                "the same."
            ],
            tables=[_pairs_table(survey)] if survey.copies or survey.near else [],
        ),
        Section("Put aside", tables=[_problems_table(survey)])
        if survey.problems
        else Section("Put aside", paragraphs=["No file was put aside."]),
    ]
    lead = f"{len(images)} chest radiographs of {len(patients)} patients."
    write_report(path, title="Chest X-rays", lead=lead, sections=sections)


def _group(image: MeasuredXray) -> str:
    return f"{image.record.finding.value.lower()} {image.record.agent}".strip()


def _counts_table(images: Sequence[MeasuredXray]) -> Table:
    rows: list[list[Cell]] = []
    for group in sorted({_group(image) for image in images}):
        members = [image for image in images if _group(image) == group]
        patients = len({image.record.patient for image in members})
        rows.append([group, len(members), 100 * len(members) / len(images), patients])
    return Table("Images by finding and agent", ["", "images", "% of images", "patients"], rows)


def _modes_table(images: Sequence[MeasuredXray]) -> Table:
    counts = Counter(image.mode for image in images)
    words = {"L": "L (grey)", "RGB": "RGB (three channels)"}
    rows: list[list[Cell]] = [[words.get(mode, mode), count] for mode, count in counts.most_common()]
    return Table("Pixel formats", ["", "images"], rows)


def _ranges_table(images: Sequence[MeasuredXray]) -> Table:
    rows = []
    for name, words, digits in (
        ("width_px", "width, pixels", 0),
        ("height_px", "height, pixels", 0),
        ("aspect", "width over height", 2),
        ("brightness", "mean grey, 0 to 1", 2),
        ("contrast", "standard deviation of grey", 2),
    ):
        values = [getattr(image, name) for image in images]
        rows.append([words, *(f"{value:.{digits}f}" for value in np.percentile(values, (0, 5, 50, 95, 100)))])
    return Table("Percentiles", ["", "least", "5%", "median", "95%", "most"], rows)


def _pairs_table(survey: XraySurvey) -> Table:
    pairs = [("exact", *pair) for pair in survey.copies] + [("near", *pair) for pair in survey.near]
    rows = []
    for kind, first, second in pairs[:MOST_PAIRS]:
        records = survey.images[first].record, survey.images[second].record
        doubt = "" if records[0].finding is records[1].finding else "different findings"
        rows.append([kind, records[0].image.name, records[1].image.name, doubt])
    more = f", the first {MOST_PAIRS} of {len(pairs)}" if len(pairs) > MOST_PAIRS else ""
    return Table(f"Pairs of the same image{more}", ["", "first", "second", ""], rows)


def _problems_table(survey: XraySurvey) -> Table:
    rows = [[problem.path.name, problem.reason] for problem in survey.problems]
    return Table("Files that could not be used, and names that tell no patient", ["file", "reason"], rows)


def _sizes_figure(images: Sequence[MeasuredXray]) -> Figure:
    figure, (sizes, aspects) = _panels(2)
    for finding in Finding:
        members = [image for image in images if image.record.finding is finding]
        sizes.scatter(
            [image.width_px for image in members],
            [image.height_px for image in members],
            s=6,
            alpha=0.4,
            label=finding.value.lower(),
        )
        aspects.hist([image.aspect for image in members], bins=30, alpha=0.6)
    sizes.set_xlabel("width, pixels")
    sizes.set_ylabel("height, pixels")
    sizes.legend(fontsize=8)
    aspects.set_xlabel("width over height")
    aspects.set_ylabel("images")
    return figure


def _histograms(images: Sequence[MeasuredXray], names: dict[str, str]) -> Figure:
    figure, panels = _panels(len(names))
    for axes, (name, words) in zip(panels, names.items(), strict=True):
        for finding in Finding:
            values = [getattr(image, name) for image in images if image.record.finding is finding]
            axes.hist(values, bins=30, alpha=0.6, density=True, label=finding.value.lower())
        axes.set_xlabel(words)
        axes.set_ylabel("density")
    panels[0].legend(fontsize=8)
    return figure


def _patients_figure(survey: XraySurvey) -> Figure:
    figure, (axes,) = _panels(1)
    counts = Counter(survey.images_per_patient().values())
    axes.bar(list(counts), list(counts.values()))
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("images of a patient")
    axes.set_ylabel("patients")
    return figure


def _samples_figure(images: Sequence[MeasuredXray], generator: np.random.Generator) -> Figure:
    count = min(len(images), GRID_COLUMNS * GRID_ROWS)
    chosen = [images[index] for index in generator.choice(len(images), count, replace=False)]
    figure = Figure(figsize=(1.6 * GRID_COLUMNS, 1.8 * GRID_ROWS), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, image in zip(figure.subplots(GRID_ROWS, GRID_COLUMNS).ravel(), chosen, strict=False):
        axes.imshow(read_xray(image.record.image).pixels, cmap="gray", vmin=0, vmax=1)
        axes.set_title(image.record.patient, fontsize=7)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def _panels(count: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.4 * count, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count, squeeze=False)[0]
