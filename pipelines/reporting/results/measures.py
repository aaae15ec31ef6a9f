"""The page of what `thorax benchmark measures` found."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipelines.benchmarks.measures import CONTENT_NAME, INDICES, NAMES, PICTURE_NAME
from pipelines.reporting.document import Cell, Document, Picture, Section, Table, number
from pipelines.reporting.source import Context, Kind, Source, each


def document(source: Source, _: Context) -> Document:
    """Document of intervals, repeatability, partial volume and disease groups, in English."""
    content = source.content
    patients, phantoms = content["patients"], content["number_of_phantoms"]
    header = ["index", "labels", "generated hearts"]
    repeat = [
        [
            NAMES[name],
            *(number(_value(content, of, name, "repeatability"), 1) for of in ("labels", "phantoms")),
        ]
        for name in INDICES
    ]
    change = [
        [
            NAMES[name],
            f"{content['labels'][name]['surface']:+.1f} ± {content['labels'][name]['surface_sd'] or 0:.1f}",
            *(number(_value(content, "phantoms", name, f"error_{way}"), 1) for way in ("sum", "surface")),
        ]
        for name in INDICES
    ]
    groups = content["groups"]
    by_group = [
        [
            NAMES[name],
            *(number(one["median"][group], 1) for group in one["median"]),
            one["group"],
            number(one["auc"], 2),
        ]
        for name, one in groups.items()
    ]
    moved = [
        number(_value(content, of, "lv_ef_percent", "repeatability"), 1) for of in ("phantoms", "labels")
    ]
    indexed = (
        [] if "lv_edv_ml_m2" in groups else ["No heights and weights are known, so volumes are not indexed."]
    )
    return Document(
        "",
        f"Measured by `thorax benchmark measures` on the label maps of {patients} patients and on {phantoms} "
        "generated hearts with known volumes.",
        [
            *_intervals(content),
            Section(
                "The same heart in another place of the stack",
                [
                    "The stack is put at four places, a quarter of a slice apart. Two measurements of one "
                    "heart differ by less than the coefficient in 95 of 100 pairs. Labels are cut again from "
                    "the surface through them, which does not choose the basal slice anew; generated hearts "
                    f"are imaged anew, and do: of LV EF it is {moved[0]} percentage points, not {moved[1]}. "
                    "No network takes part: it is what slices and labels leave open."
                ],
                tables=[Table("Repeatability coefficient", header, repeat)],
            ),
            Section(
                "Surface in place of the sum of slices",
                [
                    "Change of each index by a surface through the contours that closes within half a slice; "
                    "on generated hearts the mean absolute error of both against the truth."
                ],
                tables=[
                    Table(
                        "Partial volume",
                        ["index", "change on labels", "error, sum", "error, surface"],
                        change,
                    )
                ],
            ),
            Section(
                "Disease groups",
                [
                    "Medians by group, and how well the value alone separates the group named from the "
                    "others (AUC). MINF is compared without DCM, whose whole wall hardly moves.",
                    *indexed,
                ],
                tables=[
                    Table(
                        "Values by group", ["value", *groups["lv_edv_ml"]["median"], "group", "AUC"], by_group
                    )
                ],
                pictures=[
                    Picture(
                        source.folder / PICTURE_NAME,
                        "values by disease group",
                        "A point a patient; bars are medians.",
                    )
                ],
            ),
        ],
    )


TITLE: Final = "What the indices are worth"
KIND: Final = Kind("measures", CONTENT_NAME, "thorax benchmark measures", "results", each(TITLE, document))


def _intervals(content: Mapping[str, Any]) -> Iterator[Section]:
    if content["intervals"] is None:
        return
    first = content["intervals"]["lv_edv_ml"]
    text = (
        "Half of the interval that holds the value of a person's contours for 9 of 10 patients: the "
        f"conformal quantile of the error on {first['patients']} patients outside the test set, each "
        "segmented by a network that was trained on others."
    )
    if first["test_patients"]:
        text += (
            f" The last column is the share of {first['test_patients']} test patients whose error is within, "
            "by the network that is shipped; they took no part in the calibration."
        )
    rows: list[list[Cell]] = [
        [
            NAMES[name],
            number(one["half_width"], 1),
            None if one["coverage"] is None else f"{100 * one['coverage']:.0f}%",
        ]
        for name, one in content["intervals"].items()
    ]
    header = ["index", "±", "test patients within"]
    yield Section("Intervals of a network's values", [text], tables=[Table("Intervals", header, rows)])


def _value(content: Mapping[str, Any], of: str, name: str, key: str) -> float | None:
    found: float | None = content[of].get(name, {}).get(key)
    return found
