"""A cross-validation: each patient measured by a network that was not trained on it."""

from typing import Final

from pipelines.evaluation.comparison import STRUCTURES
from pipelines.reporting.document import Cell, Document, Language, Section, Table, duration, estimate, number
from pipelines.reporting.results.comparison import Content, parts_table, values_table
from pipelines.reporting.results.evaluation import TITLES, dice_titles
from pipelines.reporting.source import Context, Kind, Source, each
from pipelines.training.cross_validation import CONTENT_NAME

FOLD_SPREAD: Final = 0.01
"""Standard deviation of mean Dice between folds from which a report warns of it."""

MEASURED: Final = {
    "last": "The end of each run is measured: nothing was chosen by the patients that are measured.",
    "best": "The best validation of each run is measured. The measured patients chose it, so the values "
    "are too good.",
}


def document(source: Source, context: Context) -> Document:
    """Document of a cross-validation whose folds are all there; the context has the language."""
    words, name, content = context.words, source.name, source.content
    spread, problems = content["fold_sd"]["mean"], content["problems"]
    limits = [words("folds.limit", name=name)]
    limits += [words("evaluation.aside", name=name, volumes=len(problems))] if problems else []
    is_wide = spread is not None and spread >= FOLD_SPREAD
    suggestions = [words("suggest.folds", name=name, spread=number(spread, 3))] if is_wide else []
    return Document("", "", _sections(source, words), limits, suggestions)


KIND: Final = Kind(
    "folds",
    CONTENT_NAME,
    "thorax cross-validate",
    "results",
    each("folds.title", document),
    is_usual=True,
)


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
    header = words.titles("folds.fold", "table.patients")
    header += dice_titles(words, STRUCTURES)
    header += words.titles("table.ef_error", "training.epochs", "training.time")
    return Table(words("folds.table"), header, rows)
