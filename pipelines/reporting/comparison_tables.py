"""The tables of a comparison, the same in Markdown and HTML."""

from collections.abc import Sequence
from typing import Any, Final

from pipelines.core.records import Phase
from pipelines.evaluation.comparison import STRUCTURES
from pipelines.evaluation.metrics import METRIC_NAMES
from pipelines.evaluation.summary import INDEX_FIELDS
from pipelines.reporting.html import Table
from pipelines.reporting.markdown import number, p_text

TITLES: Final = {
    "dice": "Dice (voxel F1)",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95_mm": "HD95, mm",
    "assd_mm": "ASSD, mm",
    "ef_lv": "LV EF error, points",
    "ef_rv": "RV EF error, points",
    "edv_lv_ml": "LV EDV error, mL",
    "esv_lv_ml": "LV ESV error, mL",
    "edv_rv_ml": "RV EDV error, mL",
    "esv_rv_ml": "RV ESV error, mL",
    "mass_g": "mass error, g",
}

MAIN: Final = (("dice", "mean"), ("hd95_mm", "mean"), ("ef_lv", ""))
"""Figures whose pairs and ranks are shown; the JSON file has all."""


def comparison_tables(content: dict[str, Any]) -> list[Table]:
    """All tables: figures, what models cost, phases and groups, pairs, ranks, settings.

    Args:
        content: Content of `comparison.json`.
    """
    tables = [
        figures_table(content),
        _costs(content),
        parts_table(content, "by_phase"),
        parts_table(content, "by_group"),
    ]
    tables += [_pairs(content, *figure) for figure in MAIN]
    tables.append(_ranks(content))
    if content.get("effects"):
        tables.append(_effects(content["effects"]))
    return tables


