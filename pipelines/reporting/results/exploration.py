"""Explored datasets: findings that need a decision, ranges, structures, labels, outliers, sections."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from matplotlib.figure import Figure

from pipelines.core.errors import expecting
from pipelines.core.records import LABEL_NAMES, AcdcLabel, Phase
from pipelines.exploration.files import (
    CONTENT_NAME,
    PICTURES,
    PLOTS,
    SHARES,
    TABLE_NAME,
    survey_figures,
    xray_figures,
)
from pipelines.exploration.findings import OUTLIER_RULE, SECTIONS, SIGNIFICANT
from pipelines.exploration.heart import FEATURE_BY_NAME, reported_features
from pipelines.figures.overlay import save_png
from pipelines.reporting.document import Cell, Document, Language, Picture, Section, Table, number, p_text
from pipelines.reporting.source import Context, Kind, Source

Content = Mapping[str, Any]

MAX_LINES: Final = 40
"""Rows of the long tables; the rest is in `survey.csv` and `eda.json`."""

MAX_SETTINGS: Final = 12
"""Acquisition settings that are listed."""

MAX_PAIRS: Final = 20
"""Pairs of equal radiographs that are listed."""

LISTED: Final = (
    "intensity_median", "intensity_p99", "noise_sd", "snr_image", "snr_blood", "snr_pool", "cnr",
)  # fmt: skip
"""Features that are listed volume by volume."""

NOISE_WORDS: Final = (
    "The SD of noise is the median absolute finest diagonal Haar detail over 0.6745 (Donoho and Johnstone "
    "1994, doi:10.1093/biomet/81.3.425), inside tissue, which is what is brighter than Otsu's threshold "
    "on the square root of the intensity. SNR is the mean of the tissue, or of the LV cavity, over it; "
    "CNR is the mean of the LV cavity less that of the myocardium, over it. This takes noise as "
    "independent from pixel to pixel: interpolation, filters, rounding and parallel imaging make it too "
    "small or uneven, so that these ratios compare images of one dataset and are not the SNR of the "
    "scanner. LV blood, mean over SD, has papillary muscles and flow in its SD, and is a lower bound. "
    "Background is not used: its noise is Rician, and many scanners blank it."
)
SHIFT_WORDS: Final = (
    "A patient counts once, with the mean of ED and ES. Distance: difference of the means in pooled SDs "
    "(Cohen's d; intensities and ratios on a logarithm), second split less first. KS: two-sided two-sample "
    "Kolmogorov-Smirnov test, corrected for all rows by Holm's rule. Only images and headers are "
    "compared: labels of the test set were not opened."
)
NO_SPLIT_WORDS: Final = (
    "There is no split to compare. Make one with 'thorax prepare', and give its folder with "
    "'--data', or as the folder to explore: training, validation and test are then compared, and the "
    "labels of the test set stay closed."
)
LABEL_WORDS: Final = (
    "Odd labels have holes, broken rings, islands, missing slices, volumes that a heart does not have, or "
    "hearts cut by the edge. A finding is a reason to look, and may be anatomy: the outflow tract opens the "
    "ring at the base. Slices are counted from 1."
)
XRAY_FEATURES: Final = {
    "width_px": ("width, pixels", 0),
    "height_px": ("height, pixels", 0),
    "aspect": ("width over height", 2),
    "brightness": ("mean grey, 0 to 1", 2),
    "contrast": ("standard deviation of grey", 2),
}
MODES: Final = {"L": "L (grey)", "RGB": "RGB (three channels)"}
QUANTILES: Final = ("min", "5%", "median", "95%", "max")


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of explored datasets of hearts.

    Args:
        sources: Folders of `thorax explore`.
        context: Language.

    Raises:
        DataError: If a folder lacks its table.
    """
    words = context.words
    sections, limits, suggestions = [], [], []
    for source in sources:
        content = source.content
        sections += _heart_sections(source, context)
        if closed := content["labels"].get("held out"):
            limits.append(words("data.held_out", labels=closed))
        suggestions += [
            words("suggest.data", found=finding["found"], decide=finding["decide"])
            for finding in content["findings"]
            if finding["urgency"] == "before training"
        ]
    names = ", ".join(source.content["dataset"] for source in sources)
    return Document(words("data.title", dataset=names), "", sections, limits, suggestions)


