"""A cross-validation: each patient measured by a network that was not trained on it."""

from collections.abc import Sequence
from typing import Final

from pipelines.evaluation.comparison import STRUCTURES
from pipelines.reporting.document import Cell, Document, Language, Section, Table, duration, estimate, number
from pipelines.reporting.results.comparison import Content, parts_table, values_table
from pipelines.reporting.results.evaluation import TITLES
from pipelines.reporting.source import Context, Kind, Source
from pipelines.training.cross_validation import CONTENT_NAME

FOLD_SPREAD: Final = 0.01
"""Standard deviation of mean Dice between folds from which a report warns of it."""

MEASURED: Final = {
    "last": "The end of each run is measured: nothing was chosen by the patients that are measured.",
    "best": "The best validation of each run is measured. The measured patients chose it, so the values "
    "are too good.",
}


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of cross-validations.

    Args:
        sources: Folders of `thorax cross-validate` whose folds are all there.
        context: Language.
    """
    words = context.words
    sections, limits, suggestions = [], [], []
    for source in sources:
        content, spread = source.content, source.content["fold_sd"]["mean"]
        sections += _sections(source, words)
        limits.append(words("folds.limit", name=source.name))
        if spread is not None and spread >= FOLD_SPREAD:
            suggestions.append(words("suggest.folds", name=source.name, spread=number(spread, 3)))
        if content["problems"]:
            limits.append(words("evaluation.aside", name=source.name, volumes=len(content["problems"])))
    title = words("folds.title", name=", ".join(source.name for source in sources))
    return Document(title, "", sections, limits, suggestions)


KIND: Final = Kind("folds", CONTENT_NAME, "thorax cross-validate", "results", document, is_usual=True)


def _sections(source: Source, words: Language) -> list[Section]:
    content = source.content
    title = TITLES.get(content["network"], content["network"])
    alone = {"models": {title: content}, "patients": content["patients"]}
    settings = ", ".join(f"`{name}={value}`" for name, value in content["settings"].items())
    problems = [f"skipped {one['patient']}: {one['reason']}" for one in content["problems"]]
    dice, intervals = content["summary"]["dice"]["mean"], content["intervals"]["dice"]["mean"]
    point = words(
        "folds.point",
        network=title,
        patients=content["summary"]["patients"],
        dice=estimate(dice, intervals, 3, words),
        spread=number(content["fold_sd"]["mean"], 3),
    )
    details = [values_table(alone, words), parts_table(alone, "by_phase"), parts_table(alone, "by_group")]
    return [
        Section(
            words("folds.title", name=source.name),
            [
                f"{MEASURED[content['weights']]} Settings: the bundle's own"
                f"{' but ' + settings if settings else ''}."
            ],
            [point, *problems],
            [_folds(content, words)],
        ),
        Section(words("folds.details", name=source.name), tables=details, is_detail=True),
    ]


def _folds(content: Content, words: Language) -> Table:
    rows: list[list[Cell]] = [
        [
            str(fold["fold"]),
            fold["patients"],
            *(number(fold["dice"][name], 3) for name in STRUCTURES),
            number(fold["ef_lv_mae"], 1),
            str(fold["epochs"]),
            duration(fold["seconds"]),
        ]
        for fold in content["folds"]
    ]
    spread = [number(content["fold_sd"][name], 3) for name in STRUCTURES]
    rows.append([words("folds.spread"), None, *spread, None, None, None])
    header = [words("folds.fold"), words("table.patients")]
    header += [words("table.dice_of", structure=words.name("structure", name)) for name in STRUCTURES]
    header += [words("table.ef_error"), words("training.epochs"), words("training.time")]
    return Table(words("folds.table"), header, rows)
