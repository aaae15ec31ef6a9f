"""Where networks fail: on hearts by place, factor and index; on radiographs by what is seen."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from sklearn.calibration import CalibrationDisplay

from pipelines.core.records import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.evaluation.error_files import ERRORS_NAME, PICTURES
from pipelines.evaluation.heart_error_tables import (
    CONTINUOUS,
    GROSS_DICE,
    LARGE_ML,
    MEAN,
    MIN_PATIENTS,
    Statistic,
    published_limits,
)
from pipelines.evaluation.heart_errors import BAND_MM, THIRDS
from pipelines.evaluation.segmentation import OVERLAYS
from pipelines.evaluation.xray_errors import DOUBT, MANY_IMAGES, TAIL_PERCENT, ErrorType
from pipelines.figures.overlay import panels, save_png
from pipelines.reporting.document import (
    MISSING,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    estimate,
    interval,
    number,
    p_text,
)
from pipelines.reporting.results.evaluation import dice_titles
from pipelines.reporting.source import Context, Kind, Source, each

Content = Mapping[str, Any]
Pairs = Sequence[tuple[float, float, str]]

COLORS: Final = {LABEL_NAMES[label]: LABEL_COLORS[label] for label in FOREGROUND}
STRUCTURES: Final = tuple(COLORS)

INDEX_TITLES: Final = {
    "edv_lv_ml": ("LV EDV", "mL"),
    "esv_lv_ml": ("LV ESV", "mL"),
    "ef_lv": ("LV EF", "%"),
    "mass_g": ("myocardial mass", "g"),
    "edv_rv_ml": ("RV EDV", "mL"),
    "esv_rv_ml": ("RV ESV", "mL"),
    "ef_rv": ("RV EF", "%"),
}
"""Name and unit of each index, in the order of tables and plots."""

MIN_COMPARED: Final = 5
"""Patients of a position from which its Dice is compared with that of others."""

ALPHA: Final = 0.05
"""Corrected p-value below which a factor is said to go with the Dice."""

OBSERVER_NOTE: Final = (
    "Values between people are of other patients, protocols and contouring rules than those measured here: "
    "they show what size of difference is usual, and are no test."
)
GROUP_COLORS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#7f7f7f")
OBSERVER_COLORS: Final = ("#555555", "#c44e52")

RIM: Final = 0.08
"""Room above and below what was measured, as a share of its extent."""

BAR: Final = 0.26
"""Width of a bar; three stand side by side."""

XRAY_HEADER: Final = (
    "property",
    "images",
    "errors",
    "% of errors",
    "% wrong with it",
    "% wrong without",
    "importance, %",
    "95% interval of the difference",
    "p",
    "example",
)


REASONS: Final = {
    DOUBT: "The label may be wrong, or the finding is small: have a radiologist read these first.",
    "dark": "Overexposed lungs hide faint consolidation.",
    "bright": "Underexposed lungs look consolidated.",
    "little contrast": "Consolidation stands out less from the lung around it.",
    "blurred": "Motion or compression removes the texture of the lung.",
    "grainy or sharp": "Noise looks like interstitial pattern.",
    "body turned in the picture": "Training turns images by a few degrees only.",
    "body off the middle": "Part of a lung may be cut, or shrunk by wide borders.",
    "sides unlike": "A rotated patient or one-sided disease: the heart's shadow hides part of a lung.",
    "black borders": "The chest is smaller in the square that the network sees.",
    "white spots: markers, wires, burnt-out bone": "Markers and tubes draw attention away from the lung.",
    "wide for its height": "Fitting into a square changes the shape of the chest.",
    "narrow for its height": "Fitting into a square changes the shape of the chest.",
    "healthy": "False positives: vessels or thymus taken for consolidation.",
    "bacterial pneumonia": "Missed consolidation, often behind the heart or the diaphragm.",
    "viral pneumonia": "Diffuse interstitial changes are fainter than consolidation.",
    f"patient with {MANY_IMAGES} images or more": "One patient read wrongly counts several times.",
}
"""What a property of misclassified radiographs may come of; hypotheses, not measured."""


def document(source: Source, context: Context) -> Document:
    """Document of an error analysis on hearts; the context has the language and the folder for plots."""
    limits = [context.words("errors.limit", name=source.name)]
    suggestions = [*_suggestions(source.content, context.words)]
    return Document("", "", [*_sections(source, context)], limits, suggestions)


KIND: Final = Kind(
    "errors",
    ERRORS_NAME,
    "thorax analyse",
    "errors",
    each("errors.title", document),
    has=lambda content: "types" not in content,
    is_usual=True,
)


def xray_document(source: Source, _: Context) -> Document:
    """Document of an error analysis on radiographs, in English."""
    kinds = [ErrorType(**kind) for kind in source.content["types"]]
    cases = source.content["cases"]
    wrong = sum(not case["is_correct"] for case in cases)
    sections = [
        Section(
            f"Error types, {source.name}",
            [
                f"{wrong} of {len(cases)} images are misclassified. Dark, blurred and the like mean the "
                f"{TAIL_PERCENT:.0f}% of the images that are most so; many images are {MANY_IMAGES} or "
                "more of a patient among those measured. Intervals are bootstrapped over patients; p is "
                f"Fisher's, for each row by itself: with {len(kinds)} rows, one below 0.05 is to be "
                "expected by chance. Importance is the share of all errors that would not have happened "
                "at the error rate of the images without the property; properties overlap."
            ],
            tables=[types_table(kinds), reasons_table(kinds)],
            pictures=[
                Picture(path, f"misclassified images, part {number}", of_patient=True)
                for number, path in enumerate(source.pictures(PICTURES), start=1)
            ],
            block="errors",
        )
    ]
    if not wrong:
        sections.append(Section(f"Gallery, {source.name}", ["No image is misclassified."]))
    suggestions = []
    first = max(kinds, key=_importance, default=None)
    if first and first.name in REASONS and _importance(first) > 0:
        reason = f"Look first at errors of this kind: {first.name}"
        suggestions.append(f"{reason} ({100 * _importance(first):.0f}%). {REASONS[first.name]}")
    return Document("", "", sections, suggestions=suggestions)


XRAY_KIND: Final = Kind(
    "xray_errors",
    ERRORS_NAME,
    "thorax analyse",
    "errors",
    each("Errors on chest X-rays", xray_document),
    has=lambda content: "types" in content,
)


def types_table(kinds: Sequence[ErrorType]) -> Table:
    """Error types of radiographs, a row each."""
    return Table("Properties of misclassified images", XRAY_HEADER, [_kind(kind) for kind in kinds])


def reasons_table(kinds: Sequence[ErrorType]) -> Table:
    """What error types with errors may come of, the most important first."""
    rows = [
        [kind.name, number(100 * _importance(kind), 1), REASONS[kind.name]]
        for kind in sorted(kinds, key=_importance, reverse=True)
        if kind.errors and kind.name in REASONS
    ]
    return Table("Possible reasons", ["property", "importance, %", "possible reason"], rows)


def _importance(kind: ErrorType) -> float:
    """Share of all errors beyond those that the images would have without the property; 0 for none."""
    if not kind.errors or kind.share_of_errors is None:
        return 0.0
    return max(0.0, kind.share_of_errors * (1 - (kind.other_rate or 0.0) * kind.images / kind.errors))


def findings(content: Content) -> list[str]:
    """Where the network fails, in sentences made from the values.

    Args:
        content: Content of `errors.json` of hearts.
    """
    sentences = []
    rows = content["one_sided"]
    total = sum(row["error_ml"] for row in rows)
    if total:
        places = Counter[str]()
        for row in rows:
            places[row["position"]] += row["error_ml"]
        shares = [f"{100 * ml / total:.0f}% {place}" for place, ml in places.items() if ml >= total / 200]
        missed, invented, slices, large, gross = (
            sum(row[kind] for row in rows) for kind in ("missed", "invented", "slices", "large", "gross")
        )
        sentences += [
            f"Volume in only one of the two masks, by position: {', '.join(shares)}.",
            f"Of {slices} slices with a structure, counted for each, {missed} are missed altogether "
            f"and {invented} are false positives.",
            f"Of {large} slices with more than {LARGE_ML:.0f} mL of a structure, {gross} have a Dice below "
            f"{GROSS_DICE}.",
        ]
    certain = [row for row in content["correlations"] if _is_clear(row)]
    named = "; ".join(
        f"{row['structure'].upper()} with {row['factor']} (rho {row['rho']:+.2f})" for row in certain
    )
    sentences.append(
        f"Dice goes with: {named}, p below {ALPHA} after correction."
        if certain
        else "No correlation of Dice with spacing, contrast or heart size remains after correction."
    )
    aurocs = [volume["entropy_auroc"] for volume in content["volumes"] if volume["entropy_auroc"] is not None]
    if aurocs:
        sentences.append(
            "Near the heart, entropy separates wrong voxels from right ones with a mean AUROC of "
            f"{sum(aurocs) / len(aurocs):.3f} over {len(aurocs)} volumes."
        )
    return sentences


def _is_clear(row: Content) -> bool:
    return row["p_holm"] is not None and row["p_holm"] < ALPHA


def _sections(source: Source, context: Context) -> Iterator[Section]:
    content, words = source.content, context.words
    plots = _plots(content, context)
    first, *others = level_tables(content, words)
    clear = sum(_is_clear(row) for row in content["correlations"])
    tests = len(content["correlations"])
    yield Section(
        words("errors.title", name=source.name),
        points=[
            words("errors.point", patients=content["patients"], clear=clear, tests=tests, alpha=ALPHA),
            *findings(content),
        ],
        tables=[first, one_sided_table(content)],
        pictures=[plots["levels"]],
    )
    yield Section(
        "Phase, group, image and heart",
        [
            "Each factor by itself: groups differ in heart size, phases in both. Contrast is that of the "
            "LV's blood against the myocardium, in standard deviations within them."
        ],
        tables=[*others, correlation_table(content, words)],
        pictures=[plots["factors"]],
        is_detail=True,
    )
    yield Section(
        words("errors.agreement"),
        [OBSERVER_NOTE],
        tables=[agreement_table(content, words)],
        pictures=[plots["agreement_lv"], plots["agreement_rv"]],
    )
    yield Section(
        "Differences between people", tables=[observer_table(content), source_table(content)], is_detail=True
    )
    yield Section(
        words("errors.gallery"),
        tables=[_worst_table(content, words)],
        pictures=[
            Picture(source.folder / PICTURES / one["picture"], one["alt"], one["caption"], of_patient=True)
            for one in ([] if source.figures_only else content["gallery"])
        ],
    )
    yield Section(
        words("errors.calibration"),
        points=[f"skipped {one['patient']}: {one['reason']}" for one in content["problems"]],
        tables=[calibration_table(content)],
        pictures=[plots["reliability"]],
    )


def level_tables(content: Content, words: Language) -> list[Table]:
    """Dice at each level of each factor, a table a factor."""
    tables = []
    for factor in dict.fromkeys(row["factor"] for row in content["levels"]):
        part = [row for row in content["levels"] if row["factor"] == factor and row["patients"]]
        names = [name for name in (*STRUCTURES, MEAN) if any(row["structure"] == name for row in part)]
        rows: list[list[Cell]] = []
        for level in dict.fromkeys(row["level"] for row in part):
            of_it = {row["structure"]: row for row in part if row["level"] == level}
            counts = [max(row[count] for row in of_it.values()) for count in ("count", "patients")]
            found = [of_it.get(name, {}) for name in names]
            dice = [estimate(row.get("dice"), row.get("interval"), 3, words) for row in found]
            rows.append([level, *map(str, counts), *dice])
        header = [factor, *words.titles("table.volumes", "table.patients"), *dice_titles(words, names)]
        tables.append(Table(words("errors.levels", factor=factor), header, rows))
    return tables


def one_sided_table(content: Content) -> Table:
    """Slices missed and false positive by structure and position, and where the error volume is."""
    total = sum(row["error_ml"] for row in content["one_sided"]) or 1.0
    rows: list[list[Cell]] = [
        [
            f"{row['structure'].upper()}, {row['position']}",
            *(str(row[name]) for name in ("slices", "missed", "invented")),
            number(row["error_ml"], 1),
            number(100 * row["error_ml"] / total, 1),
        ]
        for row in content["one_sided"]
    ]
    header = ["structure, position", "slices", "missed", "false positive", "in one mask only, mL", "% of all"]
    return Table("Slices with a structure in one mask only, and the volume of the errors", header, rows)


def correlation_table(content: Content, words: Language) -> Table:
    """Spearman's correlations of Dice with the continuous factors."""
    rows: list[list[Cell]] = [
        [
            f"{row['factor']}, {CONTINUOUS[row['factor']]}",
            row["structure"].upper(),
            str(row["patients"]),
            number(row["rho"], 2, "+"),
            p_text(row["p_value"]),
            p_text(row["p_holm"]),
        ]
        for row in content["correlations"]
    ]
    keys = ("errors.factor", "table.structure", "table.patients", "rho", "p", "comparison.p_holm")
    return Table(words("errors.correlations", patients=MIN_PATIENTS), words.titles(*keys), rows)