def long_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each figure of each model: over all, by phase and by group.

    Args:
        content: Content of `comparison.json`.

    Returns:
        Rows with `model`, `part`, `figure`, `structure`, `value`, `low`, `high` and `patients`.
    """
    rows = []
    for model, found in content["models"].items():
        parts = {"all": found["summary"], **found["by_phase"], **found["by_group"]}
        for part, summary in parts.items():
            intervals = found["intervals"] if part == "all" else {}
            keys = [(metric, name) for metric in METRIC_NAMES for name in STRUCTURES]
            keys += [(index, "mae") for index in INDEX_FIELDS if index in summary]
            for figure, name in keys:
                low, high = (intervals.get(figure) or {}).get(name) or (None, None)
                rows.append(
                    {
                        "model": model,
                        "part": part,
                        "figure": figure,
                        "structure": "" if name == "mae" else name,
                        "value": summary[figure][name],
                        "low": low,
                        "high": high,
                        "patients": summary["patients"],
                    }
                )
    return rows


def title_of(figure: str, structure: str) -> str:
    """A figure in words."""
    return f"{TITLES[figure]} {structure.upper() if structure != 'mean' else structure}".strip()


def figures_table(content: dict[str, Any]) -> Table:
    """Figures of each model over all patients, with their intervals.

    Args:
        content: With `models`, each with `summary` and `intervals` of `summarise`, and `patients`.
    """
    models = content["models"]
    keys: list[tuple[str, str]] = [
        (metric, name) for metric in METRIC_NAMES if metric in TITLES for name in STRUCTURES
    ]
    keys += [(index, "mae") for index in INDEX_FIELDS]
    rows = []
    for figure, name in keys:
        digits = 1 if name == "mae" or figure == "hd95_mm" else 2 if figure == "assd_mm" else 3
        cells = [
            _with_interval(model["summary"][figure][name], model["intervals"][figure][name], digits)
            for model in models.values()
        ]
        rows.append([title_of(figure, "" if name == "mae" else name), *cells])
    caption = f"Figures of {len(content['patients'])} patients, with 95% intervals by bootstrap of patients"
    return Table(caption, ["", *models], rows)


def _costs(content: dict[str, Any]) -> Table:
    models = content["models"].values()

    def row(title: str, key: str, digits: int, scale: float = 1.0) -> list[str]:
        values = [model["cost"].get(key) for model in models]
        return [title, *(number(value / scale if value is not None else None, digits) for value in values)]

    rows = [
        row("parameters, million", "parameters", 2, 1e6),
        row("wall time of a volume beside other work, median, s", "seconds_per_volume", 2),
        row("processor time of the largest image, s", "cpu_seconds", 2),
        row("peak memory of predicting, MB", "peak_mb", 0),
        row("CPU threads", "threads", 0),
    ]
    return Table("What models cost", ["", *content["models"]], rows)


def parts_table(content: dict[str, Any], key: str) -> Table:
    """Figures of each model by phase or disease group.

    Args:
        content: With `models`, each with `by_phase` and `by_group` of `summarise`.
        key: `"by_phase"` or `"by_group"`.
    """
    models = content["models"]
    parts = next(iter(models.values()))[key]
    names = [str(phase) for phase in Phase if phase in parts] if key == "by_phase" else list(parts)
    rows = []
    for figure, digits in (("dice", 3), ("hd95_mm", 1)):
        for part in names:
            for name in STRUCTURES:
                cells = [number(model[key][part][figure][name], digits) for model in models.values()]
                rows.append([f"{part} ({parts[part]['patients']}), {title_of(figure, name)}", *cells])
    if key == "by_group":
        for part in names:
            cells = [number(model[key][part]["ef_lv"]["mae"], 1) for model in models.values()]
            rows.append([f"{part} ({parts[part]['patients']}), {TITLES['ef_lv']}", *cells])
    what = "phase" if key == "by_phase" else "disease group"
    return Table(f"By {what}, patients in brackets", ["", *models], rows)


def _pairs(content: dict[str, Any], figure: str, structure: str) -> Table:
    digits = 4 if figure == "dice" else 2
    rows = [
        [
            f"{pair['second']} – {pair['first']}",
            str(pair["patients"]),
            _with_interval(pair["difference"], pair["interval"], digits),
            f"{pair['better']} / {pair['worse']}",
            p_text(pair["p_value"]),
            p_text(pair["p_holm"]),
        ]
        for pair in content["pairs"]
        if (pair["figure"], pair["structure"]) == (figure, structure)
    ]
    header = ["", "patients", "difference", "better / worse", "Wilcoxon p", "Holm p"]
    return Table(f"Pairs: {title_of(figure, structure)}", header, rows)


def _ranks(content: dict[str, Any]) -> Table:
    rows = []
    for found in content["ranks"]:
        if (found["figure"], found["structure"]) not in MAIN:
            continue
        cells = [
            f"{rank:g} ({interval[0]:g} to {interval[1]:g})" if interval else f"{rank:g}"
            for rank, interval in zip(found["rank"], found["interval"], strict=True)
        ]
        title = title_of(found["figure"], found["structure"])
        rows.append([title, *cells, number(found["kendall_tau"], 2)])
    caption = "Ranks with 95% intervals, and mean Kendall's tau of resampled rankings with this one"
    return Table(caption, ["", *content["models"], "tau"], rows)


def _effects(effects: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [
            effect["setting"],
            str(effect["trials"]),
            number(effect["correlation"], 2),
            p_text(effect["p_value"]),
            p_text(effect["p_holm"]),
            "; ".join(
                f"{part['value']}: {part['mean']:.3f} (n={part['trials']})" for part in effect["means"]
            ),
        ]
        for effect in effects
    ]
    header = ["setting", "trials", "rank correlation", "p", "Holm p", "mean score by value"]
    return Table("Settings of the trials, and the validation score they went with", header, rows)


def _with_interval(value: float | None, interval: Sequence[float] | None, digits: int) -> str:
    text = number(value, digits)
    return f"{text} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval and text else text
