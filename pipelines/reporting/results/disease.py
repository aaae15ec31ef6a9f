"""The disease group from the segmentation: accuracy, confusion, and the features that decide."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.disease.study import CONTENT_NAME
from pipelines.figures.overlay import panels, save_png
from pipelines.figures.xray_figures import draw_confusion
from pipelines.reporting.document import (
    DEFAULT,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    estimate,
    interval,
    number,
    read_language,
)
from pipelines.reporting.source import Context, Kind, Source, each

Content = Mapping[str, Any]

MAX_FEATURES: Final = 12
SEVERAL: Final = 2
"""Patients from which a confusion of two groups is named."""

METHOD: Final = (
    "The classifier, the mean of a logistic regression and a random forest, is fitted on true label maps "
    "and, where there are some, on predicted masks of the same patients. Cross-validation is over "
    "patients; the test set is measured once by the classifier of all other patients. Intervals are "
    "Wilson's. Entries of the ACDC challenge had an accuracy of 0.92 to 0.96 on its 50 test patients, "
    "after training on 100 (Bernard et al., doi:10.1109/TMI.2018.2837502). For research: this is no "
    "diagnosis."
)
IMPORTANCE: Final = (
    "Loss of accuracy on unseen folds when one feature is shuffled. Features that measure the same share "
    "their weight, so a small loss does not mean that a measure is of no use."
)


def document(source: Source, context: Context) -> Document:
    """Document of a study of the disease group; the context has the language and the folder for plots."""
    suggestions = [*_confused(_measured(source.content, context.words), context.words)]
    limits = [context.words("disease.limit")]
    return Document("", "", [*_sections(source, context)], limits, suggestions)


KIND: Final = Kind(
    "disease",
    CONTENT_NAME,
    "thorax disease",
    "results",
    each("disease.title", document),
    is_usual=True,
)


def accuracy_table(content: Content, words: Language | None = None) -> Table:
    """Accuracy of each measurement.

    Args:
        content: Of `disease.json`.
        words: Language; English without it.
    """
    words = words or read_language(DEFAULT)
    rows: list[list[Cell]] = [
        [
            name,
            found["patients"],
            found["right"],
            number(found["accuracy"], 3),
            interval(found["interval"], 2, words),
        ]
        for name, found in _measured(content, words).items()
    ]
    keys = ("table.part", "table.patients", "disease.right", "disease.accuracy", "table.interval")
    return Table(words("disease.table"), words.titles(*keys), rows)


def _sections(source: Source, context: Context) -> Iterator[Section]:
    content, words = source.content, context.words
    measured = _measured(content, words)
    inner, problems = content["cross_validation"], content["problems"]
    skipped = [f"skipped {one['patient']}: {one['reason']}" for one in problems if one["source"] == "truth"]
    without = sum(one["source"] == "masks" for one in problems)
    if without:
        skipped.append(f"{without} patients had no predicted masks of ED and ES that could be measured.")
    points = [
        words(
            "disease.point",
            part=name,
            accuracy=estimate(found["accuracy"], found["interval"], 2, words),
            patients=found["patients"],
        )
        for name, found in measured.items()
    ]
    confusions = [
        Table(
            words("disease.confusion", part=name),
            [words("disease.true"), *found["groups"]],
            [[group, *counts] for group, counts in zip(found["groups"], found["confusion"], strict=True)],
        )
        for name, found in measured.items()
    ]
    plot = _confusion_plot(content, context.picture("confusion"))
    yield Section(
        words("disease.title", name=source.name),
        [METHOD],
        [*points, *skipped],
        [accuracy_table(content, words), *confusions],
        [Picture(plot, words("disease.confusions"), words("disease.confusions"))],
    )
    rows: list[list[Cell]] = [
        [f"`{row['feature']}`", f"{row['mean']:.3f}", f"{row['std']:.3f}"]
        for row in inner["importance"][:MAX_FEATURES]
    ]
    table = Table(words("disease.features"), [words("data.feature"), words("disease.loss"), "SD"], rows)
    plot = _importance_plot(content, context.picture("importance"))
    picture = Picture(plot, words("disease.features"), words("disease.features"))
    yield Section(words("disease.features"), [IMPORTANCE], tables=[table], pictures=[picture])


def _measured(content: Content, words: Language) -> dict[str, Content]:
    return {
        words(f"disease.{part}_{masks}"): found
        for part in ("cross_validation", "hold_out")
        for masks in ("truth", "masks")
        if (found := (content[part] or {}).get(masks))
    }


def _confused(measured: Mapping[str, Content], words: Language) -> Iterator[str]:
    """The two groups that are taken for each other most, of each measurement."""
    for name, found in measured.items():
        groups = found["groups"]
        wrong = {
            (groups[row], groups[column]): count
            for row, counts in enumerate(found["confusion"])
            for column, count in enumerate(counts)
            if row != column and count >= SEVERAL
        }
        if wrong:
            true, taken = max(wrong, key=wrong.__getitem__)
            yield words("suggest.disease", part=name, true=true, taken=taken, count=wrong[true, taken])


def _confusion_plot(content: Content, path: Path) -> Path:
    measured = _measured(content, read_language(DEFAULT))
    figure, grid = panels(len(measured), width=3.4, height=3.7)
    for axes, (name, found) in zip(grid, measured.items(), strict=True):
        draw_confusion(axes, found["confusion"], found["groups"])
        axes.set_title(name, fontsize=9)
    return save_png(figure, path)


def _importance_plot(content: Content, path: Path) -> Path:
    rows = content["cross_validation"]["importance"][:MAX_FEATURES][::-1]
    figure, (axes,) = panels(width=6.4, height=0.32 * len(rows) + 1)
    names, means, spreads = ([row[key] for row in rows] for key in ("feature", "mean", "std"))
    axes.barh(names, means, xerr=spreads, color="tab:blue", ecolor="0.6")
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_xlabel("loss of accuracy when shuffled")
    return save_png(figure, path)