def agreement_table(content: Content, words: Language) -> Table:
    """Bland-Altman values and correlations of each index."""
    rows: list[list[Cell]] = []
    for name, (title, unit) in INDEX_TITLES.items():
        found = content["agreement"][name]["figures"]
        cells: list[Cell] = [None] * 7
        if found is not None:
            cells = [
                str(found["pairs"]),
                *(
                    f"{number(found[key], 1, '+')} ({interval(found[f'{key}_interval'], 1, words)})"
                    for key in ("bias", "lower", "upper")
                ),
                number(found["pearson"], 3),
                number(found["icc"], 3),
                number(found["variability_percent"], 1),
            ]
        rows.append([f"{title}, {unit}", *cells])
    keys = ("table.index", "table.patients", "table.bias", "errors.lower", "errors.upper")
    header = words.titles(*keys, "Pearson", "ICC(2,1)", "errors.variability")
    return Table(words("errors.agreement_table"), header, rows)


def observer_table(content: Content) -> Table:
    """Differences between human observers, alongside the same value measured here."""
    rows: list[list[Cell]] = []
    for name, (title, unit) in INDEX_TITLES.items():
        found = content["agreement"][name]
        for figure in found["observers"]:
            low, high = figure["low"], figure["high"]
            digits = 2 if figure["statistic"] == Statistic.ICC else 1
            published = f"{low:.{digits}f}" if low == high else f"{low:.{digits}f} to {high:.{digits}f}"
            own = _own_value(found["figures"], figure["statistic"])
            statistic = str(figure["statistic"])
            rows.append([f"{title}, {unit}", statistic, published, own, figure["source"]["name"]])
    header = ["index", "statistic", "between people", "measured here", "source"]
    return Table("Differences between people, and of the network from the labels", header, rows)


