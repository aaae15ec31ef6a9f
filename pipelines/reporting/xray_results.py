"""The results page of the chest X-ray bundle, made from training runs and evaluations."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path, output_folder, write_text
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.models.bundle import XRAY_BUNDLE, load_config
from pipelines.reporting.markdown import (
    block_marks,
    fill_blocks,
    fill_card,
    markdown_table,
    number,
)
from pipelines.reporting.xray_sections import (
    comparison_section,
    errors_section,
    explanation_section,
    quantization_figure,
    quantization_section,
    runs_table,
    search_section,
)
from pipelines.training.run_record import RunRecord, read_run, shown_command

PAGE_NAME = "chest-xray.md"
MODEL_CARD = XRAY_BUNDLE / "docs" / "README.md"
PICTURES = ("roc", "confusion", "calibration")
ACCURACY, COMPARISON, SEARCH, ERRORS = "accuracy", "comparison", "search", "errors"
QUANTIZATION, EXPLANATION, RUNS = "quantization", "explanation", "runs"
HEADINGS = {
    ACCURACY: "Accuracy",
    COMPARISON: "Base against tuned",
    SEARCH: "Search",
    ERRORS: "Errors",
    QUANTIZATION: "Int8",
    EXPLANATION: "Explanation",
    RUNS: "Runs and commands",
}
"""Blocks of the page, and their headings where the page is new."""

DPI = 110
SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


@dataclass(frozen=True, slots=True)
class XrayEvaluation:
    """An evaluation of `thorax evaluate-xray`.

    Attributes:
        folder: Where it lies.
        metrics: Content of `metrics.json`.
        manifest: Content of `manifest.json`.
    """

    folder: Path
    metrics: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def title(self) -> str:
        """Heading of its column: its folder, and whether its split leaks patients."""
        leaks = ", split by image: leaks patients" if self.manifest["leaks_patients"] else ""
        return f"{self.folder.name}{leaks}"


@dataclass(frozen=True, slots=True)
class Studies:
    """Folders of what further sections are made from; a section without its folder stays as it is.

    Attributes:
        base: Evaluations of the base recipe, one a seed, to compare with `tuned`.
        tuned: Evaluations of the tuned recipe of the same images.
        search: Of `thorax tune`.
        errors: Of `thorax errors`.
        quantization: Of `thorax quantize`.
        explanations: Of `thorax study-explanations`.
    """

    base: Sequence[Path] = ()
    tuned: Sequence[Path] = ()
    search: Path | None = None
    errors: Path | None = None
    quantization: Path | None = None
    explanations: Path | None = None


def write_xray_results(
    runs: Sequence[Path],
    evaluations: Sequence[Path],
    output: Path,
    *,
    studies: Studies | None = None,
    card: Path = MODEL_CARD,
) -> Path:
    """Write the figures of the results page and of the model card, and the page's pictures.

    What stands on the page between the marks of the blocks is replaced; the words around
    them, written by hand, stay. A page that is not there yet is made, with headings only.

    Args:
        runs: Folders of training runs, in the order they were done.
        evaluations: Folders of `thorax evaluate-xray`; the pictures are those of the first.
        output: Folder that takes `chest-xray.md` and the pictures; made if it does not exist.
        studies: Folders of what the further sections are made from.
        card: Existing model card, whose lines between `START` and `END` of `markdown` are replaced.

    Returns:
        Path of the page.

    Raises:
        DataError: If a folder cannot be read, there is no run or evaluation, or page or card have no
            place for figures.
        OutputError: If a file cannot be written.
    """
    if not runs or not evaluations:
        raise DataError(
            f"expected at least one run and one evaluation, found {len(runs)} and {len(evaluations)}"
        )
    records = [read_run(folder) for folder in runs]
    measured = [read_evaluation(folder) for folder in evaluations]
    figures = f"{_figures_table(measured)}\n\n{_threshold_line(measured[0])}"
    page = output / PAGE_NAME
    blocks = _blocks(records, measured, figures, studies or Studies())
    text = fill_blocks(page, page.read_text(encoding="utf-8") if page.is_file() else _empty_page(), blocks)
    filled = fill_card(card, f"{figures}\n")
    output_folder(output)
    for name in PICTURES:
        with atomic_path(output / f"chest-xray-{name}.png") as temporary:
            shutil.copyfile(measured[0].folder / f"{name}.png", temporary)
    if studies and studies.quantization:
        with atomic_path(output / f"chest-xray-{QUANTIZATION}.png") as temporary:
            quantization_figure(studies.quantization).savefig(temporary, dpi=DPI)
    write_text(page, text)
    write_text(card, filled)
    return page


def read_evaluation(folder: Path) -> XrayEvaluation:
    """Evaluation from its folder.

    Raises:
        DataError: If metrics, manifest or a picture is missing or damaged.
    """
    try:
        metrics, manifest = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("metrics.json", MANIFEST_NAME)
        )
        found = [*metrics["summary"], *metrics["intervals"], manifest["leaks_patients"], manifest["command"]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"expected an evaluation of 'thorax evaluate-xray', found {folder}: {error!r}"
        ) from error
    missing = [name for name in SCORES if name not in found]
    missing += [f"{name}.png" for name in PICTURES if not (folder / f"{name}.png").is_file()]
    if missing:
        raise DataError(f"expected {', '.join(missing)} in {folder}, found none; evaluate again")
    return XrayEvaluation(folder, metrics, manifest)


def _blocks(
    runs: Sequence[RunRecord], evaluations: Sequence[XrayEvaluation], figures: str, studies: Studies
) -> dict[str, str]:
    """Content of each block of the page that can be made."""
    commands = [run.command for run in runs]
    commands += [shown_command(evaluation.manifest["command"]) for evaluation in evaluations]
    pictures = "\n".join(f"![{name}](chest-xray-{name}.png)" for name in PICTURES)
    listed = "\n".join(dict.fromkeys(commands))
    blocks = {ACCURACY: f"{figures}\n\n{pictures}", RUNS: f"{runs_table(runs)}\n\n```text\n{listed}\n```"}
    if studies.base or studies.tuned:
        blocks[COMPARISON] = comparison_section(studies.base, studies.tuned)
    if studies.search:
        blocks[SEARCH] = search_section(studies.search)
    if studies.errors:
        blocks[ERRORS] = errors_section(studies.errors)
    if studies.quantization:
        picture = f"![time, size and accuracy before and after](chest-xray-{QUANTIZATION}.png)"
        blocks[QUANTIZATION] = f"{quantization_section(studies.quantization)}\n\n{picture}"
    if studies.explanations:
        blocks[EXPLANATION] = explanation_section(studies.explanations)
    return blocks


def _empty_page() -> str:
    lines = ["# Chest X-rays", "", "Figures by `thorax results chest-xray`.", ""]
    for name, title in HEADINGS.items():
        lines += [f"## {title}", "", *block_marks(name), ""]
    return "\n".join(lines)


def _figures_table(evaluations: Sequence[XrayEvaluation]) -> str:
    rows = [
        ["network", *(evaluation.manifest["network"] for evaluation in evaluations)],
        ["parameters", *(_parameters(evaluation.manifest["network"]) for evaluation in evaluations)],
    ]
    for name, words in SCORES.items():
        rows.append([words, *(_with_interval(evaluation, name) for evaluation in evaluations)])
    summaries = [evaluation.metrics["summary"] for evaluation in evaluations]
    rows += [
        ["expected calibration error", *(number(summary["ece"], 3) for summary in summaries)],
        ["threshold", *(number(summary["threshold"], 3) for summary in summaries)],
        ["images", *(str(summary["images"]) for summary in summaries)],
        ["patients", *(str(summary["patients"]) for summary in summaries)],
    ]
    return markdown_table(["", *(evaluation.title for evaluation in evaluations)], rows)


def _with_interval(evaluation: XrayEvaluation, name: str) -> str:
    value = number(evaluation.metrics["summary"][name], 3)
    interval = evaluation.metrics["intervals"][name]
    return f"{value} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else value


def _threshold_line(evaluation: XrayEvaluation) -> str:
    (normal, false_alarms), (missed, found) = evaluation.metrics["summary"]["confusion_matrix"]
    return (
        f"In {evaluation.folder.name}, at the threshold chosen on validation: {found} of {found + missed} "
        f"images with pneumonia were found, {false_alarms} of {normal + false_alarms} normal ones called "
        "pneumonia."
    )


def _parameters(network: str) -> str:
    module = load_config(network).get_parsed_content("network_def")
    return f"{sum(weight.numel() for weight in module.parameters()) / 1e6:.1f} million"
