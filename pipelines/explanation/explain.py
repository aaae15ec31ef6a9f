"""Explains decisions: an overlay and a row in a table for each radiograph."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path, output_folder, write_csv
from pipelines.core.progress import Progress
from pipelines.core.records import Problem
from pipelines.explanation.heat_map import HeatMap, Method, heat_map
from pipelines.inference.classify import find_xrays, read_each
from pipelines.models.classifier import Classifier, Pixels

TABLE_NAME: Final = "explanations.csv"
COLUMNS: Final = (
    "image",
    "overlay",
    "probability_pneumonia",
    "method",
    "steps",
    "completeness_error",
    "problem",
)

STRONGEST_PERCENTILE: Final = 99.5
"""Of the attribution's size; what is stronger is drawn in the strongest colour."""

DPI: Final = 110


@dataclass(frozen=True, slots=True)
class ExplanationReport:
    """What `explain` wrote.

    Attributes:
        overlays: Pictures, in the order of the images.
        problems: Files put aside, and why.
        table: Path of the table.
    """

    overlays: list[Path]
    problems: list[Problem]
    table: Path


def explain(
    inputs: Sequence[Path],
    output: Path,
    classifier: Classifier,
    *,
    method: Method = "integrated_gradients",
    progress: Progress | None = None,
) -> ExplanationReport:
    """Write an overlay for each radiograph, and `explanations.csv`.

    A file that cannot be read has a row with the problem, and the rest goes on.

    Args:
        inputs: Existing JPEG, PNG or DICOM files, or folders of them at any depth.
        output: Folder for the overlays and the table; made if it does not exist.
        classifier: Network with its threshold.
        method: As for `heat_map`.
        progress: Called with images done, images in all and the image's name.

    Raises:
        ConfigError: If the method is unknown.
        DataError: If a path does not exist, or no image is found or can be read in all of them.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    paths = find_xrays(inputs)
    overlays: list[Path] = []
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    for path, image in read_each(paths, progress):
        if isinstance(image, Problem):
            problems.append(image)
            rows.append({"image": str(path), "problem": image.reason})
            continue
        probability = classifier.probability(image.pixels)
        found = heat_map(image.pixels, method, classifier=classifier)
        overlay = output / f"{len(rows) + 1:04d}_{path.stem}.png"
        title = f"{path.name}: pneumonia {probability:.3f}, threshold {classifier.threshold:.3f}"
        overlay_heat_map(image.pixels, found, overlay, title=title)
        overlays.append(overlay)
        rows.append(_row(path, overlay, probability, method, found))
    table = output / TABLE_NAME
    write_csv(table, COLUMNS, rows)
    if not overlays:
        raise DataError(
            f"expected a readable radiograph, found none of {len(paths)}: {problems[0].reason}; see {table}"
        )
    return ExplanationReport(overlays, problems, table)


def overlay_heat_map(image: Pixels, found: HeatMap, path: Path, *, title: str = "") -> None:
    """Draw an image beside itself with the attribution on it: red for pneumonia, blue against.

    Args:
        image: `(H, W)` grey values, 0 black to 1 white.
        found: Attribution on the same grid.
        path: PNG to write.
        title: Line above the picture.

    Raises:
        OutputError: If it cannot be written.
    """
    scaled = relative_strength(found.values)
    figure = Figure(figsize=(8.4, 4.2 * image.shape[0] / image.shape[1] + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    plain, explained = figure.subplots(1, 2)
    for axes in (plain, explained):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    shown = explained.imshow(scaled, cmap="bwr", vmin=-1, vmax=1, alpha=np.sqrt(np.abs(scaled)))
    bar = figure.colorbar(shown, ax=explained, ticks=[-1, 0, 1], fraction=0.046)
    bar.ax.set_yticklabels(["normal", "", "pneumonia"], fontsize=8)
    figure.suptitle(title, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def relative_strength(values: Pixels) -> Pixels:
    """Attribution `(H, W)` as shares of its strongest, -1 to 1; outliers count as the strongest."""
    strongest = max(float(np.percentile(np.abs(values), STRONGEST_PERCENTILE)), 1e-12)
    scaled: Pixels = np.clip(values / np.float32(strongest), -1, 1)
    return scaled


def _row(path: Path, overlay: Path, probability: float, method: str, found: HeatMap) -> dict[str, Any]:
    error = found.completeness_error
    return {
        "image": str(path),
        "overlay": overlay.name,
        "probability_pneumonia": f"{probability:.4f}",
        "method": method,
        "steps": found.steps,
        "completeness_error": None if error is None else f"{error:.4f}",
    }
