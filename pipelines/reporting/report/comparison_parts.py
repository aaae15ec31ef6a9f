"""What comparisons of models, cross-validations and tables of datasets add to a report."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.reporting.html import Cell, Picture, Table
from pipelines.reporting.language import Language
from pipelines.reporting.markdown import duration, p_text
from pipelines.reporting.report.bars import bar_chart
from pipelines.reporting.report.parts import (
    Part,
    Source,
    estimate_text,
    figure_text,
    interval_text,
)

STRUCTURES: Final = tuple(LABEL_NAMES[label] for label in FOREGROUND)

ALPHA: Final = 0.05
"""Corrected p-value below which a difference is called one."""

FOLD_SPREAD: Final = 0.01
"""Standard deviation of mean Dice between folds from which a report speaks of it."""

DATASET_GAP: Final = 0.05
"""Loss of mean Dice from a model's best dataset to its worst from which a report speaks of it."""


def comparison_part(source: Source, words: Language, pictures: Path) -> Part:
    """Several models on the same patients.

    Args:
        source: Folder of `thorax compare`.
        words: Language.
        pictures: Folder that takes the chart.
    """
    content = source.content
    models: Mapping[str, Mapping[str, Any]] = content["models"]
    pairs = [pair for pair in content["pairs"] if (pair["figure"], pair["structure"]) == ("dice", "mean")]
    clear = [pair for pair in pairs if pair["p_holm"] is not None and pair["p_holm"] < ALPHA]
    plot = source.folder / "comparison.png"
    shown: list[Picture] = [
        bar_chart(
            pictures / "models.png",
            [name.upper() for name in STRUCTURES],
            [(name, [model["summary"]["dice"][key] for key in STRUCTURES]) for name, model in models.items()],
            caption=words("comparison.chart"),
            alt=words("comparison.chart_alt"),
        )
    ]
    if plot.is_file():
        shown.append(Picture(plot, words("comparison.plot_alt"), words("comparison.plot")))
    return Part(
        title=words("comparison.title", name=source.name),
        points=[
            words("comparison.lead", models=len(models), patients=len(content["patients"])),
            words("comparison.point", clear=len(clear), pairs=len(pairs), alpha=ALPHA),
        ],
        tables=[_models_table(models, words), _pairs_table(pairs, words)],
        pictures=shown,
        limits=[words("comparison.not_shown", name=source.name)] if len(clear) < len(pairs) else [],
        suggestions=[_choice(models, pairs, words)],
    )


def folds_part(source: Source, words: Language, pictures: Path) -> Part:
    """A cross-validation: each patient measured by a network that did not learn from it.

    Args:
        source: Folder of `thorax cross-validate`.
        words: Language.
        pictures: Not used: the figures stand in the table.
    """
    del pictures
    content = source.content
    dice, intervals, spread = content["summary"]["dice"], content["intervals"]["dice"], content["fold_sd"]
    rows: list[list[Cell]] = [
        [
            str(fold["fold"]),
            fold["patients"],
            *(figure_text(fold["dice"][name], 3) for name in (*STRUCTURES, "mean")),
            figure_text(fold["ef_lv_mae"], 1),
            duration(fold["seconds"]) if fold["seconds"] else None,
        ]
        for fold in content["folds"]
    ]
    header = [words("folds.fold"), words("table.patients")]
    header += [
        words("table.dice_of", structure=words.name("structure", name)) for name in (*STRUCTURES, "mean")
    ]
    header += [words("table.ef_error"), words("training.time")]
    unsteady = spread["mean"] is not None and spread["mean"] >= FOLD_SPREAD
    return Part(
        title=words("folds.title", name=source.name),
        points=[
            words(
                "folds.point",
                network=content["network"],
                patients=content["summary"]["patients"],
                dice=estimate_text(dice["mean"], intervals["mean"], 3, words),
                spread=figure_text(spread["mean"], 3),
            )
        ],
        tables=[Table(words("folds.table"), header, rows)],
        limits=[words("folds.limit", name=source.name)],
        suggestions=[words("suggest.folds", name=source.name, spread=figure_text(spread["mean"], 3))]
        if unsteady
        else [],
    )