KIND: Final = Kind(
    "exploration",
    CONTENT_NAME,
    "thorax explore",
    "data",
    document,
    has=lambda content: "modes" not in content,
    is_usual=True,
)


def xray_document(sources: Sequence[Source], context: Context) -> Document:
    """Document of explored radiographs.

    Args:
        sources: Folders of `thorax explore chest-xray`.
        context: Language and folder for plots.
    """
    sections = [section for source in sources for section in _xray_sections(source, context)]
    counts = [
        f"{one.content['images']} chest radiographs of {one.content['patients']} patients" for one in sources
    ]
    return Document("Chest X-rays", f"{'; '.join(counts)}.", sections)


XRAY_KIND: Final = Kind(
    "xray_exploration",
    CONTENT_NAME,
    "thorax explore chest-xray",
    "data",
    xray_document,
    has=lambda content: "modes" in content,
)


def _heart_sections(source: Source, context: Context) -> list[Section]:
    content, frame, words = source.content, _survey(source), context.words
    plots = _plots(source, context, lambda: survey_figures(frame))

    def drawn(*titles: str) -> list[Picture]:
        return [plots[title] for title in titles if title in plots]

    def overlays(of: str) -> list[Picture]:
        found = [one for one in content["overlays"] if one["of"] == of and not source.figures_only]
        return [
            Picture(source.folder / one["picture"], one["title"], one["caption"], of_patient=True)
            for one in found
        ]

    different = sum(shift["p_holm"] < SIGNIFICANT for shift in content["shifts"])
    points = [
        words(
            "data.point", dataset=content["dataset"], patients=content["patients"], volumes=content["volumes"]
        ),
        words("data.findings_point", findings=len(content["findings"]), outliers=len(content["outliers"])),
    ]
    if content["shifts"]:
        points.append(words("data.shift_point", different=different, tests=len(content["shifts"])))
    return [
        Section(
            words("data.title", dataset=content["dataset"]),
            points=points,
            tables=[*_findings(content, words), _groups_table(content, words), _ranges(content, words)],
            pictures=[] if source.figures_only else _samples(source),
        ),
        Section(
            "Grid, field of view and orientation",
            tables=[_counts(frame), _orientation(frame), _settings(frame)],
            pictures=drawn("Grid and field of view", "Acquisition by group"),
            is_detail=True,
        ),
        Section(
            "Intensity and noise",
            [NOISE_WORDS, "Every volume is listed below."],
            pictures=drawn("Intensity and noise"),
            listing=_listing(frame),
            is_detail=True,
        ),
        *_structures(frame, drawn("Class balance", "Volumes by group and phase")),
        _labels(content, frame, overlays("labels")),
        _outliers(content, frame, overlays("outliers")),
        _shifts(content, frame, drawn("Distributions by split"), different),
        *_duplicates(content, frame),
    ]


def _plots(
    source: Source, context: Context, figures: Callable[[], Mapping[str, Figure]]
) -> dict[str, Picture]:
    """Plots by title: those that the command drew, or new ones where texts have to be in another language."""
    paths = {one["title"]: source.folder / one["picture"] for one in source.content[PLOTS]}
    if context.words.phrases and paths:
        for number, (title, figure) in enumerate(figures().items()):
            paths[title] = save_png(figure, context.pictures / f"{source.name}-{number}.png")
    return {title: Picture(path, title, title) for title, path in paths.items()}


def _survey(source: Source) -> pd.DataFrame:
    path = source.folder / TABLE_NAME
    with expecting(f"{path} of 'thorax explore'", advice="run it again"):
        frame = pd.read_csv(path, dtype={"patient": str})
        if "modes" in source.content:
            return frame
        frame[["section", "label_findings"]] = frame[["section", "label_findings"]].fillna("")
    return frame


def _samples(source: Source) -> list[Picture]:
    return [
        Picture(source.folder / one["picture"], one["title"], one["title"], of_patient=True)
        for one in source.content[PICTURES]
    ]


def _findings(content: Content, words: Language) -> Iterator[Table]:
    if content["findings"]:
        rows = [[item["urgency"], item["found"], item["decide"]] for item in content["findings"]]
        yield Table(words("data.findings"), words.titles("data.urgency", "data.found", "data.decide"), rows)


