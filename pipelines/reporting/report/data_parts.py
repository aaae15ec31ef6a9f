"""What the exploration of a dataset adds to a report."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.reporting.html import Cell, Table
from pipelines.reporting.language import Language
from pipelines.reporting.report.parts import Part, Source

SECTIONS: Final = ("training", "validation", "test")
SHOWN_FEATURES: Final = (
    "slices",
    "pixel_x_mm",
    "slice_distance_mm",
    "field_x_mm",
    "field_y_mm",
    "intensity_median",
    "noise_sd",
    "snr_image",
    "cnr",
    "rv_ml",
    "myo_ml",
    "lv_ml",
)
"""Columns of `survey.csv` that the report gives the range of."""

SIGNIFICANT: Final = 0.05
"""Corrected p-value below which sections are said to differ."""


def exploration_part(source: Source, words: Language, pictures: Path) -> Part:
    """What the data are, and which findings need a decision.

    Args:
        source: Folder of `thorax eda` for hearts.
        words: Language.
        pictures: Not used: the page of the exploration has the pictures.
    """
    del pictures
    content = source.content
    findings = content["findings"]
    different = [shift for shift in content["shifts"] if shift["p_holm"] < SIGNIFICANT]
    points = [
        words(
            "data.point", dataset=content["dataset"], patients=content["patients"], volumes=content["volumes"]
        ),
        words("data.findings_point", findings=len(findings), outliers=len(content["outliers"])),
    ]
    if content["shifts"]:
        points.append(words("data.shift_point", different=len(different), tests=len(content["shifts"])))
    return Part(
        title=words("data.title", dataset=content["dataset"]),
        points=points,
        tables=list(_tables(content, words)),
        limits=[words("data.held_out", labels=content["labels"]["held out"])]
        if content["labels"].get("held out")
        else [],
        suggestions=[
            words("suggest.data", found=finding["found"], decide=finding["decide"])
            for finding in findings
            if finding["urgency"] == "before training"
        ],
    )


def _tables(content: Mapping[str, Any], words: Language) -> Iterator[Table]:
    if content["sections"]:
        header = [words("table.group"), *(words(f"data.{section}") for section in SECTIONS)]
        rows: list[list[Cell]] = [
            [group, *(counts.get(section, 0) for section in SECTIONS)]
            for group, counts in content["sections"].items()
        ]
        rows.append([words("table.all"), *(_total(content["sections"], section) for section in SECTIONS)])
    else:
        header = [words("table.group"), words("table.patients")]
        rows = [[group, count] for group, count in content["groups"].items()]
    yield Table(words("data.groups"), header, rows)
    features = [name for name in SHOWN_FEATURES if name in content["features"]]
    yield Table(
        words("data.ranges"),
        [
            words("data.feature"),
            words("table.volumes"),
            words("data.least"),
            "5%",
            words("data.median"),
            "95%",
            words("data.most"),
        ],
        [
            [
                name,
                content["features"][name]["volumes"],
                *(
                    f"{content['features'][name][key]:.4g}"
                    for key in ("least", "p5", "median", "p95", "most")
                ),
            ]
            for name in features
        ],
    )
    if content["findings"]:
        yield Table(
            words("data.findings"),
            [words("data.urgency"), words("data.found"), words("data.decide")],
            [[finding["urgency"], finding["found"], finding["decide"]] for finding in content["findings"]],
        )


def _total(sections: Mapping[str, Mapping[str, int]], section: str) -> int:
    return sum(counts.get(section, 0) for counts in sections.values())