def cross_dataset_part(source: Source, words: Language, pictures: Path) -> Part:
    """Every model on every dataset.

    Args:
        source: Folder of `thorax cross-evaluate`.
        words: Language.
        pictures: Not used: the figures stand in the table.
    """
    del pictures
    content = source.content
    cells = {(cell["model"], cell["dataset"]): cell for cell in content["cells"]}
    models = [model["name"] for model in content["models"]]
    datasets = [dataset["name"] for dataset in content["datasets"]]
    rows = [[model, *(_cell(cells[model, dataset], words) for dataset in datasets)] for model in models]
    failed = [cell for cell in content["cells"] if cell["error"]]
    return Part(
        title=words("cross.title", name=source.name),
        points=[words("cross.point", models=len(models), datasets=len(datasets), failed=len(failed))],
        tables=[Table(words("cross.table"), [words("table.model"), *datasets], rows)],
        limits=[
            words("cross.failed", model=cell["model"], dataset=cell["dataset"], error=cell["error"])
            for cell in failed
        ],
        suggestions=list(_gaps(models, content["cells"], words)),
    )


def _models_table(models: Mapping[str, Mapping[str, Any]], words: Language) -> Table:
    header = [words("table.model"), words("table.dice"), "HD95 mm", words("table.ef_error")]
    rows: list[list[Cell]] = []
    for name, model in models.items():
        summary, cost = model["summary"], model.get("cost", {})
        parameters = cost.get("parameters")
        rows.append(
            [
                name,
                estimate_text(summary["dice"]["mean"], model["intervals"]["dice"]["mean"], 3, words),
                figure_text(summary["hd95_mm"]["mean"], 1),
                figure_text(summary["ef_lv"]["mae"], 1),
                f"{parameters / 1e6:.1f}" if parameters else None,
                figure_text(summary["seconds_per_volume"], 2),
            ]
        )
    return Table(
        words("comparison.models"), [*header, words("table.parameters"), words("table.seconds")], rows
    )


def _pairs_table(pairs: list[dict[str, Any]], words: Language) -> Table:
    return Table(
        words("comparison.pairs"),
        [
            words("comparison.pair"),
            words("comparison.difference"),
            words("table.interval"),
            words("comparison.better"),
            "p",
            words("comparison.p_holm"),
        ],
        [
            [
                words("comparison.pair_cell", second=pair["second"], first=pair["first"]),
                figure_text(pair["difference"], 4),
                interval_text(pair["interval"], 4, words),
                f"{pair['better']} / {pair['worse']}",
                p_text(pair["p_value"]),
                p_text(pair["p_holm"]),
            ]
            for pair in pairs
        ],
    )


def _choice(models: Mapping[str, Mapping[str, Any]], pairs: list[dict[str, Any]], words: Language) -> str:
    """The best model, or the fastest of those that are not shown to be worse than it."""
    scores = {name: model["summary"]["dice"]["mean"] for name, model in models.items()}
    best = max(scores, key=lambda name: scores[name] or 0.0)
    worse = {
        name
        for pair in pairs
        if best in (pair["first"], pair["second"]) and pair["p_holm"] is not None and pair["p_holm"] < ALPHA
        for name in (pair["first"], pair["second"])
        if name != best
    }
    level = [name for name in models if name not in worse]
    if len(level) == 1:
        return words("suggest.best", model=best, dice=figure_text(scores[best], 3))
    fastest = min(level, key=lambda name: models[name]["summary"]["seconds_per_volume"])
    return words("suggest.level", models=", ".join(level), fastest=fastest)


def _cell(cell: Mapping[str, Any], words: Language) -> str:
    if cell["error"]:
        return words("cross.no_figure")
    return estimate_text(cell["dice"]["mean"], cell["interval"]["mean"], 3, words)


def _gaps(models: list[str], cells: list[dict[str, Any]], words: Language) -> Iterator[str]:
    for model in models:
        scores = {
            cell["dataset"]: cell["dice"]["mean"]
            for cell in cells
            if cell["model"] == model and not cell["error"] and cell["dice"]["mean"] is not None
        }
        if len(scores) > 1 and max(scores.values()) - min(scores.values()) >= DATASET_GAP:
            worst, best = min(scores, key=scores.__getitem__), max(scores, key=scores.__getitem__)
            yield words(
                "suggest.dataset",
                model=model,
                best=best,
                high=figure_text(scores[best], 3),
                worst=worst,
                low=figure_text(scores[worst], 3),
            )
