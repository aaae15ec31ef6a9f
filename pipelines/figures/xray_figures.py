"""ROC, confusion matrix and calibration of a classification, as files and in TensorBoard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, roc_curve
from torch.utils.tensorboard import SummaryWriter

from pipelines.datasets.xray_image import Finding
from pipelines.figures.overlay import panels, save_png

SIDE_INCHES: Final = 4.2


def write_figures(metrics: dict[str, Any], folder: Path) -> None:
    """Draw `roc.png`, `confusion.png` and `calibration.png`, and enter them in TensorBoard.

    Args:
        metrics: As from `evaluate_xray`, with `summary`, `calibration` and `cases`.
        folder: Existing folder that takes the files, and `tensorboard/`.

    Raises:
        OutputError: If a file cannot be written.
    """
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name, figure in draw_figures(metrics).items():
            save_png(figure, folder / f"{name}.png")
            writer.add_figure(f"test/{name}", figure)
        for name, value in metrics["summary"].items():
            if isinstance(value, int | float):
                writer.add_scalar(f"test/{name}", value)


def draw_figures(metrics: dict[str, Any]) -> dict[str, Figure]:
    """The three figures by name."""
    confusion, (axes,) = panels(width=SIDE_INCHES, height=SIDE_INCHES)
    draw_confusion(axes, metrics["summary"]["confusion_matrix"], [one.value.lower() for one in Finding])
    return {"roc": roc_figure(metrics), "confusion": confusion, "calibration": calibration_figure(metrics)}


def roc_figure(metrics: dict[str, Any]) -> Figure:
    """ROC curve with the operating point; without a curve where only one class is there."""
    figure, (axes,) = panels(width=SIDE_INCHES, height=SIDE_INCHES)
    truth = np.array([case["finding"] == Finding.PNEUMONIA for case in metrics["cases"]])
    summary = metrics["summary"]
    if 0 < truth.sum() < len(truth):
        scores = [case["probability"] for case in metrics["cases"]]
        false, true, _ = roc_curve(truth, scores)
        shown = RocCurveDisplay(fpr=false, tpr=true, name="Classifier")  # its AUROC stands in the title
        shown.plot(axes, curve_kwargs={"color": "tab:red"}, plot_chance_level=True)
        axes.plot(1 - summary["specificity"], summary["sensitivity"], "o", color="black")
        axes.set_title(f"AUROC {summary['auroc']:.3f}, threshold {summary['threshold']:.2f}", fontsize=10)
    else:
        axes.set_title("one class only: no ROC", fontsize=10)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    return figure


def draw_confusion(axes: Axes, counts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """Confusion matrix in a panel, rows the truth."""
    display = ConfusionMatrixDisplay(np.array(counts), display_labels=list(names))
    display.plot(ax=axes, cmap="Blues", colorbar=False)
    axes.set(xlabel="predicted", ylabel="truth")


def calibration_figure(metrics: dict[str, Any]) -> Figure:
    """Share of pneumonia against the mean probability of each bin."""
    figure, (axes,) = panels(width=SIDE_INCHES, height=SIDE_INCHES)
    curve = metrics["calibration"]
    shares, probabilities = ([row[name] for row in curve] for name in ("share", "probability"))
    scores = [case["probability"] for case in metrics["cases"]]
    display = CalibrationDisplay(np.array(shares), np.array(probabilities), np.array(scores))
    display.plot(ax=axes, color="tab:red")
    for row in curve:
        axes.annotate(
            str(row["images"]),
            (row["probability"], row["share"]),
            xytext=(4, -10),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set_title(f"expected calibration error {metrics['summary']['ece']:.3f}", fontsize=10)
    axes.set(xlabel="probability of pneumonia", ylabel="share with pneumonia")
    return figure
