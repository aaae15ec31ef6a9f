"""The page of what `thorax benchmark measures` found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.benchmarks.measures import INDICES, PICTURE_NAME
from pipelines.reporting.document import Document, Picture, Section, Table, number

NAMES: Final = {
    "lv_edv_ml": "LV EDV, mL",
    "lv_esv_ml": "LV ESV, mL",
    "lv_ef_percent": "LV EF, points",
    "rv_ef_percent": "RV EF, points",
    "myo_mass_ed_g": "LV mass, g",
    "rv_edv_ml": "RV EDV, mL",
    "wall_max_ed_mm": "thickest segment at ED, mm",
    "thickening_low_percent": "thickening, lowest four segments, %",
}


def document(content: Mapping[str, Any], folder: Path) -> Document:
    """The page.

    Args:
        content: What `measure_measures` returned.
        folder: Folder with its picture.
    """
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
    told = [
        [
            NAMES[name],
            *(number(one["median"][group], 0) for group in one["median"]),
            one["group"],
            number(one["auc"], 2),
        ]
        for name, one in groups.items()
    ]
    return Document(
        "What the indices can tell",
        f"Measured by `thorax benchmark measures` on the label maps of {patients} patients and on {phantoms} "
        "generated hearts with known volumes. No network takes part: it is what slices and labels leave open",
        [
            Section(
                "The same heart in another place of the stack",
                [
                    "The stack is put at four places, a quarter of a slice apart. Two measurements of one "
                    "heart differ by less than the coefficient in 95 of 100 pairs. Labels are cut again from "
                    "the surface through them, which does not choose the basal slice anew; generated hearts "
                    "are imaged anew, and do."
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
                ["Medians by group, and how well the value alone tells the group that it should (AUC)."],
                tables=[
                    Table("Values by group", ["value", *groups["lv_edv_ml"]["median"], "tells", "AUC"], told)
                ],
                pictures=[
                    Picture(
                        folder / PICTURE_NAME,
                        "values by disease group",
                        "A point a patient; bars are medians.",
                    )
                ],
            ),
        ],
    )


def _value(content: Mapping[str, Any], of: str, name: str, key: str) -> float | None:
    found: float | None = content[of].get(name, {}).get(key)
    return found
