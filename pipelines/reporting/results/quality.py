"""Quality scores: how well they predict the Dice of a mask without its label."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.figures.overlay import panels, save_png
from pipelines.quality.model import FLAGGED_BELOW
from pipelines.quality.study import EVALUATION_NAME, FIT_NAME, KINDS
from pipelines.reporting.document import (
    DEFAULT,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    estimate,
    number,
    read_language,
)
from pipelines.reporting.source import Context, Kind, Source, each

Content = Mapping[str, Any]

IMAGES: Final = ("clean", "faulty", "all")
VALUES: Final = ("pearson", "spearman", "mae", "auroc", "sensitivity", "specificity")

TARGET: Final = 0.7
"""Correlation with the true Dice on unseen patients that a quality score should reach."""


def fit_document(source: Source, context: Context) -> Document:
    """Document of quality scores as fitted, measured by cross-validation; the context has the language."""
    words, content = context.words, source.content
    points = [_lead(content, words), f"Second network: {content.get('partner') or 'none'}."]
    for kind in _kinds(content):
        fitted = content[kind]
        points.append(
            f"{words(f'quality.{kind}')}: {', '.join(fitted['features'])}; "
            f"flag below {fitted['threshold']:.3f}."
        )
    title = words("quality.fit_title", name=source.name)
    return Document("", "", [Section(title, points=points, tables=[quality_table(content, words)])])


def document(source: Source, context: Context) -> Document:
    """Document of quality scores on unseen patients; the context has language and folder for the plot."""
    words, content = context.words, source.content
    plot = _plot(content, context.picture("predicted"))
    section = Section(
        words("quality.title", name=source.name),
        [
            "Models were fitted on other patients. Some images have a fault put "
            "in: noise, blur, uneven or wrong contrast, ringing, ghosts, moved or lost slices, a "
            f"void. Bad is a true mean Dice below {FLAGGED_BELOW}; intervals are 95%, bootstrap "
            "over patients."
        ],
        [_lead(content, words), *_verdicts(content)],
        [quality_table(content, words)],
        [Picture(plot, words("quality.plot"), words("quality.plot"))],
    )
    suggestions = []
    for kind in _kinds(content):
        value = content[kind]["clean"]["pearson"]["value"]
        if (value or 0.0) < TARGET:
            model, shown = words(f"quality.{kind}"), number(value, 2)
            suggestions.append(words("suggest.quality", model=model, value=shown, asked=TARGET))
    return Document("", "", [section], (), suggestions)


FIT: Final = each("quality.fit_title", fit_document)
FIT_KIND: Final = Kind("fit", FIT_NAME, "thorax quality fit", "results", FIT, is_usual=True)
MEASURED: Final = each("quality.title", document)
KIND: Final = Kind("quality", EVALUATION_NAME, "thorax quality evaluate", "results", MEASURED, is_usual=True)


def quality_table(content: Content, words: Language | None = None) -> Table:
    """Correlations and the flag, a row for each model and kind of images.

    Args:
        content: Of `fit.json` or `quality_evaluation.json`.
        words: Language; English without it.
    """
    words = words or read_language(DEFAULT)
    rows: list[list[Cell]] = []
    for kind in _kinds(content):
        found = content[kind].get("cross_validation", content[kind])
        for images in IMAGES:
            if images in found:
                part = found[images]
                title = words(
                    "quality.row", model=words(f"quality.{kind}"), images=words(f"quality.{images}")
                )
                values = (estimate(part[name]["value"], part[name]["interval"], 2, words) for name in VALUES)
                rows.append([title, part["images"], part["bad"], *values])
    keys = ("of", "images", "bad", *VALUES)
    return Table(words("quality.table"), [words(f"quality.{key}") for key in keys], rows)


def _kinds(content: Content) -> list[str]:
    return [str(kind) for kind in KINDS if kind in content]


def _lead(content: Content, words: Language) -> str:
    return words(
        "quality.point",
        network=content["network"],
        images=content["images"],
        patients=len(content["patients"]),
        section=content["section"],
    )


def _verdicts(content: Content) -> Iterator[str]:
    for kind in _kinds(content):
        for part, words in (("clean", "as acquired"), ("all", "of both kinds together")):
            if part in content[kind]:
                value = content[kind][part]["pearson"]["value"]
                reached = "reaches" if value is not None and value >= TARGET else "does not reach"
                yield (
                    f"The {kind} model {reached} a correlation of {TARGET} on images {words}: "
                    f"{number(value, 2)}."
                )


def _plot(content: Content, path: Path) -> Path:
    kinds = _kinds(content)
    figure, grid = panels(len(kinds), width=4.4, height=4.3)
    for axes, kind in zip(grid, kinds, strict=True):
        found = content[kind]
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        for is_clean, color, label in (
            (False, "tab:orange", "with a fault"),
            (True, "tab:blue", "as acquired"),
        ):
            points = [point for point in found["predictions"] if (point["fault"] == "none") == is_clean]
            predicted, true = ([point[name] for point in points] for name in ("predicted", "dice"))
            axes.scatter(predicted, true, s=16, color=color, label=label, alpha=0.8)
        axes.axvline(found["threshold"], color="tab:red", linestyle=":", linewidth=1)
        axes.axhline(FLAGGED_BELOW, color="0.5", linestyle=":", linewidth=1)
        axes.set_title(f"{content['network']}, {kind}", fontsize=10)
        axes.set(
            xlabel="predicted mean Dice", ylabel="true mean Dice", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
        )
        axes.legend(fontsize=8, loc="upper left")
    return save_png(figure, path)
