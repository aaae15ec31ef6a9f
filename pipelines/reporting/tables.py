"""Result tables for the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from pipelines.core.labels import FOREGROUND, LABEL_NAMES

if TYPE_CHECKING:
    from pipelines.inference.classify import ClassifiedXray
    from pipelines.inference.study_result import StudyResult
    from pipelines.training.trials import Trial

MOST_ROWS = 40
"""Images that a table in the terminal shows."""


def metrics_table(metrics: dict[str, Any]) -> Table:
    """Dice, HD95 and index errors of an evaluation.

    Args:
        metrics: Content of `metrics.json`.
    """
    summary, intervals = metrics["summary"], metrics["intervals"]
    table = Table(title=f"{summary['patients']} patients, {summary['volumes']} volumes", title_justify="left")
    for column in ("", "Dice", "95% interval", "HD95 mm"):
        table.add_column(column, justify="left" if not column else "right")
    for name in [*(LABEL_NAMES[label] for label in FOREGROUND), "mean"]:
        low_high = intervals["dice"][name]
        between = f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
        table.add_row(name, _number(summary["dice"][name], 3), between, _number(summary["hd95_mm"][name], 1))
    for name, unit in (("ef_lv", "points"), ("edv_lv_ml", "mL"), ("esv_lv_ml", "mL"), ("mass_g", "g")):
        error = _number(summary[name]["mae"], 1)
        table.add_row(f"{name} error", f"{error} {unit}" if error else "", "", "")
    return table


def indices_table(results: Sequence["StudyResult"]) -> Table:
    """Volumes and ejection fractions, a row for each study."""
    table = Table()
    columns = (
        "study",
        "LV EDV mL",
        "LV ESV mL",
        "LV EF %",
        "RV EDV mL",
        "RV ESV mL",
        "RV EF %",
        "mass g",
        "why empty",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in ("study", "why empty") else "right")
    for result in results:
        indices = result.indices
        values = (
            indices.lv_edv_ml,
            indices.lv_esv_ml,
            indices.lv_ef_percent,
            indices.rv_edv_ml,
            indices.rv_esv_ml,
            indices.rv_ef_percent,
            indices.myo_mass_ed_g,
        )
        table.add_row(result.study, *(_number(value, 1) for value in values), result.reason)
    return table


def classification_metrics_table(metrics: dict[str, Any]) -> Table:
    """Scores of an evaluation of radiographs with their intervals.

    Args:
        metrics: Content of `metrics.json` of `thorax evaluate-xray`.
    """
    summary, intervals = metrics["summary"], metrics["intervals"]
    title = (
        f"{summary['patients']} patients, {summary['images']} images, threshold {summary['threshold']:.3f}"
    )
    table = Table("", "figure", "95% interval", title=title, title_justify="left")
    for name in ("accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity", "auroc", "auprc"):
        low_high = intervals[name]
        between = f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
        table.add_row(name.replace("_", " "), _number(summary[name], 3), between)
    table.add_row("expected calibration error", _number(summary["ece"], 3), "")
    return table


def classification_table(results: Sequence["ClassifiedXray"]) -> Table:
    """Probability, decision and warnings of radiographs, the first `MOST_ROWS` of them."""
    table = Table("image", "pneumonia", "decision", "warnings")
    for result in results[:MOST_ROWS]:
        table.add_row(
            escape(result.image.name),
            f"{result.probability:.3f}",
            result.decision.value.lower(),
            "; ".join(result.warnings),
        )
    if len(results) > MOST_ROWS:
        table.caption = f"{len(results) - MOST_ROWS} more are in the table file"
    return table


def trials_table(trials: Sequence["Trial"]) -> Table:
    """Trials of a search, the best first: what was drawn, and what it showed on validation."""
    table = Table(title=f"{len(trials)} trials, scores on validation", title_justify="left", show_lines=True)
    for column in ("trial", "epochs", *(trials[0].scores if trials else ()), "settings"):
        table.add_column(column, justify="left" if column == "settings" else "right")
    for trial in trials[:MOST_ROWS]:
        drawn = [
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in trial.settings.items()
        ]
        scores = (str(trial.epochs), *(f"{score:.4f}" for score in trial.scores.values()))
        table.add_row(trial.name, *scores, escape(", ".join(drawn)))
    return table


def quantization_table(content: dict[str, Any]) -> Table:
    """Ways to run a network beside its int8 model, a row each: medians and accuracy.

    Args:
        content: Content of `quantization.json`.
    """
    header, rows = quantization_rows(content)
    shown = [header.index(name) for name in ("", "1 image, ms", "16 images, ms", "accuracy %", "as fp32 %")]
    table = Table(title=f"{content['threads']} threads, {content['images']} images", title_justify="left")
    for index in shown:
        table.add_column(header[index], justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    return table


def quantization_rows(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the ways to run a network: latencies in ms, accuracies in percent."""
    header = ["", "1 image, ms", "p95", "16 images, ms", "p95", "accuracy %", "normal %", "pneumonia %"]
    rows = []
    for name, figures in content["runtimes"].items():
        one, many = figures["batch_1_ms"], figures["batch_16_ms"]
        times = (one["median"], one["p95"], many["median"], many["p95"])
        shares = ("accuracy", "accuracy_normal", "accuracy_pneumonia", "agreement")
        rows.append(
            [name, *(f"{value:.1f}" for value in times), *(f"{100 * figures[share]:.1f}" for share in shares)]
        )
    return [*header, "as fp32 %"], rows


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
