"""Tables and sentences of an error analysis, for the HTML page and for the results page."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.evaluation.error_factors import MIN_PATIENTS
from pipelines.evaluation.evaluate import OVERLAYS
from pipelines.evaluation.heart_error_tables import CONTINUOUS, MEAN
from pipelines.evaluation.observer_limits import Statistic
from pipelines.evaluation.voxel_calibration import BAND_MM
from pipelines.reporting.agreement_figures import INDEX_TITLES
from pipelines.reporting.html import MISSING, Cell, Table
from pipelines.reporting.markdown import number, p_text

STRUCTURES: Final = tuple(LABEL_NAMES[label] for label in FOREGROUND)

OBSERVER_NOTE: Final = (
    "Figures between people are of other patients, protocols and contouring rules than those measured "
    "here: they tell what size of difference is usual, and are no test."
)
"""What is to be kept in mind at the published figures."""

LOW_CONTRAST_PERCENT: Final = 10.0
"""A volume has little contrast if it is among so many percent with the least."""


def level_tables(content: Mapping[str, Any]) -> list[Table]:
    """Dice at each level of each factor, a table a factor.

    Args:
        content: Content of `errors.json`.
    """
    levels: Sequence[Mapping[str, Any]] = content["levels"]
    tables = []
    for factor in dict.fromkeys(row["factor"] for row in levels):
        part = [row for row in levels if row["factor"] == factor and row["patients"]]
        names = [name for name in (*STRUCTURES, MEAN) if any(row["structure"] == name for row in part)]
        rows: list[list[Cell]] = []
        for level in dict.fromkeys(row["level"] for row in part):
            of_it = {row["structure"]: row for row in part if row["level"] == level}
            counts = [max(row[count] for row in of_it.values()) for count in ("count", "patients")]
            rows.append(
                [level, *(str(count) for count in counts), *(_dice(of_it.get(name)) for name in names)]
            )
        header = [factor, "volumes", "patients", *(f"Dice {_shown(name)}" for name in names)]
        tables.append(Table(f"Mean Dice by {factor}, 95% interval over patients", header, rows))
    return tables


def one_sided_table(content: Mapping[str, Any]) -> Table:
    """Slices missed and invented by structure and position, and where the error volume is."""
    total = sum(row["error_ml"] for row in content["one_sided"]) or 1.0
    rows = [
        [
            f"{row['structure'].upper()}, {row['position']}",
            *(str(row[name]) for name in ("slices", "missed", "invented")),
            number(row["error_ml"], 1),
            number(100 * row["error_ml"] / total, 1),
        ]
        for row in content["one_sided"]
    ]
    header = ["structure, position", "slices", "missed", "invented", "in one mask only, mL", "% of all"]
    return Table("Slices with a structure in one mask only, and the volume of the errors", header, rows)


def correlation_table(content: Mapping[str, Any]) -> Table:
    """Spearman's correlations of Dice with the continuous factors."""
    rows = [
        [
            f"{row['factor']}, {CONTINUOUS[row['factor']]}",
            row["structure"].upper(),
            str(row["patients"]),
            _signed(row["rho"], 2),
            p_text(row["p_value"]),
            p_text(row["p_holm"]),
        ]
        for row in content["correlations"]
    ]
    header = ["factor", "structure", "patients", "rho", "p", "p, Holm"]
    caption = f"Spearman's correlation with Dice over patients (at least {MIN_PATIENTS})"
    return Table(caption, header, rows)


def agreement_table(content: Mapping[str, Any]) -> Table:
    """Bland-Altman figures and correlations of each index."""
    rows: list[list[Cell]] = []
    for name, (title, unit) in INDEX_TITLES.items():
        figures = content["agreement"][name]["figures"]
        if figures is None:
            rows.append([f"{title}, {unit}", *[MISSING] * 7])
            continue
        rows.append(
            [
                f"{title}, {unit}",
                str(figures["pairs"]),
                *(
                    f"{_signed(figures[key], 1)} ({_range(figures[f'{key}_interval'])})"
                    for key in ("bias", "lower", "upper")
                ),
                number(figures["pearson"], 3),
                number(figures["icc"], 3),
                number(figures["variability_percent"], 1),
            ]
        )
    header = [
        "index",
        "patients",
        "bias",
        "lower limit",
        "upper limit",
        "Pearson",
        "ICC(2,1)",
        "variability, %",
    ]
    return Table("Measured minus true, with 95% confidence intervals", header, rows)