def source_table(content: Content) -> Table:
    """The sources of the published values."""
    sources = {
        figure["source"]["name"]: figure["source"]
        for found in content["agreement"].values()
        for figure in found["observers"]
    }
    rows = [[source[key] for key in ("name", "reference", "observers")] for source in sources.values()]
    return Table("Sources", ["source", "reference", "observers and patients"], rows)


def calibration_table(content: Content) -> Table:
    """Expected calibration error near the heart by structure."""
    rows: list[list[Cell]] = [
        [name.upper(), number(found["ece"], 4), f"{found['voxels']:,}"]
        for name, found in content["calibration"].items()
    ]
    caption = f"Calibration of voxels within {BAND_MM:.0f} mm of the heart in either mask"
    return Table(caption, ["structure", "expected calibration error", "voxels"], rows)


def _worst_table(content: Content, words: Language) -> Table:
    known = [volume for volume in content["volumes"] if volume["dice"][MEAN] is not None]
    rows: list[list[Cell]] = [
        [
            f"{volume['patient']} {volume['phase']}, {volume['group']}",
            number(volume["dice"][MEAN], 3),
            "; ".join(volume["reasons"][:3]) or "off by little everywhere",
        ]
        for volume in sorted(known, key=lambda volume: float(volume["dice"][MEAN]))[:OVERLAYS]
    ]
    header = [words("table.volumes"), *dice_titles(words, [MEAN]), words("errors.reason")]
    return Table(words("errors.reasons"), header, rows)


