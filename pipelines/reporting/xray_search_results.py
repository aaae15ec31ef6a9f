"""The page of a search on chest X-rays: its trials, and its best trained in full against the base."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_text
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.evaluation.compare_xray import PairedScore, compare_recipes
from pipelines.evaluation.evaluate_xray import read_cases
from pipelines.reporting.xray_sections import comparison_table, runs_table, search_section
from pipelines.training.run_record import read_run, shown_command

PAGE_NAME: Final = "chest-xray-search.md"
DECISIVE: Final = ("accuracy", "auroc")
"""Scores in which a recipe must be better to be called so."""


def write_xray_search(
    search: Path, runs: Sequence[Path], base: Sequence[Path], tuned: Sequence[Path], output: Path
) -> Path:
    """Write the page of a search.

    Args:
        search: Folder of `thorax tune`.
        runs: Folders of the trainings of both recipes, in the order they were done.
        base: Folders of `thorax evaluate-xray` of the base recipe, one a seed.
        tuned: The same of the search's best.
        output: Folder that takes `chest-xray-search.md`; made if it does not exist.

    Returns:
        Path of the page.

    Raises:
        DataError: If a folder cannot be read, or the evaluations are not of the same images.
        OutputError: If the page cannot be written.
    """
    trials = search_section(search)
    records = [read_run(folder) for folder in runs]
    scores = compare_recipes([read_cases(path) for path in base], [read_cases(path) for path in tuned])
    commands = [_command(search), *(record.command for record in records)]
    commands += [_command(folder) for folder in (*base, *tuned)]
    text = "\n\n".join(
        (
            "# Chest X-rays: a wider search",
            "Made by `thorax results xray-search` from a search, the trainings in full of its best, and the "
            "evaluations of these and of the base recipe on the same test patients. The search chose on "
            "validation; the test was looked at once, for this page.",
            "## The search",
            trials,
            "## Base against the best of the search",
            comparison_table(scores, "best of the search"),
            verdict(scores),
            "## Runs and commands",
            runs_table(records),
            "```text\n" + "\n".join(dict.fromkeys(commands)) + "\n```\n",
        )
    )
    page = output_folder(output) / PAGE_NAME
    write_text(page, text)
    return page


def verdict(scores: Sequence[PairedScore]) -> str:
    """Whether the second recipe beats the first, in a sentence for each decisive score.

    Args:
        scores: As from `compare_recipes`.
    """
    found = {score.name: score for score in scores}
    return " ".join(_sentence(found[name]) for name in DECISIVE)


def _sentence(score: PairedScore) -> str:
    name = {"auroc": "AUROC"}.get(score.name, score.name)
    if score.interval is None:
        return f"Whether the best of the search beats the base in {name} cannot be told."
    low, high = score.interval
    if low > 0:
        return f"The best of the search **beats** the base in {name}."
    if high < 0:
        return f"The base beats the best of the search in {name}."
    how = "is ahead" if score.difference > 0 else "is behind" if score.difference < 0 else "is level"
    return (
        f"In {name} the best of the search {how} on average, but **does not beat** the base beyond chance: "
        "the interval holds zero."
    )


def _command(folder: Path) -> str:
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        return shown_command(manifest["command"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected the manifest of a command in {folder}, found {error!r}") from error
