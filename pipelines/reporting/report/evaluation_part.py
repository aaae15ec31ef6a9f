"""What an evaluation adds to a report: figures with intervals, agreement of indices, segmented images."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.reporting.html import Picture, Table
from pipelines.reporting.language import Language
from pipelines.reporting.report.bars import bar_chart
from pipelines.reporting.report.parts import Part, Source, estimate_text, figure_text, interval_text
from pipelines.reporting.report.weights import measured_bundle
from pipelines.training.run_record import shown_command

STRUCTURES: Final = tuple(LABEL_NAMES[label] for label in FOREGROUND)
INDICES: Final = ("ef_lv", "edv_lv_ml", "esv_lv_ml", "ef_rv", "edv_rv_ml", "esv_rv_ml", "mass_g")

FEW_PATIENTS: Final = 50
"""Patients below which a report calls a cohort small: the hold-out of ACDC has 50."""

GROUP_GAP: Final = 0.02
"""Distance of mean Dice between groups or phases from which a report speaks of it."""

SYSTEMATIC: Final = 0.7
"""Share of the mean absolute error that a bias must make up to be called systematic."""

NOTABLE_ERROR: Final = 2.0
"""Mean absolute error of an index below which its bias is not spoken of, in the index's unit."""


def evaluation_part(source: Source, words: Language, pictures: Path) -> Part:
    """Accuracy of a network on labelled volumes.

    Args:
        source: Folder of `thorax evaluate`.
        words: Language.
        pictures: Folder that takes the chart.

    Raises:
        DataError: If the evaluation is not one of hearts.
    """
    content = source.content
    if "dice" not in content["summary"]:
        raise DataError(
            f"expected an evaluation of hearts by 'thorax evaluate', found another in {source.folder}; "
            "its own command 'thorax results' writes its page"
        )
    summary = content["summary"]
    overlays = overlay_pictures(source, words)
    return Part(
        title=words("evaluation.title", name=source.name),
        paragraphs=[_lead(source, words)],
        points=_points(content, words),
        tables=list(_tables(content, words)),
        pictures=[
            bar_chart(
                pictures / "dice.png",
                [name.upper() for name in STRUCTURES],
                [(source.name, [summary["dice"][name] for name in STRUCTURES])],
                caption=words("evaluation.chart", name=source.name),
                alt=words("evaluation.chart_alt", name=source.name),
            ),
            *overlays,
        ],
        limits=list(_limits(source, len(overlays), words)),
        suggestions=list(_suggestions(source, words)),
    )


def overlay_pictures(source: Source, words: Language) -> list[Picture]:
    """Segmented images of an evaluation, the worst first."""
    return [
        Picture(
            path,
            words("evaluation.overlay_alt", image=path.stem.replace("_", " ")),
            f"{source.name}: {path.stem.replace('_', ' ')}",
        )
        for path in source.pictures("overlays")
    ]


def _lead(source: Source, words: Language) -> str:
    summary, manifest = source.content["summary"], source.manifest
    lead = words("evaluation.lead", patients=summary["patients"], volumes=summary["volumes"])
    if "command" in manifest:
        lead += " " + words("evaluation.command", command=shown_command(manifest["command"]))
    return lead


def _points(content: Mapping[str, Any], words: Language) -> list[str]:
    summary, intervals = content["summary"], content["intervals"]
    points = [
        words(
            "evaluation.dice_point",
            dice=estimate_text(summary["dice"]["mean"], intervals["dice"]["mean"], 3, words),
            hd95=figure_text(summary["hd95_mm"]["mean"], 1),
        )
    ]
    if summary["ef_lv"]["mae"] is not None:
        points.append(
            words(
                "evaluation.ef_point",
                mae=figure_text(summary["ef_lv"]["mae"], 1),
                bias=figure_text(summary["ef_lv"]["bias"], 1),
            )
        )
    return points


def _tables(content: Mapping[str, Any], words: Language) -> Iterator[Table]:
    summary, intervals = content["summary"], content["intervals"]
    yield Table(
        words("evaluation.accuracy"),
        [
            words("table.structure"),
            words("table.dice"),
            "IoU",
            "F1",
            "HD95 mm",
            words("table.precision"),
            words("table.recall"),
        ],
        [
            [
                words.name("structure", name),
                estimate_text(summary["dice"][name], intervals["dice"][name], 3, words),
                *(figure_text(summary[metric][name], 3) for metric in ("iou", "f1")),
                figure_text(summary["hd95_mm"][name], 1),
                *(figure_text(summary[metric][name], 3) for metric in ("precision", "recall")),
            ]
            for name in (*STRUCTURES, "mean")
        ],
    )
    yield Table(
        words("evaluation.indices"),
        [words("table.index"), words("table.mae"), words("table.bias"), words("table.loa"), "Pearson r"],
        [
            [
                words.name("index", name),
                figure_text(summary[name]["mae"], 1),
                figure_text(summary[name]["bias"], 1),
                interval_text(summary[name]["loa"], 1, words),
                figure_text(summary[name]["pearson"], 3),
            ]
            for name in INDICES
        ],
    )
    parts = [(phase, part) for phase, part in content["by_phase"].items()]
    parts += [(group, part) for group, part in content["by_group"].items()]
    yield Table(
        words("evaluation.parts"),
        [words("table.part"), words("table.volumes")]
        + [words("table.dice_of", structure=words.name("structure", name)) for name in (*STRUCTURES, "mean")],
        [
            [name, part["volumes"], *(figure_text(part["dice"][key], 3) for key in (*STRUCTURES, "mean"))]
            for name, part in parts
        ],
    )


def _limits(source: Source, overlays: int, words: Language) -> Iterator[str]:
    patients = source.content["summary"]["patients"]
    if patients < FEW_PATIENTS:
        yield words("evaluation.few", name=source.name, patients=patients)
    if source.content["problems"]:
        yield words("evaluation.aside", name=source.name, volumes=len(source.content["problems"]))
    if not source.manifest:
        yield words("evaluation.no_manifest", name=source.name)
    elif measured_bundle(source):
        yield words("evaluation.bundle_weights", name=source.name)
    if source.figures_only:
        yield words("evaluation.figures_only", name=source.name)
    elif overlays == 0:
        yield words("evaluation.no_overlays", name=source.name)


def _suggestions(source: Source, words: Language) -> Iterator[str]:
    content = source.content
    dice = {name: content["summary"]["dice"][name] for name in STRUCTURES}
    known = {name: value for name, value in dice.items() if value is not None}
    if known:
        weakest = min(known, key=known.__getitem__)
        yield words(
            "suggest.structure",
            name=source.name,
            structure=words.name("structure", weakest),
            dice=figure_text(known[weakest], 3),
        )
    for kind in ("by_phase", "by_group"):
        means = {name: part["dice"]["mean"] for name, part in content[kind].items()}
        means = {name: value for name, value in means.items() if value is not None}
        if len(means) > 1 and max(means.values()) - min(means.values()) >= GROUP_GAP:
            worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
            yield words(
                f"suggest.{kind}",
                name=source.name,
                worst=worst,
                low=figure_text(means[worst], 3),
                best=best,
                high=figure_text(means[best], 3),
            )
    for index in INDICES:
        mae, bias = content["summary"][index]["mae"], content["summary"][index]["bias"]
        if mae is not None and mae >= NOTABLE_ERROR and abs(bias) >= SYSTEMATIC * mae:
            yield words(
                "suggest.bias_high" if bias > 0 else "suggest.bias_low",
                name=source.name,
                index=words.name("index", index),
                bias=figure_text(abs(bias), 1),
                mae=figure_text(mae, 1),
            )