def _own_value(found: Content | None, statistic: str) -> Cell:
    """The value measured here that is of the same kind as a published one."""
    if found is None:
        return None
    if statistic in (Statistic.LIMITS, Statistic.LIMITS_FROM_SD):
        return f"{found['lower']:.1f} to {found['upper']:.1f}"
    if statistic == Statistic.READERS:
        return f"SD {found['sd']:.1f}"
    if statistic == Statistic.BIAS:
        return number(found["bias"], 1, "+")
    if statistic == Statistic.ICC:
        return number(found["icc"], 3)
    return number(found["variability_percent"], 1)


def _suggestions(content: Content, words: Language) -> Iterator[str]:
    for name in STRUCTURES:
        places = {
            level["level"]: level["dice"]
            for level in content["levels"]
            if (level["factor"], level["structure"]) == ("position", name)
            and level["dice"] is not None
            and level["patients"] >= MIN_COMPARED
        }
        if len(places) > 1:
            worst = min(places, key=places.__getitem__)
            structure, dice = words.name("structure", name), number(places[worst], 3)
            yield words("suggest.position", structure=structure, position=worst, dice=dice)


PLOTS: Final = {
    "levels": "Mean Dice with 95% intervals over patients by third of the ventricle, phase and group.",
    "factors": "Dice of each volume against spacing, contrast and heart size.",
    "agreement_lv": "LV: differences against means with bias and limits (bands: 95% confidence), and "
    "measured against true. Dotted: limits between people.",
    "agreement_rv": "RV: the same. Dotted lines are missing where no limits were found published.",
    "reliability": "Share of voxels near the heart that are the structure, by probability, and the number of "
    "voxels.",
}