def observer_table(content: Mapping[str, Any]) -> Table:
    """What human observers differ by, beside the same figure measured here."""
    rows: list[list[Cell]] = []
    for name, (title, unit) in INDEX_TITLES.items():
        found = content["agreement"][name]
        for figure in found["observers"]:
            low, high = figure["low"], figure["high"]
            digits = 2 if figure["statistic"] == Statistic.ICC else 1
            published = f"{low:.{digits}f}" if low == high else f"{low:.{digits}f} to {high:.{digits}f}"
            rows.append(
                [
                    f"{title}, {unit}",
                    str(figure["statistic"]),
                    published,
                    _beside(found["figures"], figure["statistic"]),
                    figure["source"]["name"],
                ]
            )
    header = ["index", "figure", "between people", "measured here", "source"]
    return Table("What people differ by among themselves, and the network from the labels", header, rows)


def source_table(content: Mapping[str, Any]) -> Table:
    """The sources of the published figures."""
    sources = {
        figure["source"]["name"]: figure["source"]
        for found in content["agreement"].values()
        for figure in found["observers"]
    }
    rows = [[source[key] for key in ("name", "reference", "observers")] for source in sources.values()]
    return Table("Sources", ["source", "reference", "observers and patients"], rows)


def calibration_table(content: Mapping[str, Any]) -> Table:
    """Expected calibration error near the heart by structure."""
    rows = [
        [name.upper(), number(found["ece"], 4), f"{found['voxels']:,}"]
        for name, found in content["calibration"].items()
    ]
    caption = f"Calibration of voxels within {BAND_MM:.0f} mm of the heart in either mask"
    return Table(caption, ["structure", "expected calibration error", "voxels"], rows)


def worst_volumes(content: Mapping[str, Any], count: int = OVERLAYS) -> list[Mapping[str, Any]]:
    """Volumes with the lowest mean Dice, the lowest first."""
    known = [volume for volume in content["volumes"] if volume["dice"][MEAN] is not None]
    return sorted(known, key=lambda volume: float(volume["dice"][MEAN]))[:count]


def findings(content: Mapping[str, Any]) -> list[str]:
    """Where the network fails, in sentences made from the figures."""
    said = []
    total = sum(row["error_ml"] for row in content["one_sided"])
    if total:
        places: dict[str, float] = {}
        for row in content["one_sided"]:
            places[row["position"]] = places.get(row["position"], 0.0) + row["error_ml"]
        told = ", ".join(
            f"{100 * ml / total:.0f}% {place}" for place, ml in places.items() if ml >= total / 200
        )
        said.append(f"Of the volume that only one of the two masks has, there lies: {told}.")
        missed, invented = (sum(row[kind] for row in content["one_sided"]) for kind in ("missed", "invented"))
        slices = sum(row["slices"] for row in content["one_sided"])
        said.append(
            f"Of {slices} slices with a structure, counted for each, {missed} are missed altogether "
            f"and {invented} invented."
        )
    certain = [row for row in content["correlations"] if row["p_holm"] is not None and row["p_holm"] < 0.05]
    told = "; ".join(
        f"{row['structure'].upper()} with {row['factor']} (rho {row['rho']:+.2f})" for row in certain
    )
    said.append(
        f"Dice goes with: {told}, p below 0.05 after correction."
        if certain
        else "No correlation of Dice with spacing, contrast or heart size stands after correction."
    )
    aurocs = [volume["entropy_auroc"] for volume in content["volumes"] if volume["entropy_auroc"] is not None]
    if aurocs:
        said.append(
            "Near the heart, entropy tells wrong voxels from right ones with a mean AUROC of "
            f"{sum(aurocs) / len(aurocs):.3f} over {len(aurocs)} volumes."
        )
    return said


def _beside(figures: Mapping[str, Any] | None, statistic: str) -> str:
    """The figure measured here that is of the same kind as a published one."""
    if figures is None:
        return MISSING
    if statistic in (Statistic.LIMITS, Statistic.LIMITS_FROM_SD):
        return _range((figures["lower"], figures["upper"]))
    if statistic == Statistic.READERS:
        return f"SD {figures['sd']:.1f}"
    if statistic == Statistic.BIAS:
        return _signed(figures["bias"], 1)
    if statistic == Statistic.ICC:
        return number(figures["icc"], 3) or MISSING
    return number(figures["variability_percent"], 1) or MISSING


def _dice(row: Mapping[str, Any] | None) -> str:
    if row is None or row["dice"] is None:
        return MISSING
    interval = row["interval"]
    return f"{row['dice']:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _shown(name: str) -> str:
    return name if name == MEAN else name.upper()


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}"


def _signed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"
