"""Classifies radiographs: probability, decision and quality warnings in a table."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_csv
from pipelines.core.progress import track
from pipelines.core.records import Problem
from pipelines.datasets.dicom_file import is_dicom
from pipelines.datasets.xray_image import (
    SUFFIXES,
    Finding,
    XrayImage,
    chest_doubts,
    decide,
    quality_warnings,
    read_xray,
)

if TYPE_CHECKING:
    from pipelines.models.xray import XrayModel

TABLE_NAME: Final = "classification.csv"
COLUMNS: Final = ("image", "probability_pneumonia", "threshold", "decision", "warnings", "problem")

DICOM_INDEX: Final = "DICOMDIR"
"""Name of the file that lists those of a DICOM disc."""

OTHER_SUFFIXES: Final = (".gif", ".jp2", ".heic", ".heif", ".avif")
"""Names of pictures in other formats: read where they can be, else a row of the table has the reason."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClassifiedXray:
    """One radiograph with its decision.

    Attributes:
        image: Path of the file.
        probability: Of pneumonia, 0 to 1.
        decision: What the probability means at the threshold; None where the image is hardly a frontal
            chest film, of which the probability means nothing.
        warnings: Doubts about the image, in words; reasons for no verdict begin with "no verdict".
    """

    image: Path
    probability: float
    decision: Finding | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """What `classify` found.

    Attributes:
        results: Images in the order they were found.
        problems: Files skipped, and why.
        table: Path of the table.
    """

    results: list[ClassifiedXray]
    problems: list[Problem]
    table: Path


def classify(inputs: Sequence[Path], output: Path, classifier: "XrayModel") -> ClassificationReport:
    """Classify radiographs and write `classification.csv`.

    A file that cannot be read has a row with the problem, one that is hardly a frontal chest film a row with
    warnings; neither has a probability or a decision, and the rest goes on.

    Args:
        inputs: Existing pictures or DICOM files, or folders of them at any depth.
        output: Folder for the table; made if it does not exist.
        classifier: Network with its threshold.

    Raises:
        DataError: If a path does not exist, or no image is found or can be read in all of them.
        OutputError: If the table cannot be written.
    """
    output_folder(output)
    paths = find_xrays(inputs)
    results: list[ClassifiedXray] = []
    problems: list[Problem] = []
    rows: list[dict[str, object]] = []
    for path, image in read_each(paths):
        if isinstance(image, Problem):
            problems.append(image)
            rows.append({"image": str(path), "problem": image.reason})
        else:
            results.append(classify_one(path, image, classifier))
            rows.append(_row(results[-1], classifier.threshold))
    table = output / TABLE_NAME
    write_csv(table, COLUMNS, rows)
    if not results:
        raise DataError(
            f"expected a readable radiograph, found none of {len(paths)}: {problems[0].reason}; see {table}"
        )
    return ClassificationReport(results, problems, table)


def read_each(paths: Sequence[Path]) -> Iterator[tuple[Path, XrayImage | Problem]]:
    """Each path with its image, or with the reason why there is none.

    Args:
        paths: Files to read.
    """
    for path in track(paths, lambda one: one.name):
        try:
            yield path, read_xray(path)
        except DataError as error:
            logger.warning("skipped %s: %s", path, error)
            yield path, Problem(path.stem, path, str(error))


def find_xrays(inputs: Sequence[Path]) -> list[Path]:
    """Files given, and those in folders that are DICOM or whose names end as a picture's, each once.

    Raises:
        DataError: If a path does not exist, or no file is found.
    """
    for path in inputs:
        if not path.exists():
            raise DataError(f"expected a radiograph or a folder of them, found nothing at {path}")
    found = {path.resolve(): path for path in reversed(list(_files(inputs)))}
    if not found:
        places = ", ".join(str(path) for path in inputs) or "no input"
        raise DataError(f"expected files that end in {', '.join(SUFFIXES)}, found none in {places}")
    return list(reversed(found.values()))


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_file():
            yield path
            continue
        for file in sorted(path.rglob("*")):
            if file.name.startswith(".") or file.name == DICOM_INDEX or not file.is_file():
                continue
            if file.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES) or is_dicom(file):
                yield file


def classify_one(path: Path, image: XrayImage, classifier: "XrayModel") -> ClassifiedXray:
    """The probability of one film, and the decision unless it is hardly a frontal chest film.

    Args:
        path: File that it was read from.
        image: As from `read_xray`.
        classifier: The network with its threshold.
    """
    probability = classifier.probability(image.pixels)
    decision = None if chest_doubts(image) else decide(probability, classifier.threshold)
    return ClassifiedXray(path, probability, decision, tuple(quality_warnings(image)))


def title_of(result: ClassifiedXray, classifier: "XrayModel") -> str:
    """The line above a picture of a decision."""
    return f"{result.image.name}: pneumonia {result.probability:.3f}, threshold {classifier.threshold:.3f}"


def _row(result: ClassifiedXray, threshold: float) -> dict[str, object]:
    return {
        "image": str(result.image),
        "probability_pneumonia": f"{result.probability:.4f}",
        "threshold": f"{threshold:.4f}",
        "decision": result.decision,
        "warnings": "; ".join(result.warnings),
    }
