"""Evaluations on labelled hearts: accuracy with intervals, agreement of indices, segmented images."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pipelines.core.records import FOREGROUND, LABEL_NAMES
from pipelines.reporting.document import (
    DEFAULT,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    duration,
    estimate,
    interval,
    number,
    read_language,
)
from pipelines.reporting.results.comparison import bar_chart
from pipelines.reporting.source import Context, Kind, Source
from pipelines.training.run_record import RunRecord

TITLES: Final = {"unet": "UNet", "attention_unet": "AttentionUnet", "vnet": "VNet"}
STRUCTURES: Final = tuple(LABEL_NAMES[label] for label in FOREGROUND)
INDICES: Final = ("ef_lv", "edv_lv_ml", "esv_lv_ml", "ef_rv", "edv_rv_ml", "esv_rv_ml", "mass_g")

FEW_PATIENTS: Final = 50
"""Patients below which a report calls a cohort small: the test set of ACDC has 50."""

GROUP_GAP: Final = 0.02
"""Distance of mean Dice between groups or phases from which a report names it."""

SYSTEMATIC: Final = 0.7
"""Share of the mean absolute error that a bias must make up to be called systematic."""

NOTABLE_ERROR: Final = 2.0
"""Mean absolute error of an index below which its bias is not named, in the index's unit."""

WORST: Final = 8
"""Volumes that are listed."""


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of evaluations.

    Args:
        sources: Folders of `thorax evaluate`.
        context: Language and folder for pictures; the report's training runs give their times.
    """
    words = context.words
    runs = [source.run for source in context.of("training")]
    sections = [
        Section(
            words("evaluation.overview"),
            [*_patient_lines(sources), *_training_lines(sources, runs)],
            tables=[_overview(sources, runs, words)],
            block="accuracy",
            is_detail=True,
        )
    ]
    for index, source in enumerate(sources):
        sections += [_section(source, context, index), *_worst(source, words)]
    limits = [one for source in sources for one in _limits(source, words)]
    suggestions = [one for source in sources for one in _suggestions(source, words)]
    title = words("evaluation.title", name=", ".join(source.name for source in sources))
    return Document(title, "", sections, limits, suggestions)


KIND: Final = Kind(
    "evaluation",
    "metrics.json",
    "thorax evaluate",
    "results",
    document,
    has=lambda content: "accuracy" not in content.get("summary", {}),
    is_usual=True,
)


def accuracy_table(metrics: Mapping[str, Any], words: Language | None = None) -> Table:
    """Overlap and distance of each structure.

    Args:
        metrics: Content of `metrics.json`.
        words: Language; English without it.
    """
    words = words or read_language(DEFAULT)
    summary, intervals = metrics["summary"], metrics["intervals"]
    keys = ("table.structure", "table.dice", "IoU", "F1", "HD95 mm", "table.precision", "table.recall")
    return Table(
        words("evaluation.accuracy"),
        words.titles(*keys),
        [
            [
                words.name("structure", name),
                estimate(summary["dice"][name], intervals["dice"][name], 3, words),
                *(number(summary[metric][name], 3) for metric in ("iou", "f1")),
                number(summary["hd95_mm"][name], 1),
                *(number(summary[metric][name], 3) for metric in ("precision", "recall")),
            ]
            for name in (*STRUCTURES, "mean")
        ],
    )


def agreement_table(metrics: Mapping[str, Any], words: Language | None = None) -> Table:
    """Mean error, bias, limits of agreement and correlation of each index.

    Args:
        metrics: Content of `metrics.json`.
        words: Language; English without it.
    """
    words = words or read_language(DEFAULT)
    rows = [[words.name("index", name), *_agreement(metrics["summary"][name], words)] for name in INDICES]
    return Table(words("evaluation.indices"), words.titles("table.index", *AGREEMENT), rows)


AGREEMENT: Final = ("table.mae", "table.bias", "table.loa", "Pearson r")


def _agreement(found: Mapping[str, Any], words: Language) -> list[Cell]:
    mae, bias = (number(found[name], 1) for name in ("mae", "bias"))
    return [mae, bias, interval(found["loa"], 1, words), number(found["pearson"], 3)]


def wall_table(metrics: Mapping[str, Any], words: Language) -> Table:
    """Mean error, bias, limits of agreement and correlation of the measures of the wall.

    Args:
        metrics: Content of `metrics.json` with `wall`.
        words: Language.
    """
    rows = [
        [words.name("wall", name), found["pairs"], *_agreement(found, words)]
        for name, found in metrics["wall"].items()
    ]
    header = words.titles("table.index", "evaluation.pairs", *AGREEMENT)
    return Table(words("evaluation.wall"), header, rows)


def dice_titles(words: Language, structures: Sequence[str]) -> list[str]:
    """Header of columns with the Dice of structures."""
    return [words("table.dice_of", structure=words.name("structure", name)) for name in structures]


def title_of(source: Source) -> str:
    """Column title of an evaluation: its networks and test-time augmentation, by its manifest."""
    names = [TITLES.get(name, name) for name in source.networks]
    title = f"Mean of {', '.join(names)}" if len(names) > 1 else (names or [source.name])[0]
    return f"{title}, TTA" if source.manifest.get("tta") else title


def _overview(sources: Sequence[Source], runs: Sequence[RunRecord], words: Language) -> Table:
    def metric(name: str, key: str, digits: int) -> Callable[[Source], str | None]:
        return lambda source: estimate(
            source.content["summary"][name][key], source.content["intervals"][name][key], digits, words
        )

    rows: dict[str, Callable[[Source], str | None]] = {"parameters": parameters}
    if runs or any("training" in source.manifest for source in sources):
        rows["training time"] = lambda source: _training_time(source, _of(source, runs))
        rows["samples seen"] = lambda source: _samples(source, _of(source, runs))
    if any("training" in source.manifest for source in sources):
        rows |= {f"limit of the machine in {name}, GFLOP/s": _limit(name) for name in ("bf16", "fp32")}
    rows |= {f"Dice {name.upper()}": metric("dice", name, 3) for name in STRUCTURES}
    rows |= {"Dice mean": metric("dice", "mean", 3)}
    rows |= {f"F1 {name.upper()}": metric("f1", name, 3) for name in STRUCTURES}
    rows |= {f"HD95 {name.upper()}, mm": metric("hd95_mm", name, 1) for name in STRUCTURES}
    rows |= {
        "HD95 mean, mm": metric("hd95_mm", "mean", 1),
        "LV EF error, percentage points": metric("ef_lv", "mae", 1),
    }
    rows |= {f"LV {name.upper()} error, mL": metric(f"{name}_lv_ml", "mae", 1) for name in ("edv", "esv")}
    rows |= {"mass error, g": metric("mass_g", "mae", 1)}
    titles = [title_of(source) for source in sources]
    header = [
        f"{title} ({source.name})" if titles.count(title) > 1 else title
        for title, source in zip(titles, sources, strict=True)
    ]
    cells: list[list[Cell]] = [[name, *(cell(source) for source in sources)] for name, cell in rows.items()]
    return Table(words("evaluation.overview"), ["", *header], cells)


def parameters(source: Source) -> str | None:
    """Number of weights of what was evaluated, in millions."""
    count = source.manifest.get("parameters")
    return f"{count / 1e6:.1f} million" if count else None


def _of(source: Source, runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Runs of its network; none where the weights measured are the bundle's own, which no run made."""
    if source.manifest.get("bundle_weights"):
        return []
    return [run for run in runs if not run.all_patients and run.network in source.networks]