def _groups_table(content: Content, words: Language) -> Table:
    sections = content["sections"]
    if not sections:
        header = words.titles("table.group", "table.patients")
        return Table(words("data.groups"), header, [list(item) for item in content["groups"].items()])
    rows: list[list[Cell]] = [
        [group, *(counts.get(section, 0) for section in SECTIONS)] for group, counts in sections.items()
    ]
    totals = (sum(counts.get(section, 0) for counts in sections.values()) for section in SECTIONS)
    rows.append([words("table.all"), *totals])
    header = [words("table.group"), *(words(f"data.{section}") for section in SECTIONS)]
    return Table(words("data.groups"), header, rows)


def _ranges(content: Content, words: Language) -> Table:
    rows: list[list[Cell]] = []
    for name, found in content["features"].items():
        feature = FEATURE_BY_NAME[name]
        rows.append([feature.words, found["volumes"], *(feature.shown(found[word]) for word in SHARES)])
    keys = ("data.feature", "table.volumes", "data.least", "5%", "data.median", "95%", "data.most")
    return Table(words("data.ranges"), words.titles(*keys), rows)


def _counts(frame: pd.DataFrame) -> Table:
    rows: list[list[Cell]] = []
    parts: list[tuple[str, pd.DataFrame]] = [(str(name), part) for name, part in frame.groupby("group")]
    for name, part in [*parts, ("all", frame)]:
        phases = [int((part.phase == phase.value).sum()) for phase in Phase]
        states = [int((part.label == state).sum()) for state in ("read", "missing", "unusable", "held out")]
        rows.append([name, int(part.patient.nunique()), *phases, *states])
    header = ["group", "patients", "ED", "ES", "labels read", "missing", "unusable", "test set, closed"]
    return Table("Patients and volumes", header, rows)


def _settings(frame: pd.DataFrame) -> Table:
    patients = frame.drop_duplicates("patient").copy()
    patients["setting"] = [
        f"{row.columns_px:.0f} × {row.rows_px:.0f}, {row.pixel_x_mm:.2f} mm, "
        f"slices {row.slice_distance_mm:g} mm"
        for row in patients.itertuples()
    ]
    groups = sorted(patients.group.unique())
    rows: list[list[Cell]] = []
    for setting, count in patients.setting.value_counts().items():
        members = patients[patients.setting == setting]
        rows.append([str(setting), int(count), *(int((members.group == group).sum()) for group in groups)])
    caption = "Patients with the same matrix, pixel spacing and slice distance"
    return _capped(caption, ["", "patients", *groups], rows, MAX_SETTINGS)


def _orientation(frame: pd.DataFrame) -> Table:
    rows: list[list[Cell]] = []
    for (axes, oblique, placed), part in frame.groupby(["orientation", "is_oblique", "has_position"]):
        words = "oblique" if oblique else "along the scanner's axes"
        rows.append([str(axes), words, "yes" if placed else "no", len(part)])
    header = ["axes point to", "", "place or turn in the header", "volumes"]
    return Table("Orientation of the files", header, rows)


def _structures(frame: pd.DataFrame, pictures: list[Picture]) -> Iterator[Section]:
    read = frame[frame.label == "read"]
    if read.empty:
        yield Section("Structures", ["No label was read."], is_detail=True)
        return
    names = {label: LABEL_NAMES[label] for label in AcdcLabel}
    shares: list[list[Cell]] = []
    for phase, part in read.groupby("phase"):
        sums = part[[f"{name}_voxels" for name in names.values()]].sum()
        shares.append([str(phase), *(f"{100 * value / sums.sum():.2f}" for value in sums)])
    labels = [label for label in AcdcLabel if label and read[f"{names[label]}_ml"].notna().any()]
    volumes: list[list[Cell]] = []
    for (group, of_phase), part in read.groupby(["group", "phase"]):
        cells: list[Cell] = [f"{group} {of_phase}", len(part)]
        for label in labels:
            ml = part[f"{names[label]}_ml"]
            spread = f" ± {ml.std():.0f}" if len(ml) > 1 else ""
            cells += [f"{part[f'{names[label]}_voxels'].mean():.0f}", f"{ml.mean():.0f}{spread}"]
        volumes.append(cells)
    header = ["", "volumes"]
    for label in labels:
        header += [f"{label.name} voxels", f"{label.name} mL"]
    yield Section(
        "Structures",
        ["Whole voxels of the labels that were read, without correction for partial volume."],
        tables=[
            Table("Share of the voxels, %", ["", *(label.name for label in AcdcLabel)], shares),
            Table("Structures by group and phase: mean, and SD of the volumes", header, volumes),
        ],
        pictures=pictures,
        is_detail=True,
    )