def _plots(content: Content, context: Context) -> dict[str, Picture]:
    found = {name: Picture(context.picture(name), text, text) for name, text in PLOTS.items()}
    _level_plot(content["levels"], found["levels"].path)
    _factor_plot(content["volumes"], content["correlations"], found["factors"].path)
    for side in ("lv", "rv"):
        names = [name for name in INDEX_TITLES if ("rv" in name) == (side == "rv")]
        _agreement_plot(content["agreement"], names, found[f"agreement_{side}"].path)
    _reliability_plot(content["calibration"], found["reliability"].path)
    return found


def _level_plot(levels: Sequence[Content], path: Path) -> None:
    figure, axes = panels(3, width=4.0, height=3.6, sharey=True, width_ratios=(3, 2, 4))
    for panel, factor in zip(axes, ("position", "phase", "group"), strict=True):
        rows = [row for row in levels if row["factor"] == factor and row["dice"] is not None]
        names = list(dict.fromkeys(row["level"] for row in rows))
        if factor == "position":
            names = [str(place) for place in THIRDS if str(place) in names]
        for shift, (structure, color) in enumerate(COLORS.items(), start=-1):
            of_it = {row["level"]: row for row in rows if row["structure"] == structure}
            for place, name in enumerate(names):
                if name in of_it:
                    x, row = place + shift * BAR, of_it[name]
                    panel.bar(x, row["dice"], BAR * 0.9, color=color)
                    if row["interval"]:
                        panel.vlines(x, *row["interval"], color="black", linewidth=1)
        panel.set_xticks(range(len(names)), names)
        panel.set_title(factor)
    axes[0].set(ylabel="Dice", ylim=(0, 1))
    handles = [axes[0].bar(0, 0, color=color, label=name.upper()) for name, color in COLORS.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    save_png(figure, path)


def _factor_plot(volumes: Sequence[Content], correlations: Sequence[Content], path: Path) -> None:
    rhos = {(row["factor"], row["structure"]): row["rho"] for row in correlations}
    figure, axes = panels(len(CONTINUOUS), width=3.0, height=4.0, sharey=True)
    for panel, (factor, unit) in zip(axes, CONTINUOUS.items(), strict=True):
        for structure, color in COLORS.items():
            pairs = [
                (volume["factors"][factor], volume["dice"][structure])
                for volume in volumes
                if None not in (volume["factors"][factor], volume["dice"][structure])
            ]
            rho = rhos.get((factor, structure))
            label = structure.upper() if rho is None else f"{structure.upper()}, rho {rho:+.2f}"
            values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
            panel.scatter(values[:, 0], values[:, 1], s=16, color=color, alpha=0.75, label=label)
        panel.set(xlabel=f"{factor} ({unit})")
        panel.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    axes[0].set_ylabel("Dice of a volume")
    save_png(figure, path)


def _reliability_plot(calibration: Content, path: Path) -> None:
    figure, (left, right) = panels(2, width=4.8, height=3.4)
    for name, color in COLORS.items():
        found = calibration[name]
        if found["ece"] is None:
            continue
        shares, probabilities, counts = (
            np.array([point[key] for point in found["curve"]]) for key in ("share", "probability", "count")
        )
        display = CalibrationDisplay(shares, probabilities, probabilities)
        display.plot(ax=left, name=f"{name.upper()}, ECE {found['ece']:.3f}", color=color, markersize=4)
        right.plot(probabilities, counts, marker="o", markersize=4, color=color)
    left.set(xlabel="probability", ylabel="share of voxels that are the structure", aspect="equal")
    right.set(xlabel="probability", ylabel="voxels", yscale="log")
    left.legend(fontsize=8, frameon=False)
    save_png(figure, path)


def _agreement_plot(agreement: Content, names: Sequence[str], path: Path) -> None:
    """A row an index: Bland-Altman at the left, measured against true at the right.

    Dashed lines are the 95% limits of agreement, shaded bands the confidence intervals of bias
    and limits, dotted lines published limits between human observers.
    """
    figure, axes = panels(2, len(names), width=4.75, height=3.1, width_ratios=(1.6, 1))
    groups = sorted({group for name in names for group in agreement[name]["groups"]})
    colors = {group: GROUP_COLORS[index % len(GROUP_COLORS)] for index, group in enumerate(groups)}
    for left, right, name in zip(axes[::2], axes[1::2], names, strict=True):
        found = agreement[name]
        pairs = [
            (measured, true, colors[group])
            for measured, true, group in zip(found["measured"], found["truth"], found["groups"], strict=True)
            if measured is not None and true is not None
        ]
        title, unit = INDEX_TITLES[name]
        _bland_altman(left, pairs, found["figures"], name)
        _against_truth(right, pairs, found["figures"])
        left.set(xlabel=f"{title}, mean of measured and true ({unit})", ylabel=f"measured – true ({unit})")
        right.set(xlabel=f"true {title} ({unit})", ylabel=f"measured ({unit})")
    handles = [axes[0].plot([], [], "o", color=color, label=group)[0] for group, color in colors.items()]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8
        )
    save_png(figure, path)


