"""The page of misclassified radiographs: table of error types and gallery."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import Progress
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.evaluate_xray import read_cases
from pipelines.evaluation.xray_errors import (
    MANY_IMAGES,
    TAIL_PERCENT,
    ErrorAnalysis,
    ErrorType,
    analyse_errors,
)
from pipelines.reporting.html import Cell, Picture, Section, Table, write_report
from pipelines.reporting.markdown import p_text

PAGE_NAME: Final = "errors.html"
ERRORS_NAME: Final = "errors.json"
HEADER: Final = (
    "seen",
    "images",
    "errors",
    "% of errors",
    "% wrong with it",
    "% wrong without",
    "95% interval of the difference",
    "p",
)
GALLERY_COLUMNS, GALLERY_ROWS = 4, 3
DPI: Final = 100


def explore_errors(evaluation: Path, output: Path, *, progress: Progress | None = None) -> ErrorAnalysis:
    """Analyse the errors of an evaluation; write `errors.html`, `errors.json`, `errors.csv`, TensorBoard.

    Args:
        evaluation: Folder of `thorax evaluate-xray`.
        output: Folder for the results; made if it does not exist.
        progress: Called with images done, images in all and the image's name.

    Raises:
        DataError: If there is no evaluation, or one of its images cannot be read.
        OutputError: If the results cannot be written.
    """
    cases = read_cases(evaluation)
    output_folder(output)
    found = analyse_errors(cases, progress=progress)
    figures = _gallery(found.wrong)
    with SummaryWriter(str(output / "tensorboard")) as writer:
        for number, figure in enumerate(figures):
            writer.add_figure("misclassified", figure, number)
    with tempfile.TemporaryDirectory() as folder:
        pictures = []
        for number, figure in enumerate(figures, start=1):
            path = Path(folder) / f"{number}.png"
            figure.savefig(path, dpi=DPI)
            pictures.append(Picture(path, alt=f"misclassified images, part {number}"))
        _write_page(output / PAGE_NAME, found, pictures)
    names = list(found.cases[0]["attributes"])
    rows = [
        {"image": case["image"], "is_correct": case["is_correct"], "seen": "; ".join(case["seen"])}
        | case["attributes"]
        for case in found.cases
    ]
    write_csv(output / "errors.csv", ["image", "is_correct", "seen", *names], rows)
    write_json(output / ERRORS_NAME, found.as_dict())
    return found


def type_cells(kind: ErrorType) -> list[str]:
    """Cells of an error type below `HEADER`."""
    low, high = kind.interval or (None, None)
    return [
        kind.name,
        str(kind.images),
        str(kind.errors),
        _percent(kind.share_of_errors),
        _percent(kind.error_rate),
        _percent(kind.other_rate),
        f"{100 * low:+.1f} to {100 * high:+.1f}" if low is not None and high is not None else "",
        p_text(kind.p_value),
    ]


def reading_guide(found: ErrorAnalysis) -> str:
    """What the words of the table mean, and how far it goes."""
    return (
        f"{len(found.wrong)} of {len(found.cases)} images are misclassified. Dark, blurred and the like mean "
        f"the {TAIL_PERCENT:.0f}% of the images that are most so; many images are {MANY_IMAGES} or more of a "
        "patient among those measured. Intervals are bootstrapped over patients; p is Fisher's, for each row "
        f"by itself: with {len(found.types)} rows, one below 0.05 is to be expected by chance."
    )


def _write_page(path: Path, found: ErrorAnalysis, pictures: Sequence[Picture]) -> None:
    rows: list[list[Cell]] = [list(type_cells(kind)) for kind in found.types]
    for row, kind in zip(rows, found.types, strict=True):
        row.append(Path(kind.example).name if kind.example else "")
    sections = [
        Section(
            "Error types",
            paragraphs=[reading_guide(found)],
            tables=[Table("What goes with errors", [*HEADER, "example"], rows)],
        ),
        Section(
            "Gallery",
            paragraphs=[
                "All misclassified images, the most certain first."
                if found.wrong
                else "No image is misclassified."
            ],
            pictures=pictures,
        ),
    ]
    lead = "What the misclassified images have in common."
    write_report(path, title="Errors on chest X-rays", lead=lead, sections=sections)


def _gallery(cases: Sequence[dict[str, Any]]) -> list[Figure]:
    size = GALLERY_COLUMNS * GALLERY_ROWS
    return [_sheet(cases[first : first + size]) for first in range(0, len(cases), size)]


def _sheet(cases: Sequence[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(2.9 * GALLERY_COLUMNS, 3.3 * GALLERY_ROWS), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(GALLERY_ROWS, GALLERY_COLUMNS, squeeze=False).ravel()
    for axes, case in zip(panels, cases, strict=False):
        axes.imshow(read_xray(Path(case["image"])).pixels, cmap="gray", vmin=0, vmax=1)
        truth = f"{case['finding'].lower()} {case['agent']}".strip()
        axes.set_title(
            f"{Path(case['image']).name}\n{truth}, pneumonia {case['probability']:.2f}", fontsize=8
        )
    for axes in panels:
        axes.set_axis_off()
    return figure


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
