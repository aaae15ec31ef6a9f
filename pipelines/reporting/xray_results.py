"""The results page of the chest X-ray bundle, made from training runs and evaluations."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.bundle import XRAY_BUNDLE, load_config
from pipelines.errors import DataError
from pipelines.files import atomic_path, output_folder, write_text
from pipelines.manifest import MANIFEST_NAME
from pipelines.reporting.markdown import duration, fill_card, markdown_table, number
from pipelines.reporting.run_record import RunRecord, read_run, shown_command

PAGE_NAME = "chest-xray.md"
MODEL_CARD = XRAY_BUNDLE / "docs" / "README.md"
PICTURES = ("roc", "confusion", "calibration")
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


def write_xray_results(
    runs: Sequence[Path], evaluations: Sequence[Path], output: Path, *, card: Path = MODEL_CARD
) -> Path:
    """Write the results page, its pictures, and the figures of the model card.

    Args:
        runs: Folders of training runs, in the order they were done.
        evaluations: Folders of `thorax evaluate-xray`; the pictures are those of the first.
        output: Folder that takes `chest-xray.md` and the pictures; made if it does not exist.
        card: Existing model card, whose lines between `START` and `END` of `markdown` are replaced.

    Returns:
        Path of the page.

    Raises:
        DataError: If a run or an evaluation cannot be read, there is none, or the card has no
            place for figures.
        OutputError: If a file cannot be written.
    """
    if not runs or not evaluations:
        raise DataError(
            f"expected at least one run and one evaluation, found {len(runs)} and {len(evaluations)}"
        )
    records = [read_run(folder) for folder in runs]
    measured = [read_evaluation(folder) for folder in evaluations]
    figures = _figures_table(measured)
    filled = fill_card(card, f"{figures}\n\n{_threshold_line(measured[0])}\n")
    output_folder(output)
    for name in PICTURES:
        with atomic_path(output / f"chest-xray-{name}.png") as temporary:
            shutil.copyfile(measured[0].folder / f"{name}.png", temporary)
    page = output / PAGE_NAME
    write_text(page, _page(records, measured, figures))
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


def _page(runs: Sequence[RunRecord], evaluations: Sequence[XrayEvaluation], figures: str) -> str:
    commands = [run.command for run in runs]
    commands += [shown_command(evaluation.manifest["command"]) for evaluation in evaluations]
    first = evaluations[0]
    return "\n".join(
        [
            "# Chest X-rays",
            "",
            "Made by `thorax results chest-xray` from the runs and evaluations listed below.",
            "",
            "## Accuracy",
            "",
            "`thorax evaluate-xray` measures a prepared folder on its test images: patients that take no",
            "part in training or in choosing a checkpoint or a threshold. Intervals are 95%, bootstrapped",
            "over patients.",
            "",
            figures,
            "",
            _threshold_line(first),
            "",
            *(f"![{name}](chest-xray-{name}.png)" for name in PICTURES),
            "",
            "## Runs",
            "",
            _runs_table(runs),
            "",
            "## Commands",
            "",
            "`python -m monai.bundle` runs in `bundles/chest_xray_classification`. Paths stand for your own.",
            "",
            "```text",
            *dict.fromkeys(commands),
            "```",
            "",
        ]
    )


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


def _runs_table(runs: Sequence[RunRecord]) -> str:
    header = [
        "run",
        "network",
        "epochs",
        "images seen",
        "time",
        "threads",
        "precision",
        "best validation AUROC",
    ]
    rows = [
        [
            run.name,
            run.network,
            str(run.epochs),
            f"{run.samples:,}",
            duration(run.seconds) if run.seconds is not None else "",
            str(run.threads),
            run.precision,
            number(run.best("val_auroc"), 4),
        ]
        for run in runs
    ]
    return markdown_table(header, rows)


def _parameters(network: str) -> str:
    module = load_config(network).get_parsed_content("network_def")
    return f"{sum(weight.numel() for weight in module.parameters()) / 1e6:.1f} million"
