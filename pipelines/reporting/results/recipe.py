"""A training recipe, each step with its value and finding; and searches for settings, the best trials."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipelines.core.errors import expecting
from pipelines.core.files import read_csv
from pipelines.reporting.document import Cell, Document, Language, Section, Table, duration, number
from pipelines.reporting.source import Context, Kind, Source, each
from pipelines.training.checks.case import RECIPE_NAME
from pipelines.training.search import TABLE_NAME


def document(source: Source, context: Context) -> Document:
    """Document of a recipe, whole or as far as it got; the context has the language."""
    words, content, name = context.words, source.content, source.name
    limits = [words("recipe.smoke", name=name)] if content["smoke"] else []
    limits += [] if content["finished"] else [words("recipe.unfinished", name=name)]
    suggestions = [
        words("suggest.step", name=name, step=step["title"], finding=step["finding"])
        for step in content["steps"].values()
        if not step["passed"] and not content["smoke"]
    ]
    return Document("", "", [*_sections(source, words)], limits, suggestions)


OF_EACH: Final = each("recipe.title", document)
KIND: Final = Kind("recipe", RECIPE_NAME, "thorax check-training", "recipe", OF_EACH, is_usual=True)


def _sections(source: Source, words: Language) -> Iterator[Section]:
    content = source.content
    steps: list[tuple[str, dict[str, Any]]] = list(content["steps"].items())
    passed = sum(step["passed"] for _, step in steps)
    rows: list[list[Cell]] = [
        [
            str(index),
            step["title"],
            words("recipe.pass" if step["passed"] else "recipe.fail"),
            number(step["figure"], 3),
            duration(step["seconds"]) if step["seconds"] >= 60 else f"{step['seconds']:.0f} s",
            step["expectation"],
            step["finding"],
        ]
        for index, (_, step) in enumerate(steps)
    ]
    keys = ("recipe.step", "recipe.verdict", "recipe.figure", "training.time", "recipe.expected")
    table = Table(words("recipe.steps"), words.titles("", *keys, "recipe.finding"), rows)
    point = words("recipe.point", network=content["network"], passed=passed, steps=len(steps))
    yield Section(words("recipe.title", name=source.name), [_headline(content)], [point], [table])
    tables = {"sweep": _sweep, "grid": _grid, "long": _rounds}
    for name, step in steps:
        finding, measures = (words.translated(step[key]) for key in ("finding", "measures"))
        yield Section(
            step["title"],
            [f"{finding[0].upper()}{finding[1:]}."],
            [f"{measures}: {number(step['figure'], 4)}", f"expected: {step['expectation']}"],
            [tables[name](step["details"])] if name in tables else [],
            is_detail=True,
        )


def _headline(content: Mapping[str, Any]) -> str:
    failed = [step["title"] for step in content["steps"].values() if not step["passed"]]
    scope = "smoke test" if content["smoke"] else f"{content['minutes']:g} minutes"
    end = "All steps were done" if content["finished"] else "It ended before the last step"
    verdict = f"; failed: {', '.join(failed)}" if failed else "; none failed"
    given = ", ".join(f"{name} {value}" for name, value in content["settings"].items())
    settings = f" Settings other than the bundle's: {given}." if given else ""
    return (
        f"Network {content['network']}, validation on fold {content['fold']}, time limit: {scope}. "
        f"The test set was not used. {end}{verdict}.{settings}"
    )


def _sweep(details: Mapping[str, Any]) -> Table:
    points = details["points"]
    optimizers = list(dict.fromkeys(point["optimizer"] for point in points))
    found = {(point["learning_rate"], point["optimizer"]): point for point in points}
    rows: list[list[Cell]] = [
        [f"{rate:g}", *(_loss(found[rate, optimizer]) for optimizer in optimizers)]
        for rate in dict.fromkeys(point["learning_rate"] for point in points)
    ]
    return Table("Loss by learning rate and optimizer", ["rate", *optimizers], rows)


def _loss(point: Mapping[str, Any]) -> str:
    if point["loss"] is None:
        return "broke down"
    return f"{point['loss']:.3f}{' (rose)' if point['diverged'] else ''}"


def _grid(details: Mapping[str, Any]) -> Table:
    names = ("learning_rate", "weight_decay", "momentum", "batch_size", "epochs")
    rows: list[list[Cell]] = [
        [str(index), *(f"{trial[name]:g}" for name in names), f"{trial['mean_dice']:.3f}"]
        for index, trial in enumerate(details["trials"], start=1)
    ]
    return Table("Trials", ["", "rate", "weight decay", "momentum", "batch", "epochs", "Dice"], rows)


def _rounds(details: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = [
        [
            str(entry["round"]),
            f"{entry['settings']['learning_rate']:g}",
            f"{entry['losses'][0]:.3f}",
            f"{entry['losses'][-1]:.3f}",
            "yes" if entry["stalled"] else "no",
            f"{entry['dice']:.3f}",
        ]
        for entry in details["rounds"]
    ]
    header = ["round", "rate", "loss at first", "at last", "stopped falling", "Dice"]
    return Table("Rounds", header, rows)


MAX_TRIALS: Final = 10


def search_document(source: Source, _: Context) -> Document:
    """Document of a search, in English.

    Raises:
        DataError: If the table of trials cannot be read.
    """
    path = source.folder / TABLE_NAME
    with expecting(f"a search of 'thorax tune' in {source.folder}"):
        rows = read_csv(path)
        header = list(rows[0])
    cells = [[_short(row[name]) for name in header] for row in rows[:MAX_TRIALS]]
    measure = "mean Dice" if "mean_dice" in header else "AUROC"
    caption = f"The {len(cells)} best of {len(rows)} trials, by {measure} on validation"
    table = Table(caption, [name.replace("_", " ") for name in header], cells)
    return Document("", "", [Section(f"Search {source.name}", tables=[table], block="search")])


OF_SEARCH: Final = each("Search {name}", search_document)
SEARCH_KIND: Final = Kind("search", TABLE_NAME, "thorax tune", "recipe", OF_SEARCH)


def _short(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return text
    return text if value.is_integer() and "." not in text else f"{value:.4g}"