def _labels(content: Content, frame: pd.DataFrame, overlays: list[Picture]) -> Section:
    odd = frame[frame.label_findings != ""]
    tables = []
    if content["implausible_phases"]:
        pairs = [list(pair) for pair in content["implausible_phases"]]
        tables.append(Table("Implausible ED and ES", ["patient", "finding"], pairs))
    if len(odd):
        kinds: list[list[Cell]] = [list(item) for item in content["label_findings"].items()]
        found: list[list[Cell]] = [
            [f"{row.patient} {row.phase}", str(row.group), str(row.label_findings)]
            for row in odd.itertuples()
        ]
        tables += [
            Table("Label findings by kind", ["finding", "volumes"], kinds),
            _capped("Label findings", ["volume", "group", "findings"], found),
        ]
    read, closed = (int((frame.label == state).sum()) for state in ("read", "held out"))
    words = [f"{len(odd)} of {read} labels that were read are odd. {LABEL_WORDS}"]
    if closed:
        words.append(f"{closed} labels of the test set were not opened.")
    return Section("Label quality", words, tables=tables, pictures=overlays, is_detail=True)


def _outliers(content: Content, frame: pd.DataFrame, overlays: list[Picture]) -> Section:
    outliers = content["outliers"]
    rows: list[list[Cell]] = []
    for item in outliers:
        feature = FEATURE_BY_NAME[item["feature"]]
        values = (feature.shown(item[word]) for word in ("value", "median"))
        group = str(frame.group[item["index"]])
        rows.append([item["volume"], group, feature.words, *values, f"{item['z']:.1f}", item["among"]])
    volumes = len({item["volume"] for item in outliers})
    counted = f"{len(outliers)} values of {volumes} volumes." if outliers else "There is none."
    header = ["volume", "group", "feature", "value", "median", "robust z", "among"]
    return Section(
        "Outliers",
        [OUTLIER_RULE, f"An outlier is a reason to look, not to leave out. {counted}"],
        tables=[_capped("Outliers, the farthest first", header, rows)] if rows else [],
        pictures=overlays,
        is_detail=True,
    )


def _shifts(content: Content, frame: pd.DataFrame, pictures: list[Picture], different: int) -> Section:
    title, shifts = "Training, validation and test compared", content["shifts"]
    if not frame.section.any():
        return Section(title, [NO_SPLIT_WORDS], is_detail=True)
    if not shifts:
        return Section(title, ["A split has too few patients for a test."], is_detail=True)
    rows: list[list[Cell]] = []
    for shift in shifts:
        feature = FEATURE_BY_NAME[shift["feature"]]
        medians = (feature.shown(shift[word]) for word in ("median_first", "median_second"))
        tests = (f"{shift['ks']:.2f}", p_text(shift["p_value"]), p_text(shift["p_holm"]))
        sections = f"{shift['first']}, {shift['second']}"
        rows.append([feature.words, sections, *medians, number(shift["distance_sd"], 2, "+"), *tests])
    farthest = shifts[0]
    words = (
        f"{different} of {len(shifts)} comparisons differ at {SIGNIFICANT} after the correction; the largest "
        f"distance is {abs(farthest['distance_sd'] or 0.0):.2f} SD "
        f"({FEATURE_BY_NAME[farthest['feature']].words}, {farthest['first']} and {farthest['second']}). "
        "That no difference is found in few patients is no proof that there is none."
    )
    header = ["feature", "splits", "median", "median", "distance, SD", "KS", "p", "p, Holm"]
    tables = [_capped("Images of the splits", header, rows)]
    return Section(title, [words, SHIFT_WORDS], tables=tables, pictures=pictures, is_detail=True)