def _bland_altman(axes: Axes, pairs: Pairs, found: Content | None, name: str) -> None:
    axes.axhline(0, color="0.8", linewidth=1)
    axes.scatter(
        [(measured + true) / 2 for measured, true, _ in pairs],
        [measured - true for measured, true, _ in pairs],
        c=[color for _, _, color in pairs],
        s=22,
        zorder=3,
    )
    for limits, color in zip(published_limits(name), OBSERVER_COLORS, strict=False):
        label = f"between people: {limits.low:.0f} to {limits.high:.0f}, {limits.source.name}"
        for end in (limits.low, limits.high):
            axes.axhline(end, color=color, linestyle="dotted", linewidth=1.4, label=label)
            label = ""
    errors = [measured - true for measured, true, _ in pairs] + [0.0]
    if found:
        errors += [*found["lower_interval"], *found["upper_interval"]]
    # Some published limits are so wide that nothing else could be seen: the legend has them.
    rim = RIM * (max(errors) - min(errors)) or 1.0
    axes.set_ylim(min(errors) - rim, max(errors) + rim)
    for key, style in (("bias", "solid"), ("lower", "dashed"), ("upper", "dashed")):
        if found is None:
            break
        axes.axhline(found[key], color="black", linestyle=style, linewidth=1)
        axes.axhspan(*found[f"{key}_interval"], color="tab:blue", alpha=0.12, linewidth=0)
        axes.annotate(
            number(found[key], 1, "+") or MISSING,
            (1.0, found[key]),
            xycoords=("axes fraction", "data"),
            size=7,
            va="bottom",
            ha="right",
        )
    if published_limits(name):
        axes.legend(fontsize=6.5, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=2)


def _against_truth(axes: Axes, pairs: Pairs, found: Content | None) -> None:
    values = [value for measured, true, _ in pairs for value in (measured, true)]
    ends = (min(values), max(values)) if values else (0.0, 1.0)
    axes.plot(ends, ends, color="0.7", linewidth=1)
    measured, true, colors = zip(*pairs, strict=True) if pairs else ((), (), ())
    axes.scatter(true, measured, c=colors, s=22, zorder=3)
    if found and found["pearson"] is not None and found["icc"] is not None:
        text = f"r = {found['pearson']:.3f}\nICC = {found['icc']:.3f}"
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", size=8)


def _kind(kind: ErrorType) -> list[Cell]:
    low, high = kind.interval or (None, None)
    shares = (kind.share_of_errors, kind.error_rate, kind.other_rate)
    return [
        kind.name,
        str(kind.images),
        str(kind.errors),
        *(number(None if share is None else 100 * share, 1) for share in shares),
        number(100 * _importance(kind), 1),
        f"{100 * low:+.1f} to {100 * high:+.1f}" if low is not None and high is not None else None,
        p_text(kind.p_value),
        f"`{Path(kind.example).name}`" if kind.example else None,
    ]
