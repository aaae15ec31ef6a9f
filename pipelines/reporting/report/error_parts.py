"""What a report says about errors."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.reporting.heart_errors_page import OF_PATIENTS, PICTURES
from pipelines.reporting.html import Picture, Table
from pipelines.reporting.language import Language
from pipelines.reporting.markdown import p_text
from pipelines.reporting.report.parts import Part, Source, estimate_text, figure_text, interval_text

STRUCTURES: Final = tuple(LABEL_NAMES[label] for label in FOREGROUND)

WORST: Final = 8
"""Volumes that are listed."""

MOST_PICTURES: Final = 12
"""Pictures of an error analysis that are shown."""

MIN_PATIENTS: Final = 5
"""Patients of a position from which its Dice is compared with that of others."""

ALPHA: Final = 0.05
"""Corrected p-value below which a factor is said to go with the Dice."""


def worst_part(source: Source, words: Language, pictures: Path) -> Part | None:
    """The volumes on which a network did worst; None if no Dice is defined.

    Args:
        source: Folder of `thorax evaluate`.
        words: Language.
        pictures: Not used: the evaluation's part shows them.
    """
    del pictures
    cases = [case for case in source.content["cases"] if case["dice"]["mean"] is not None]
    cases.sort(key=lambda case: case["dice"]["mean"])
    if not cases:
        return None
    rows = [[case["patient"], case["phase"], case["group"], *_dice(case["dice"])] for case in cases[:WORST]]
    return Part(
        title=words("errors.worst_title", name=source.name),
        tables=[Table(words("errors.worst"), [*_volume_header(words), *_dice_header(words)], rows)],
    )


def errors_part(source: Source, words: Language, pictures: Path) -> Part:
    """What goes with errors, and what they are.

    Args:
        source: Folder of `thorax analyse-errors`.
        words: Language.
        pictures: Not used: those of the folder are shown.

    Raises:
        DataError: If the analysis is not one of hearts.
    """
    del pictures
    content = source.content
    if "levels" not in content:
        raise DataError(
            f"expected an error analysis of hearts, found another in {source.folder}; "
            "its own command 'thorax results' writes its page"
        )
    clear = [one for one in content["correlations"] if one["p_holm"] is not None and one["p_holm"] < ALPHA]
    return Part(
        title=words("errors.title", name=source.name),
        points=[
            words(
                "errors.point",
                patients=content["patients"],
                clear=len(clear),
                tests=len(content["correlations"]),
                alpha=ALPHA,
            )
        ],
        tables=list(_tables(content, words)),
        pictures=[
            Picture(
                path,
                words("errors.picture_alt", picture=path.stem.replace("_", " ")),
                path.stem.replace("_", " "),
            )
            for path in source.pictures(PICTURES, OF_PATIENTS)[:MOST_PICTURES]
        ],
        limits=[words("errors.limit", name=source.name)],
        suggestions=list(_suggestions(content, words)),
    )


def _tables(content: Mapping[str, Any], words: Language) -> Iterator[Table]:
    means = [level for level in content["levels"] if level["structure"] == "mean"]
    places = [level for level in content["levels"] if level["factor"] == "position"]
    header = [words("errors.factor"), words("errors.level"), words("table.structure")]
    yield Table(
        words("errors.levels"),
        [*header, words("table.count"), words("table.patients"), words("table.dice")],
        [
            [
                level["factor"],
                level["level"],
                words.name("structure", level["structure"]),
                level["count"],
                level["patients"],
                estimate_text(level["dice"], level["interval"], 3, words),
            ]
            for level in [*places, *means]
            if level["count"]
        ],
    )
    yield Table(
        words("errors.correlations"),
        [words("errors.factor"), words("table.structure"), words("table.patients"), "ρ", "p (Holm)"],
        [
            [
                one["factor"],
                words.name("structure", one["structure"]),
                one["patients"],
                figure_text(one["rho"], 2),
                p_text(one["p_holm"]),
            ]
            for one in content["correlations"]
        ],
    )
    known = {name: one["figures"] for name, one in content["agreement"].items() if one["figures"]}
    yield Table(
        words("errors.agreement"),
        [words("table.index"), words("table.bias"), words("table.loa"), "Pearson r", "ICC"],
        [
            [
                words.name("index", name),
                estimate_text(figures["bias"], figures["bias_interval"], 1, words),
                interval_text([figures["lower"], figures["upper"]], 1, words),
                figure_text(figures["pearson"], 3),
                figure_text(figures["icc"], 3),
            ]
            for name, figures in known.items()
        ],
    )
    worst = [volume for volume in content["volumes"] if volume["dice"]["mean"] is not None]
    worst.sort(key=lambda volume: volume["dice"]["mean"])
    yield Table(
        words("errors.reasons"),
        [*_volume_header(words), words("table.dice"), words("errors.reason")],
        [
            [
                volume["patient"],
                volume["phase"],
                volume["group"],
                figure_text(volume["dice"]["mean"], 3),
                "; ".join(volume["reasons"]),
            ]
            for volume in worst[:WORST]
        ],
    )


def _suggestions(content: Mapping[str, Any], words: Language) -> Iterator[str]:
    for name in STRUCTURES:
        places = {
            level["level"]: level["dice"]
            for level in content["levels"]
            if (level["factor"], level["structure"]) == ("position", name)
            and level["dice"] is not None
            and level["patients"] >= MIN_PATIENTS
        }
        if len(places) > 1:
            worst = min(places, key=places.__getitem__)
            yield words(
                "suggest.position",
                structure=words.name("structure", name),
                position=worst,
                dice=figure_text(places[worst], 3),
            )


def _volume_header(words: Language) -> list[str]:
    return [words("table.patient"), words("table.phase"), words("table.group")]


def _dice_header(words: Language) -> list[str]:
    names = (*STRUCTURES, "mean")
    return [words("table.dice_of", structure=words.name("structure", name)) for name in names]


def _dice(dice: Mapping[str, float | None]) -> list[str]:
    return [figure_text(dice[name], 3) for name in (*STRUCTURES, "mean")]
