"""What quality scores and disease groups add to a report."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.reporting.html import Table
from pipelines.reporting.language import Language
from pipelines.reporting.report.parts import Part, Source, estimate_text, figure_text, interval_text

MODELS: Final[tuple[str, ...]] = ("quick", "thorough")
IMAGES: Final[tuple[str, ...]] = ("clean", "faulty", "all")
FIGURES: Final = ("pearson", "spearman", "mae", "auroc", "sensitivity", "specificity")

ASKED: Final = 0.7
"""Correlation with the true Dice on unseen patients that is asked of a quality score."""

SEVERAL: Final = 2
"""Patients from which a confusion of two groups is spoken of."""

MOST_FEATURES: Final = 8
"""Features of the disease group that are listed."""


def fit_part(source: Source, words: Language, pictures: Path) -> Part:
    """A quality score as fitted, measured by cross-validation.

    Args:
        source: Folder of `thorax fit-quality`.
        words: Language.
        pictures: Not used: it has figures only.
    """
    del pictures
    content = source.content
    models = {name: content[name]["cross_validation"] for name in MODELS if name in content}
    return Part(
        title=words("quality.fit_title", name=source.name),
        points=[_lead(content, words)],
        tables=[_table(models, words)],
    )


def quality_part(source: Source, words: Language, pictures: Path) -> Part:
    """A quality score on patients that its fit has not seen.

    Args:
        source: Folder of `thorax evaluate-quality`.
        words: Language.
        pictures: Not used: it has figures only.
    """
    del pictures
    content = source.content
    models = {name: content[name] for name in MODELS if name in content}
    low = {
        name: model["clean"]["pearson"]["value"]
        for name, model in models.items()
        if (model["clean"]["pearson"]["value"] or 0.0) < ASKED
    }
    return Part(
        title=words("quality.title", name=source.name),
        points=[_lead(content, words)],
        tables=[_table(models, words)],
        suggestions=[
            words("suggest.quality", model=words(f"quality.{name}"), value=figure_text(value, 2), asked=ASKED)
            for name, value in low.items()
        ],
    )


def disease_part(source: Source, words: Language, pictures: Path) -> Part:
    """How well the disease group follows from the segmentation.

    Args:
        source: Folder of `thorax disease`.
        words: Language.
        pictures: Not used: it has figures only.
    """
    del pictures
    content = source.content
    measured = dict(_measured(content, words))
    rows = [
        [
            name,
            figures["patients"],
            figures["right"],
            figure_text(figures["accuracy"], 3),
            interval_text(figures["interval"], 2, words),
        ]
        for name, figures in measured.items()
    ]
    header = [words("table.part"), words("table.patients"), words("disease.right")]
    importance = content["cross_validation"]["importance"][:MOST_FEATURES]
    tables = [
        Table(words("disease.table"), [*header, words("disease.accuracy"), words("table.interval")], rows),
        *(
            Table(
                words("disease.confusion", part=name),
                [words("disease.true"), *figures["groups"]],
                [
                    [group, *counts]
                    for group, counts in zip(figures["groups"], figures["confusion"], strict=True)
                ],
            )
            for name, figures in measured.items()
        ),
        Table(
            words("disease.features"),
            [words("data.feature"), words("disease.loss"), "SD"],
            [[row["feature"], f"{row['mean']:.3f}", f"{row['std']:.3f}"] for row in importance],
        ),
    ]
    return Part(
        title=words("disease.title", name=source.name),
        points=[
            words(
                "disease.point",
                part=name,
                accuracy=estimate_text(figures["accuracy"], figures["interval"], 2, words),
                patients=figures["patients"],
            )
            for name, figures in measured.items()
        ],
        tables=tables,
        limits=[words("disease.limit")],
        suggestions=list(_confused(measured, words)),
    )


def _lead(content: Mapping[str, Any], words: Language) -> str:
    return words(
        "quality.point",
        network=content["network"],
        images=content["images"],
        patients=len(content["patients"]),
        section=content["section"],
    )


def _table(models: Mapping[str, Mapping[str, Any]], words: Language) -> Table:
    rows = [
        [
            words("quality.row", model=words(f"quality.{name}"), images=words(f"quality.{images}")),
            figures[images]["images"],
            *(
                estimate_text(figures[images][figure]["value"], figures[images][figure]["interval"], 2, words)
                for figure in FIGURES
            ),
        ]
        for name, figures in models.items()
        for images in IMAGES
        if images in figures
    ]
    header = [words("quality.of"), words("quality.images")]
    return Table(words("quality.table"), [*header, *(words(f"quality.{name}") for name in FIGURES)], rows)


def _measured(content: Mapping[str, Any], words: Language) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in ("cross_validation", "hold_out"):
        for masks in ("truth", "masks"):
            figures = (content[part] or {}).get(masks)
            if figures:
                yield words(f"disease.{part}_{masks}"), figures


def _confused(measured: Mapping[str, Mapping[str, Any]], words: Language) -> Iterator[str]:
    """The two groups that are taken for each other most, of each measurement."""
    for name, figures in measured.items():
        groups = figures["groups"]
        wrong = {
            (groups[row], groups[column]): count
            for row, counts in enumerate(figures["confusion"])
            for column, count in enumerate(counts)
            if row != column and count >= SEVERAL
        }
        if wrong:
            true, taken = max(wrong, key=wrong.__getitem__)
            yield words("suggest.disease", part=name, true=true, taken=taken, count=wrong[true, taken])
