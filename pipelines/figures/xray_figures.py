"""ROC, confusion matrix and calibration of a classification, as files and in TensorBoard."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import atomic_path
from pipelines.datasets.chest_xray import Finding

SIDE_INCHES = 4.2
DPI = 110


def write_figures(metrics: dict[str, Any], folder: Path) -> None:
    """Draw `roc.png`, `confusion.png` and `calibration.png`, and enter them in TensorBoard.

    Args:
        metrics: As from `evaluate_xray`, with `summary`, `calibration` and `cases`.
        folder: Existing folder that takes the files, and `tensorboard/`.

    Raises:
        OutputError: If a file cannot be written.
    """
    figures = {
        "roc": roc_figure(metrics),
        "confusion": confusion_figure(metrics["summary"]["confusion_matrix"]),
        "calibration": calibration_figure(metrics),
    }
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name, figure in figures.items():
            with atomic_path(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=DPI)
            writer.add_figure(name, figure)
        for name, value in metrics["summary"].items():
            if isinstance(value, int | float):
                writer.add_scalar(f"test/{name}", value)


def roc_figure(metrics: dict[str, Any]) -> Figure:
    """ROC curve with the operating point; without a curve where only one class is there."""
    figure, axes = _axes("1 - specificity", "sensitivity")
    truth = np.array([case["finding"] == Finding.PNEUMONIA for case in metrics["cases"]])
    summary = metrics["summary"]
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    if 0 < truth.sum() < len(truth):
        false_rate, true_rate, _ = roc_curve(truth, [case["probability"] for case in metrics["cases"]])
        axes.plot(false_rate, true_rate, color="tab:red")
        axes.plot(1 - summary["specificity"], summary["sensitivity"], "o", color="black")
        axes.set_title(f"AUROC {summary['auroc']:.3f}, threshold {summary['threshold']:.2f}", fontsize=10)
    else:
        axes.set_title("one class only: no ROC", fontsize=10)
    return figure


def confusion_figure(counts: list[list[int]]) -> Figure:
    """Confusion matrix, rows the truth, columns the decision."""
    figure, axes = _axes("decided", "truth")
    axes.imshow(counts, cmap="Blues")
    darkest = max(max(row) for row in counts)
    for row, values in enumerate(counts):
        for column, value in enumerate(values):
            color = "white" if value > darkest / 2 else "black"
            axes.text(column, row, str(value), ha="center", va="center", color=color)
    names = [finding.value.lower() for finding in Finding]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    return figure


def calibration_figure(metrics: dict[str, Any]) -> Figure:
    """Share of pneumonia against the mean probability of each bin."""
    figure, axes = _axes("probability of pneumonia", "share with pneumonia")
    curve = metrics["calibration"]
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    axes.plot([row["probability"] for row in curve], [row["share"] for row in curve], "o-", color="tab:red")
    for row in curve:
        axes.annotate(
            str(row["images"]),
            (row["probability"], row["share"]),
            xytext=(4, -10),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set_title(f"expected calibration error {metrics['summary']['ece']:.3f}", fontsize=10)
    return figure


def _axes(x_label: str, y_label: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes
