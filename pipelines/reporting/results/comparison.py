"""Several models on the same patients: values, paired tests, ranks, costs and effects of settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from pipelines.core.records import FOREGROUND, LABEL_NAMES, Phase
from pipelines.evaluation.comparison import DEFINITIONS, STRUCTURES
from pipelines.evaluation.segmentation import INDEX_FIELDS, METRIC_NAMES
from pipelines.figures.overlay import panels, save_png
from pipelines.reporting.document import (
    DEFAULT,
    BarChart,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    estimate,
    number,
    p_text,
    read_language,
)
from pipelines.reporting.source import Context, Kind, Source, each

Content = Mapping[str, Any]

ALPHA: Final = 0.05
"""Corrected p-value below which a difference is called one."""

TITLES: Final = {
    "dice": "Dice (voxel F1)",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95_mm": "HD95, mm",
    "assd_mm": "ASSD, mm",
    "ef_lv": "LV EF error, percentage points",
    "ef_rv": "RV EF error, percentage points",
    "edv_lv_ml": "LV EDV error, mL",
    "esv_lv_ml": "LV ESV error, mL",
    "edv_rv_ml": "RV EDV error, mL",
    "esv_rv_ml": "RV ESV error, mL",
    "mass_g": "mass error, g",
}

MAIN: Final = (("dice", "mean"), ("hd95_mm", "mean"), ("ef_lv", ""))
"""Values whose pairs and ranks are shown; the JSON file has all."""

MAX_UPRIGHT: Final = 3
"""Series of bars whose numbers stand upright side by side."""


def document(source: Source, context: Context) -> Document:
    """Document of a comparison; the context has the language and the folder for pictures."""
    content, words = source.content, context.words
    pairs = _pairs_of(content, MAIN[0])
    limits = [words("comparison.not_shown", name=source.name)] if len(_clear(pairs)) < len(pairs) else []
    return Document("", "", _sections(source, context), limits, [_choice(content["models"], pairs, words)])


KIND: Final = Kind(
    "comparison",
    "comparison.json",
    "thorax compare",
    "results",
    each("comparison.title", document),
    is_usual=True,
)


def findings(content: Content) -> list[str]:
    """Which differences hold up, a sentence for each of the main values.

    Args:
        content: Content of `comparison.json`.
    """
    sentences = []
    for figure, structure in MAIN:
        pairs = _pairs_of(content, (figure, structure))
        clear = _clear(pairs)
        named = []
        for pair in clear:
            order = ("second", "first") if pair["better"] > pair["worse"] else ("first", "second")
            better, worse = (pair[name] for name in order)
            named.append(f"{better} better than {worse} (p {p_text(pair['p_holm'])})")
        sentences.append(
            f"{title_of(figure, structure)}: {len(clear)} of {len(pairs)} pairs differ with a Holm-corrected "
            f"p below {ALPHA}" + (f": {'; '.join(named)}." if named else ".")
        )
    return sentences


def title_of(figure: str, structure: str) -> str:
    """A metric or index in words."""
    return f"{TITLES[figure]} {structure.upper() if structure != 'mean' else structure}".strip()


def values_table(content: Content, words: Language | None = None) -> Table:
    """Values of each model over all patients, with their intervals.

    Args:
        content: With `models`, each with `summary` and `intervals` of `summarise`, and `patients`.
        words: Language of the intervals; English without it.
    """
    words = words or read_language(DEFAULT)
    models = content["models"]
    keys: list[tuple[str, str]] = [
        (metric, name) for metric in METRIC_NAMES if metric in TITLES for name in STRUCTURES
    ]
    keys += [(index, "mae") for index in INDEX_FIELDS]
    rows: list[list[Cell]] = []
    for figure, name in keys:
        digits = 1 if name == "mae" or figure == "hd95_mm" else 2 if figure == "assd_mm" else 3
        cells = [
            estimate(model["summary"][figure][name], model["intervals"][figure][name], digits, words)
            for model in models.values()
        ]
        rows.append([title_of(figure, "" if name == "mae" else name), *cells])
    caption = f"Values of {len(content['patients'])} patients, with 95% intervals by bootstrap of patients"
    return Table(caption, ["", *models], rows)


def parts_table(content: Content, key: str) -> Table:
    """Values of each model by phase or disease group.

    Args:
        content: With `models`, each with `by_phase` and `by_group` of `summarise`.
        key: `"by_phase"` or `"by_group"`.
    """
    models = content["models"]
    parts = next(iter(models.values()))[key]
    names = [str(phase) for phase in Phase if phase in parts] if key == "by_phase" else list(parts)
    keys = [
        (part, figure, name, digits)
        for figure, digits in (("dice", 3), ("hd95_mm", 1))
        for part in names
        for name in STRUCTURES
    ]
    keys += [(part, "ef_lv", "mae", 1) for part in names if key == "by_group"]
    rows: list[list[Cell]] = [
        [
            f"{part} ({parts[part]['patients']}), {title_of(figure, '' if name == 'mae' else name)}",
            *(number(model[key][part][figure][name], digits) for model in models.values()),
        ]
        for part, figure, name, digits in keys
    ]
    what = "phase" if key == "by_phase" else "disease group"
    return Table(f"By {what}, patients in brackets", ["", *models], rows)


def bar_chart(
    path: Path,
    categories: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
    *,
    caption: str,
    alt: str,
) -> BarChart:
    """Bars from 0 to 1 by category, a colour each series; the numbers stand on them.

    Args:
        path: PNG to write.
        categories: Names along the axis, in Latin letters: Matplotlib does not join those of other scripts.
        series: Values of each series by its name, in `[0, 1]`, one a category; None where there is none.
        caption: Text below the picture.
        alt: Description of the picture.

    Raises:
        OutputError: If it cannot be written.
    """
    figure, (axes,) = panels(width=6.4, height=2.6)
    width = 0.8 / len(series)
    is_crowded = len(series) > MAX_UPRIGHT
    for index, (name, values) in enumerate(series):
        positions = np.arange(len(categories)) + (index - (len(series) - 1) / 2) * width
        bars = axes.bar(positions, [value or 0.0 for value in values], width * 0.9, label=name)
        texts = [number(value, 3) or "" for value in values]
        axes.bar_label(bars, labels=texts, fontsize=8, padding=2, rotation=90 if is_crowded else 0)
    axes.set_xticks(range(len(categories)), list(categories))
    axes.set_ylim(0, 1.25 if is_crowded else 1.08)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save_png(figure, path)
    return BarChart(
        path,
        alt,
        caption,
        categories=list(categories),
        series=[(name, list(values)) for name, values in series],
    )


def _sections(source: Source, context: Context) -> list[Section]:
    content, words = source.content, context.words
    models, names = content["models"], [LABEL_NAMES[label] for label in FOREGROUND]
    pairs = _pairs_of(content, MAIN[0])
    chart = bar_chart(
        context.picture("models"),
        [name.upper() for name in names],
        [(name, [model["summary"]["dice"][key] for key in names]) for name, model in models.items()],
        caption=words("comparison.chart"),
        alt=words("comparison.chart_alt"),
    )
    plot = _plot(content, context.picture("models_paired"))
    people = ", ".join(f"{row['patient']} ({row['group']})" for row in content["patients"])
    explained = {**DEFINITIONS, **content["definitions"]}
    details = [
        values_table(content, words),
        _costs(content),
        parts_table(content, "by_phase"),
        parts_table(content, "by_group"),
        *(_pairs(content, *figure, words) for figure in MAIN[1:]),
        _ranks(content),
        *([_effects(content["effects"])] if content.get("effects") else []),
    ]
    return [
        Section(
            words("comparison.title", name=source.name),
            points=[
                words("comparison.lead", models=len(models), patients=len(content["patients"])),
                words("comparison.point", clear=len(_clear(pairs)), pairs=len(pairs), alpha=ALPHA),
                *findings(content),
            ],
            tables=[_overview(models, words), _pairs(content, *MAIN[0], words)],
            pictures=[chart, Picture(plot, words("comparison.plot_alt"), words("comparison.plot"))],
        ),
        Section(
            words("comparison.details", name=source.name),
            [f"Patients ({content['measured_on']}): {people}."],
            [f"`{name}`: {text}." for name, text in explained.items()],
            details,
            is_detail=True,
        ),
    ]


def _pairs_of(content: Content, value: tuple[str, str]) -> list[dict[str, Any]]:
    return [pair for pair in content["pairs"] if (pair["figure"], pair["structure"]) == value]


def _clear(pairs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [pair for pair in pairs if pair["p_holm"] is not None and pair["p_holm"] < ALPHA]


def _overview(models: Content, words: Language) -> Table:
    rows: list[list[Cell]] = []
    for name, model in models.items():
        summary, parameters = model["summary"], model.get("cost", {}).get("parameters")
        rows.append(
            [
                name,
                estimate(summary["dice"]["mean"], model["intervals"]["dice"]["mean"], 3, words),
                number(summary["hd95_mm"]["mean"], 1),
                number(summary["ef_lv"]["mae"], 1),
                number(parameters / 1e6 if parameters else None, 1),
                number(summary["seconds_per_volume"], 2),
            ]
        )
    keys = ("table.model", "table.dice", "HD95 mm", "table.ef_error", "table.parameters", "table.seconds")
    return Table(words("comparison.models"), words.titles(*keys), rows)


def _costs(content: Content) -> Table:
    rows: list[list[Cell]] = []
    for title, key, digits, scale in (
        ("parameters, million", "parameters", 2, 1e6),
        ("wall time of a volume next to other work, median, s", "seconds_per_volume", 2, 1.0),
        ("processor time of the largest image, s", "cpu_seconds", 2, 1.0),
        ("peak memory of predicting, MB", "peak_mb", 0, 1.0),
        ("CPU threads", "threads", 0, 1.0),
    ):
        values = [model["cost"].get(key) for model in content["models"].values()]
        rows.append([title, *(number(None if one is None else one / scale, digits) for one in values)])
    return Table("Costs of the models", ["", *content["models"]], rows)


def _pairs(content: Content, figure: str, structure: str, words: Language) -> Table:
    digits = 4 if figure == "dice" else 2
    rows: list[list[Cell]] = [
        [
            words("comparison.pair_cell", second=pair["second"], first=pair["first"]),
            str(pair["patients"]),
            estimate(pair["difference"], pair["interval"], digits, words),
            f"{pair['better']} / {pair['worse']}",
            p_text(pair["p_value"]),
            p_text(pair["p_holm"]),
        ]
        for pair in _pairs_of(content, (figure, structure))
    ]
    keys = ("comparison.pair", "table.patients", "comparison.difference", "comparison.better")
    header = words.titles(*keys, "p, Wilcoxon", "comparison.p_holm")
    return Table(words("comparison.pairs", value=title_of(figure, structure)), header, rows)


def _ranks(content: Content) -> Table:
    rows: list[list[Cell]] = []
    for found in content["ranks"]:
        if (found["figure"], found["structure"]) not in MAIN:
            continue
        cells = [
            f"{rank:g} ({ends[0]:g} to {ends[1]:g})" if ends else f"{rank:g}"
            for rank, ends in zip(found["rank"], found["interval"], strict=True)
        ]
        rows.append([title_of(found["figure"], found["structure"]), *cells, number(found["kendall_tau"], 2)])
    caption = "Ranks with 95% intervals, and mean Kendall's tau of resampled rankings with this one"
    return Table(caption, ["", *content["models"], "tau"], rows)


def _effects(effects: Sequence[dict[str, Any]]) -> Table:
    rows: list[list[Cell]] = [
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
    return Table("Settings of the trials, and the validation score by setting", header, rows)


def _choice(models: Content, pairs: list[dict[str, Any]], words: Language) -> str:
    """The best model, or the fastest of those that are not shown to be worse than it."""
    scores = {name: model["summary"]["dice"]["mean"] for name, model in models.items()}
    best = max(scores, key=lambda name: scores[name] or 0.0)
    clear = [pair for pair in _clear(pairs) if best in (pair["first"], pair["second"])]
    worse = {pair[place] for pair in clear for place in ("first", "second")} - {best}
    level = [name for name in models if name not in worse]
    if len(level) == 1:
        return words("suggest.best", model=best, dice=number(scores[best], 3))
    fastest = min(level, key=lambda name: models[name]["summary"]["seconds_per_volume"])
    return words("suggest.level", models=", ".join(level), fastest=fastest)


def _plot(content: Content, path: Path) -> Path:
    """Mean Dice by patient, its paired differences with intervals, and shares of ranks."""
    models, pairs = list(content["models"]), _pairs_of(content, MAIN[0])
    height = 1.6 + 0.3 * max(len(pairs), len(models), 6)
    figure, (patients, differences, ranks) = panels(3, width=4.7, height=height)
    _draw_patients(patients, content["values"])
    _draw_differences(differences, pairs)
    found = [row for row in content["ranks"] if (row["figure"], row["structure"]) == MAIN[0]]
    if found:
        _draw_ranks(ranks, models, found[0])
    return save_png(figure, path)


def _draw_patients(axes: Axes, values: Mapping[str, list[float | None]]) -> None:
    """A line a patient through the models, so that pairs are seen, over boxes of quartiles."""
    table = np.array([[np.nan if value is None else value for value in row] for row in values.values()])
    places = np.arange(len(table))
    defined = [row[np.isfinite(row)] for row in table]
    axes.boxplot(defined, positions=places, widths=0.5, showfliers=False, medianprops={"color": "black"})
    axes.plot(places, table, color="tab:blue", alpha=0.35, linewidth=0.8, marker="o", markersize=3)
    axes.set_xticks(places, list(values), rotation=25, ha="right", fontsize=8)
    axes.set(ylabel="mean Dice of a patient", title=f"{table.shape[1]} patients, a line each")


def _draw_differences(axes: Axes, pairs: list[dict[str, Any]]) -> None:
    axes.axvline(0, color="0.7", linewidth=1)
    for row, pair in enumerate(pairs):
        if pair["difference"] is None:
            continue
        color = "tab:red" if _clear([pair]) else "0.35"
        low, high = pair["interval"] or [pair["difference"]] * 2
        axes.plot([low, high], [row, row], color=color, linewidth=2)
        axes.plot(pair["difference"], row, "o", color=color, markersize=5)
    names = [f"{pair['second']} – {pair['first']}" for pair in pairs]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="difference of mean Dice, 95% interval", title=f"red: Holm-corrected p < {ALPHA}")


def _draw_ranks(axes: Axes, models: list[str], found: Content) -> None:
    shares = np.array(found["shares"])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        if shares[row, column] >= 0.005:
            color = "white" if shares[row, column] > 0.6 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(models)), [str(rank) for rank in range(1, len(models) + 1)])
    axes.set_yticks(range(len(models)), models, fontsize=8)
    axes.set(xlabel="rank by mean Dice", title="percent of bootstrap resamples")
