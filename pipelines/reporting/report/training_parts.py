"""What trainings and recipes add to a report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.models.bundle import NETWORKS
from pipelines.reporting.html import Picture, Table
from pipelines.reporting.language import Language
from pipelines.reporting.markdown import duration
from pipelines.reporting.report.parts import Part, Source, figure_text
from pipelines.training.history import history_figure
from pipelines.training.monitor import HISTORY_NAME
from pipelines.training.run_record import RunRecord, read_run

FALL: Final = 0.01
"""Fall of validation Dice after its best from which a report speaks of it."""


def training_part(source: Source, words: Language, pictures: Path) -> Part:
    """How a training went.

    Args:
        source: Folder of `thorax train` with a network of the ACDC bundle.
        words: Language.
        pictures: Folder that takes the curves.

    Raises:
        DataError: If the run is damaged, or its network is none that segments hearts.
    """
    run = read_run(source.folder)
    if run.network not in NETWORKS:
        raise DataError(
            f"expected a run of one of {', '.join(NETWORKS)}, found {run.network} in {source.folder}; "
            "'thorax results' writes the pages of the other networks"
        )
    curves = pictures / "curves.png"
    history_figure(source.folder / HISTORY_NAME, curves)
    return Part(
        title=words("training.title", name=run.name),
        points=_points(run, words),
        tables=[
            Table(
                words("training.facts"),
                [words("table.fact"), words("table.value")],
                list(_facts(run, source, words)),
            )
        ],
        pictures=[Picture(curves, words("training.curves_alt"), words("training.curves", name=run.name))],
        listing=run.command,
        limits=[words("training.all_patients", name=run.name)] if run.all_patients else [],
        suggestions=list(_suggestions(run, words)),
    )


def recipe_part(source: Source, words: Language, pictures: Path) -> Part:
    """What the steps of a recipe found.

    Args:
        source: Folder of `thorax recipe`.
        words: Language.
        pictures: Not used: the recipe has figures only.
    """
    del pictures
    content = source.content
    steps: list[dict[str, Any]] = list(content["steps"].values())
    failed = [step for step in steps if not step["passed"]]
    rows = [
        [
            step["title"],
            words("recipe.pass" if step["passed"] else "recipe.fail"),
            figure_text(step["figure"], 3),
            step["expectation"],
            step["finding"],
        ]
        for step in steps
    ]
    header = ["recipe.step", "recipe.verdict", "recipe.figure", "recipe.expected", "recipe.finding"]
    limits = [words("recipe.smoke", name=source.name)] if content["smoke"] else []
    if not content["finished"]:
        limits.append(words("recipe.unfinished", name=source.name))
    return Part(
        title=words("recipe.title", name=source.name),
        points=[
            words(
                "recipe.point", network=content["network"], passed=len(steps) - len(failed), steps=len(steps)
            )
        ],
        tables=[Table(words("recipe.steps"), [words(key) for key in header], rows)],
        limits=limits,
        suggestions=[
            words("suggest.step", name=source.name, step=step["title"], finding=step["finding"])
            for step in failed
            if not content["smoke"]
        ],
    )


def _points(run: RunRecord, words: Language) -> list[str]:
    if run.all_patients or run.best("val_mean_dice") is None:
        return [words("training.point", network=run.network, epochs=run.epochs)]
    best = figure_text(run.best("val_mean_dice"), 3)
    return [words("training.point_dice", network=run.network, epochs=run.epochs, dice=best)]


def _facts(run: RunRecord, source: Source, words: Language) -> Iterator[tuple[str, str]]:
    manifest = source.manifest
    yield words("table.network"), run.network
    fold = words("training.fold_all") if run.all_patients else words("training.fold", fold=run.fold)
    yield words("training.data"), fold
    yield words("training.epochs"), str(run.epochs)
    yield words("training.samples"), f"{run.samples:,}"
    if run.seconds is not None:
        yield words("training.time"), duration(run.seconds)
    yield words("training.threads"), f"{run.threads}, {manifest.get('device', 'cpu')}, {run.precision}"
    if not run.all_patients:
        yield words("training.best"), figure_text(run.best("val_mean_dice"), 3)
        yield words("training.last_loss"), figure_text(run.last("val_dice_loss"), 3)
    for key in ("seed", "split_hash", "fingerprint"):
        if manifest.get(key) is not None:
            yield words(f"training.{key}"), str(manifest[key])


def _suggestions(run: RunRecord, words: Language) -> Iterator[str]:
    best, last = run.best("val_mean_dice"), run.last("val_mean_dice")
    _, values = run.history.get("val_mean_dice", ([], []))
    if run.all_patients or best is None or last is None or len(values) < 2:
        return
    if last == best:
        yield words("suggest.longer", name=run.name, dice=figure_text(best, 3))
    elif best - last >= FALL:
        yield words("suggest.fell", name=run.name, best=figure_text(best, 3), last=figure_text(last, 3))
