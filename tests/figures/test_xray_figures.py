from pipelines.datasets.xray_image import Finding
from pipelines.figures.xray_figures import roc_figure

FOUND = [("NORMAL", 0.1), ("NORMAL", 0.6), ("PNEUMONIA", 0.5), ("PNEUMONIA", 0.9)]


def test_the_roc_curve_has_its_area_once_with_three_digits() -> None:
    cases = [{"finding": Finding(name), "probability": value} for name, value in FOUND]
    summary = {"auroc": 0.997, "threshold": 0.5, "sensitivity": 1.0, "specificity": 0.5}
    (axes,) = roc_figure({"cases": cases, "summary": summary}).axes
    assert axes.get_title() == "AUROC 0.997, threshold 0.50"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["Classifier", "Chance level (AUC = 0.5)"]
