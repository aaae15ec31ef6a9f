"""The page of a training recipe: each step with its figure, what was expected and what it means."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.core.files import output_folder, write_text
from pipelines.reporting.markdown import duration, markdown_table, number
from pipelines.reporting.measured import page_of_measured
from pipelines.training.checks.record import RECIPE_NAME

PAGE_NAME: Final = "recipe.md"


def write_recipe_results(recipe: Path, output: Path) -> Path:
    """Write the page of a recipe.

    Args:
        recipe: Folder of `thorax recipe`.
        output: Folder that takes `recipe.md`; made if it does not exist.

    Returns:
        Path of the page.

    Raises:
        DataError: If there is no `recipe.json` of this version.
        OutputError: If the page cannot be written.
    """
    _, text = page_of_measured(recipe / RECIPE_NAME, "thorax recipe", recipe_page)
    page = output_folder(output) / PAGE_NAME
    write_text(page, text)
    return page


def recipe_page(content: Mapping[str, Any]) -> str:
    """Markdown page of a recipe, whole or as far as it got.

    Args:
        content: Content of `recipe.json`.
    """
    steps: Mapping[str, Mapping[str, Any]] = content["steps"]
    rows = [
        [
            str(index),
            step["title"],
            "pass" if step["passed"] else "**fail**",
            number(step["figure"], 3),
            duration(step["seconds"]) if step["seconds"] >= 60 else f"{step['seconds']:.0f} s",
        ]
        for index, step in enumerate(steps.values())
    ]
    sections = [line for name, step in steps.items() for line in _section(name, step)]
    return "\n".join(
        [
            "# The training recipe",
            "",
            "Made from what `thorax recipe` found; the test section was not looked at.",
            "",
            _headline(content),
            "",
            markdown_table(("", "step", "verdict", "figure", "time"), rows),
            "",
            *sections,
        ]
    )


def _headline(content: Mapping[str, Any]) -> str:
    failed = [step["title"] for step in content["steps"].values() if not step["passed"]]
    scope = (
        "smoke test, whose figures mean nothing" if content["smoke"] else f"{content['minutes']:g} minutes"
    )
    end = "All steps were done" if content["finished"] else "It ended before the last step"
    verdict = f"; failed: {', '.join(failed)}" if failed else "; none failed"
    given = ", ".join(f"{name} {value}" for name, value in content["settings"].items())
    settings = f" Settings other than the bundle's: {given}." if given else ""
    return (
        f"Network {content['network']}, validation on fold {content['fold']}, time asked for: {scope}. "
        f"{end}{verdict}.{settings}"
    )


def _section(name: str, step: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {step['title']}"
    yield ""
    yield f"{step['finding'][0].upper()}{step['finding'][1:]}."
    yield ""
    yield f"- {step['measures']}: {number(step['figure'], 4)}"
    yield f"- expected: {step['expectation']}"
    yield ""
    tables = {"sweep": _sweep, "grid": _grid, "long": _rounds}
    if name in tables:
        yield from tables[name](step["details"])
        yield ""


def _sweep(details: Mapping[str, Any]) -> Iterator[str]:
    points = details["points"]
    optimizers = list(dict.fromkeys(point["optimizer"] for point in points))
    loss = {(point["learning_rate"], point["optimizer"]): point for point in points}
    rows = [
        [f"{rate:g}", *(_loss(loss[rate, optimizer]) for optimizer in optimizers)]
        for rate in dict.fromkeys(point["learning_rate"] for point in points)
    ]
    yield markdown_table(("rate", *optimizers), rows)


def _loss(point: Mapping[str, Any]) -> str:
    if point["loss"] is None:
        return "broke down"
    return f"{point['loss']:.3f}{' (rose)' if point['diverged'] else ''}"


def _grid(details: Mapping[str, Any]) -> Iterator[str]:
    names = ("learning_rate", "weight_decay", "momentum", "batch_size", "epochs")
    rows = [
        [str(index), *(f"{trial[name]:g}" for name in names), f"{trial['mean_dice']:.3f}"]
        for index, trial in enumerate(details["trials"], start=1)
    ]
    yield markdown_table(("", "rate", "weight decay", "momentum", "batch", "epochs", "Dice"), rows)


def _rounds(details: Mapping[str, Any]) -> Iterator[str]:
    rows = [
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
    header = ("round", "rate", "loss at first", "at last", "stopped falling", "Dice")
    yield markdown_table(header, rows)