def _duplicates(content: Content, frame: pd.DataFrame) -> Iterator[Section]:
    section = {f"{row.patient} {row.phase}": str(row.section) for row in frame.itertuples()}
    pairs = [("exact", *pair) for pair in content["copies"]]
    pairs += [("near", *pair) for pair in content["near_duplicates"]]
    rows: list[list[Cell]] = [
        [kind, one, two, ", ".join(dict.fromkeys(filter(None, (section.get(one), section.get(two)))))]
        for kind, one, two in pairs
    ]
    words = f"{len(content['copies'])} exact copies, and {len(content['near_duplicates'])} nearly equal pairs"
    if content["most_alike"] is not None:
        words += (
            f" (correlation of three small slices from {content['nearly_same_from']}; the two most alike "
            f"patients, copies apart, have {content['most_alike']:.2f})"
        )
    tables = [_capped("Pairs of the same image", ["", "first", "second", "splits"], rows)] if rows else []
    yield Section("Duplicates", [f"{words}."], tables=tables, is_detail=True)
    skipped: list[list[Cell]] = [
        [item["patient"], item["file"], _without_folders(item["reason"])] for item in content["put_aside"]
    ]
    if skipped:
        table = _capped("Skipped files", ["patient", "file", "reason"], skipped)
        yield Section("Skipped", tables=[table], is_detail=True)


def _without_folders(reason: str) -> str:
    """A reason may name the file with its folder, which does not concern other readers."""
    return " ".join(Path(word).name if word.startswith("/") else word for word in reason.split(" "))


def _listing(frame: pd.DataFrame) -> str:
    names = [feature.name for feature in reported_features(frame) if feature.name in LISTED]
    return str(frame.set_index(["patient", "phase"])[["group", *names]].round(2).to_string(na_rep="-"))


def _capped(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]], most: int = MAX_LINES
) -> Table:
    more = f", the first {most} of {len(rows)}" if len(rows) > most else ""
    return Table(caption + more, header, rows[:most])


def _xray_sections(source: Source, context: Context) -> list[Section]:
    content = source.content
    plots = _plots(source, context, lambda: xray_figures(_survey(source)))
    groups: list[list[Cell]] = [
        [group, counts["images"], 100 * counts["images"] / content["images"], counts["patients"]]
        for group, counts in content["groups"].items()
    ]
    modes: list[list[Cell]] = [[MODES.get(mode, mode), count] for mode, count in content["modes"].items()]
    ranges: list[list[Cell]] = [
        [words, *(number(content["features"][name][share], digits) for share in SHARES)]
        for name, (words, digits) in XRAY_FEATURES.items()
    ]
    copies, near = content["copies"], content["near_duplicates"]
    skipped: list[list[Cell]] = [[item["file"], item["reason"]] for item in content["put_aside"]]
    return [
        Section(
            "Counts",
            tables=[Table("Images by finding and agent", ["", "images", "% of images", "patients"], groups)],
        ),
        Section(
            "Sizes",
            tables=[
                Table("Percentiles", ["", *QUANTILES], ranges),
                Table("Pixel formats", ["", "images"], modes),
            ],
            pictures=[plots["sizes and aspect ratios"], plots["brightness and contrast"]],
        ),
        Section(
            "Patients",
            [
                f"{content['patients']} patients, {content['most_images_of_a_patient']} images at most of "
                f"one, {content['patients_with_several']} patients with more than one. "
                "A split by image would put such a patient into training and test."
            ],
            pictures=[plots["images per patient"]],
        ),
        Section("Samples", ["Drawn at random."], pictures=[] if source.figures_only else _samples(source)),
        Section(
            "Duplicates",
            [f"{len(copies)} exact copies, and {len(near)} further pairs that are nearly the same."],
            tables=list(_xray_pairs(copies, near)),
        ),
        Section("Skipped", tables=[Table("Files that could not be used", ["file", "reason"], skipped)])
        if skipped
        else Section("Skipped", ["No file was skipped."]),
    ]


def _xray_pairs(copies: Iterable[Content], near: Iterable[Content]) -> Iterator[Table]:
    pairs = [("exact", pair) for pair in copies] + [("near", pair) for pair in near]
    rows: list[list[Cell]] = [
        [kind, pair["first"], pair["second"], None if pair["same_finding"] else "different findings"]
        for kind, pair in pairs
    ]
    if rows:
        yield _capped("Pairs of the same image", ["", "first", "second", ""], rows, MAX_PAIRS)
