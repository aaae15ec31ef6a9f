"""Explanations of radiographs: whether they are complete, sane and in the chest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.explanation.study import STUDY_NAME
from pipelines.reporting.document import Cell, Document, Section, Table, number
from pipelines.reporting.source import Context, Kind, Source

LISTED: Final = "integrated_gradients"
"""Method whose values are listed image by image."""


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of studies of explanations.

    Args:
        sources: Folders of `thorax explain`.
        context: Not used: the tables are in English.
    """
    del context
    sections = [
        Section(f"Explanations, {source.name}", tables=_tables(source.content), block="explanation")
        for source in sources
    ]
    return Document(f"Explanations, {', '.join(source.name for source in sources)}", "", sections)


KIND: Final = Kind("explanation", STUDY_NAME, "thorax explain", "errors", document)


def _tables(content: Mapping[str, Any]) -> list[Table]:
    cases = content["cases"]
    steps = list(cases[0]["completeness"]["black"])
    complete: list[list[Cell]] = []
    for baseline in cases[0]["completeness"]:
        errors = [[case["completeness"][baseline][count] for case in cases] for count in steps]
        complete.append([baseline, *(f"{100 * float(np.median(found)):.1f}" for found in errors)])
    methods: list[list[Cell]] = []
    for method in cases[0]["shares"]:
        gains = [case["deletion"][method]["gain"] for case in cases]
        found = [case["shares"][method] for case in cases]
        share = {kind: 100 * float(np.mean([one[kind] for one in found])) for kind in found[0]}
        methods.append(
            [
                method.replace("_", " "),
                f"{np.mean(gains):+.2f}",
                f"{sum(gain > 0 for gain in gains)} of {len(gains)}",
                *(f"{share[place]:.0f} (area {share[f'{place}_area']:.0f})" for place in ("chest", "frame")),
            ]
        )
    stages = list(next(iter(content["randomised"].values())))
    randomised: list[list[Cell]] = [
        [method.replace("_", " "), *(number(found[stage], 2) for stage in stages)]
        for method, found in content["randomised"].items()
    ]
    images: list[list[Cell]] = [
        [
            f"`{Path(case['image']).name}`",
            case["finding"].lower(),
            f"{case['probability']:.3f}",
            "right" if case["is_correct"] else "wrong",
            *(f"{100 * case['shares'][LISTED][place]:.0f}" for place in ("chest", "frame")),
            f"{case['deletion'][LISTED]['gain']:+.2f}",
        ]
        for case in cases
    ]
    return [
        Table(
            "Completeness error of Integrated Gradients, median over the images, in percent",
            ["baseline", *(f"{count} steps" for count in steps)],
            complete,
        ),
        Table(
            "Deletion and place of the attribution, means over the images",
            ["method", "deletion gain", "above 0", "% inside the chest", "% in the frame"],
            methods,
        ),
        Table(
            "Rank correlation with the trained network's map when stages are made random, the last first",
            ["method", *stages],
            randomised,
        ),
        Table(
            "The images, with Integrated Gradients",
            ["image", "label", "probability", "", "% chest", "% frame", "deletion gain"],
            images,
        ),
    ]