def _training_time(source: Source, runs: Sequence[RunRecord]) -> str | None:
    if own := source.manifest.get("training"):
        return duration(own["seconds"])
    known = [run.seconds for run in runs if run.seconds is not None]
    return duration(sum(known)) if known and len(known) == len(runs) else None


def _samples(source: Source, runs: Sequence[RunRecord]) -> str | None:
    if own := source.manifest.get("training"):
        return f"{own['samples']:,}"
    return f"{sum(run.samples for run in runs):,}" if runs else None


def _limit(name: str) -> Callable[[Source], str | None]:
    """What a product of large matrices reached beside the training of `thorax benchmark peers`."""
    return lambda source: number(source.manifest.get("training", {}).get("gflops", {}).get(name), 0)


def _patient_lines(sources: Sequence[Source]) -> Iterator[str]:
    cohorts = {
        tuple((row["patient"], row["group"]) for row in source.content["patients"]) for source in sources
    }
    for patients in sorted(cohorts):
        counts = Counter(group for _, group in patients)
        groups = ", ".join(f"{group} {count}" for group, count in sorted(counts.items()))
        names = ", ".join(name for name, _ in patients)
        yield f"Measured on {len(patients)} patients ({groups}): {names}."


def _training_lines(sources: Sequence[Source], runs: Sequence[RunRecord]) -> Iterator[str]:
    """Whether the weights have seen the patients measured, as far as it is recorded."""
    every = [run for run in runs if run.all_patients]
    if not every:
        if all(source.content.get("seen_patients") == [] for source in sources):
            yield "The weights measured were not trained on any of these patients."
        return
    names = ", ".join(run.name for run in every)
    networks = ", ".join(dict.fromkeys(TITLES.get(run.network, run.network) for run in every))
    yield (
        f"The values are those of weights that were not trained on the patients measured. {names} resumed "
        f"from these with all patients, the measured ones included. Those weights, of {networks}, have no "
        "value here."
    )


def _section(source: Source, context: Context, index: int) -> Section:
    content, words = source.content, context.words
    summary = content["summary"]
    chart = bar_chart(
        context.pictures / f"dice{index or ''}.png",
        [name.upper() for name in STRUCTURES],
        [(source.name, [summary["dice"][name] for name in STRUCTURES])],
        caption=words("evaluation.chart", name=source.name),
        alt=words("evaluation.chart_alt", name=source.name),
    )
    lead = words("evaluation.lead", patients=summary["patients"], volumes=summary["volumes"])
    if source.command:
        lead += " " + words("evaluation.command", command=source.command)
    points = [
        words(
            "evaluation.dice_point",
            dice=estimate(summary["dice"]["mean"], content["intervals"]["dice"]["mean"], 3, words),
            hd95=number(summary["hd95_mm"]["mean"], 1),
        )
    ]
    if summary["ef_lv"]["mae"] is not None:
        mae, bias = (number(summary["ef_lv"][name], 1) for name in ("mae", "bias"))
        points.append(words("evaluation.ef_point", mae=mae, bias=bias))
    return Section(
        words("evaluation.title", name=source.name),
        [lead],
        points,
        [
            accuracy_table(content, words),
            agreement_table(content, words),
            *([wall_table(content, words)] if content.get("wall") else []),
            _parts(content, words),
        ],
        [chart, *_overlays(source, words)],
    )


def _overlays(source: Source, words: Language) -> Iterator[Picture]:
    """Segmented images, the worst first."""
    for path in source.pictures("overlays"):
        name = re.sub(r"^\d+_(worst(?:_E[DS])?|low|median|best)_", r"\1, ", path.stem).replace("_", " ")
        name = words.translated(name)
        alt = words("evaluation.overlay_alt", image=name)
        yield Picture(path, alt, f"{source.name}: {name}", of_patient=True)


def _parts(content: Mapping[str, Any], words: Language) -> Table:
    names = (*STRUCTURES, "mean")
    rows: list[list[Cell]] = [
        [name, part["volumes"], *(number(part["dice"][key], 3) for key in names)]
        for kind in ("by_phase", "by_group")
        for name, part in content[kind].items()
    ]
    header = words.titles("table.part", "table.volumes") + dice_titles(words, names)
    return Table(words("evaluation.parts"), header, rows)


def _worst(source: Source, words: Language) -> Iterator[Section]:
    cases = [case for case in source.content["cases"] if case["dice"]["mean"] is not None]
    cases.sort(key=lambda case: case["dice"]["mean"])
    if not cases:
        return
    names = (*STRUCTURES, "mean")
    rows: list[list[Cell]] = [
        [case["patient"], case["phase"], case["group"], *(number(case["dice"][name], 3) for name in names)]
        for case in cases[:WORST]
    ]
    header = words.titles("table.patient", "table.phase", "table.group") + dice_titles(words, names)
    table = Table(words("errors.worst"), header, rows)
    yield Section(words("errors.worst_title", name=source.name), tables=[table], chapter="errors")


def _limits(source: Source, words: Language) -> Iterator[str]:
    patients, problems = source.content["summary"]["patients"], source.content["problems"]
    if patients < FEW_PATIENTS:
        yield words("evaluation.few", name=source.name, patients=patients)
    if problems:
        yield words("evaluation.aside", name=source.name, volumes=len(problems))
    if "weights" not in source.manifest:
        yield words("evaluation.no_manifest", name=source.name)
    elif source.manifest.get("bundle_weights") and source.content.get("seen_patients") != []:
        yield words("evaluation.bundle_weights", name=source.name)
    if source.figures_only:
        yield words("evaluation.figures_only", name=source.name)
    elif not source.pictures("overlays"):
        yield words("evaluation.no_overlays", name=source.name)


def _suggestions(source: Source, words: Language) -> Iterator[str]:
    content, name = source.content, source.name
    known = {key: value for key in STRUCTURES if (value := content["summary"]["dice"][key]) is not None}
    if known:
        weakest = min(known, key=known.__getitem__)
        structure = words.name("structure", weakest)
        yield words("suggest.structure", name=name, structure=structure, dice=number(known[weakest], 3))
    for kind in ("by_phase", "by_group"):
        means = {
            part: value
            for part, found in content[kind].items()
            if (value := found["dice"]["mean"]) is not None
        }
        if len(means) > 1 and max(means.values()) - min(means.values()) >= GROUP_GAP:
            worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
            low, high = number(means[worst], 3), number(means[best], 3)
            yield words(f"suggest.{kind}", name=name, worst=worst, low=low, best=best, high=high)
    for index in INDICES:
        mae, bias = (content["summary"][index][key] for key in ("mae", "bias"))
        if mae is not None and mae >= NOTABLE_ERROR and abs(bias) >= SYSTEMATIC * mae:
            yield words(
                "suggest.bias_high" if bias > 0 else "suggest.bias_low",
                name=name,
                index=words.name("index", index),
                bias=number(abs(bias), 1),
                mae=number(mae, 1),
            )
