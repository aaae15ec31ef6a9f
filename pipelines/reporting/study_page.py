"""Pages on one study and on the demo."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pipelines
from pipelines.core.cardiac import (
    ADULT_YEARS,
    OF_HEART_RATE,
    REPEATABILITY,
    CardiacIndices,
    Normal,
    PatientFacts,
    cardiac_indices,
)
from pipelines.core.records import FOREGROUND, LABEL_NAMES, PatientRecord, Phase
from pipelines.core.volume import Volume
from pipelines.datasets.loading import load_label
from pipelines.evaluation.segmentation import MEAN
from pipelines.figures.overlay import texts_by
from pipelines.figures.study import draw_two_curves
from pipelines.inference.fhir import write_fhir
from pipelines.inference.inputs import Study
from pipelines.inference.segment import KeptMasks, StudyOptions, StudyResult, Tools, segment_study
from pipelines.reporting.document import (
    DEFAULT,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    interval,
    number,
    read_language,
)
from pipelines.reporting.html import html_text, require_pdf, write_html, write_pdf
from pipelines.training.run_record import history_figure

MAX_WARNINGS: Final = 5
"""Warnings that fit the page; the others are counted."""

VOLUMES: Final = {
    "lv_edv_ml": "lv_edv_ml_m2",
    "lv_esv_ml": "lv_esv_ml_m2",
    "lv_sv_ml": "lv_sv_ml_m2",
    "lv_ef_percent": "",
    "myo_mass_ed_g": "myo_mass_ed_g_m2",
    "rv_edv_ml": "rv_edv_ml_m2",
    "rv_esv_ml": "rv_esv_ml_m2",
    "rv_sv_ml": "rv_sv_ml_m2",
    "rv_ef_percent": "",
}
"""Values of the first table, and the same by body surface."""

OTHERS: Final = (
    *OF_HEART_RATE,
    "lv_peak_ejection_ml_s",
    "lv_peak_filling_ml_s",
    "wall_mean_ed_mm",
    "wall_max_ed_mm",
    "strain_endo_percent",
    "strain_mid_percent",
    "strain_epi_percent",
    "strain_radial_percent",
)

PICTURES: Final = ("ranges", "wall", "strain", "curve", "slices", "cine")
"""Pictures of the page in their order, which fills both columns; the moving one stands in HTML alone."""


@dataclass(frozen=True, slots=True)
class StudyPages:
    """Writes pages of studies: the one way for commands, watcher, cohort and server. It can be pickled.

    Attributes:
        model: What segmented the studies, for the reader.
        language: Code of the language.
        anonymous: Leave out who and when.
    """

    model: str
    language: str = DEFAULT
    anonymous: bool = False

    def __call__(self, result: StudyResult, folder: Path) -> list[Path]:
        """Write the page of a study as `NAME_report.html` and `NAME_report.pdf`.

        Args:
            result: A study that was segmented with pictures for a page; they stay in the language they have.
            folder: Existing folder.

        Returns:
            The two files.

        Raises:
            ConfigError: If WeasyPrint is not there.
            DataError: If a picture is missing.
            OutputError: If a file cannot be written.
        """
        words = read_language(self.language)
        page, pdf = (folder / f"{result.study}_report.{ending}" for ending in ("html", "pdf"))
        moving, still = (
            study_document(result, words, model=self.model, anonymous=self.anonymous, moving=is_moving)
            for is_moving in (True, False)
        )
        write_html(page, moving, words)
        write_pdf(pdf, html_text(still, words))
        return [page, pdf]

    def of_masks(
        self,
        study: Study,
        masks: Sequence[Path],
        folder: Path,
        facts: PatientFacts | None = None,
        *,
        fhir: bool = False,
    ) -> list[Path]:
        """Write the page of a study whose label maps are there already, of a network.

        Args:
            study: Its images.
            masks: Label maps of the images, in their order.
            folder: Existing folder; it gets the page and its pictures, and a copy of the label maps.
            facts: What is known of the patient; counts before what the files tell.
            fhir: Write the values for other programs, too.

        Raises:
            ConfigError: If WeasyPrint is not there.
            DataError: If an image or a label map cannot be read, or they do not fit.
            OutputError: If a file cannot be written.
        """
        require_pdf()
        options = StudyOptions(facts or PatientFacts(), page=True)
        with texts_by(read_language(self.language).translated):
            result, faults = segment_study(study, folder, Tools(KeptMasks(masks), options=options))
        result.warnings += [fault.reason for fault in faults]
        pages = self(result, folder)
        if fhir:
            pages.append(write_fhir(result, folder, model=self.model, anonymous=self.anonymous))
        return pages

    def compared(self, first: StudyResult, second: StudyResult, folder: Path) -> list[Path]:
        """Write the page that compares two dates of one patient, as `NAME_compared.html` and `.pdf`.

        Args:
            first: The study that the other is compared with.
            second: The later study.
            folder: Existing folder.

        Raises:
            ConfigError: If WeasyPrint is not there.
            OutputError: If a file cannot be written.
        """
        words = read_language(self.language)
        stem = folder / f"{second.study}_compared"
        with texts_by(words.translated):
            document = comparison_document(first, second, words, self, stem.with_suffix(".png"))
        page, pdf = (stem.with_suffix(ending) for ending in (".html", ".pdf"))
        write_html(page, document, words)
        write_pdf(pdf, html_text(document, words))
        return [page, pdf]


def comparison_document(
    first: StudyResult, second: StudyResult, words: Language, pages: StudyPages, picture: Path
) -> Document:
    """The comparison of two dates: values, differences beside the repeatability, and both curves.

    Args:
        first: The earlier study.
        second: The later study.
        words: Language.
        pages: What segmented them, and whether who and when are left out.
        picture: PNG that the curves are drawn to, where both studies are cines.
    """
    names = [words("study.first"), words("study.second")]
    if not pages.anonymous:
        names = [
            f"{name}: {one.facts.study_date or one.study}"
            for name, one in zip(names, (first, second), strict=True)
        ]
    rows: list[list[Cell]] = []
    before, after = first.values(), second.values()
    for name in VOLUMES:
        old, new, limit = before[name], after[name], REPEATABILITY.get(name)
        change = None if old is None or new is None else new - old
        beyond = limit is not None and change is not None and abs(change) > limit
        rows.append(
            [
                words(f"study.{name}"),
                number(old, 1),
                number(new, 1),
                number(change, 1, "+"),
                None if limit is None else f"± {limit:.0f}",
                words("study.beyond") if beyond else "",
            ]
        )
    header = [words("study.column_figure"), *names, words("study.change"), words("study.limit"), ""]
    sections = [
        Section(words("study.figures"), [words("study.limit_told")], tables=[Table("", header, rows)])
    ]
    if first.curves_ml and second.curves_ml:
        draw_two_curves(
            [(name, one.curves_ml) for name, one in zip(("1", "2"), (first, second), strict=True)], picture
        )
        caption = words("study.curves_caption")
        sections.append(
            Section(words("study.curve"), pictures=[Picture(picture, caption, caption, of_patient=True)])
        )
    doubts = [
        f"{name}: {text}"
        for name, one in zip(names, (first, second), strict=True)
        for text in _doubts(one, words, pages.anonymous)
    ]
    title = words("study.compared") if pages.anonymous else f"{words('study.compared')}: {second.patient}"
    sections.insert(0, Section(words("study.quality"), points=doubts))
    return Document(title, words("study.model", model=pages.model), sections, is_sheet=True)


def model_words(networks: Sequence[str]) -> str:
    """What segmented a study, for the reader: version and networks."""
    return f"Thorax {pipelines.__version__} ({', '.join(networks)})"


def study_document(
    result: StudyResult, words: Language, *, model: str, anonymous: bool, moving: bool
) -> Document:
    """The page of a study as a document: warnings first, then figures and pictures.

    Args:
        result: A study that was segmented with pictures for a page.
        words: Language.
        model: What segmented the study.
        anonymous: Leave out who and when.
        moving: Whether the medium shows the moving cine.
    """
    title = words("study.title")
    if not anonymous:
        title = words("study.title_of", patient=result.patient)
    return Document(
        title,
        " ".join(_lead(result, words, model, anonymous)),
        [
            Section(words("study.quality"), points=[*_doubts(result, words, anonymous)]),
            Section(
                words("study.figures"),
                [*_summary(result, words)],
                tables=[_volumes(result, words), _others(result, words)],
            ),
            *_pictures(result, words, moving=moving),
        ],
        is_sheet=True,
    )


def _lead(result: StudyResult, words: Language, model: str, anonymous: bool) -> Iterator[str]:
    facts = result.facts
    if facts.study_date and not anonymous:
        yield words("study.date", date=facts.study_date)
    known = {
        "sex": facts.sex and words(f"study.sex_{facts.sex}"),
        "age": number(facts.age_years, 0),
        "height": number(facts.height_cm, 0),
        "weight": number(facts.weight_kg, 0),
        "surface": number(result.figures.body_surface_m2, 2),
    }
    yield from (words(f"study.{name}", value=value) for name, value in known.items() if value)
    if facts.scanner:
        yield words("study.scanner", value=facts.scanner)
    if result.stack:
        slices, distance, pixel, frames = result.stack
        sizes = {"distance": number(distance, 1), "pixel": number(pixel, 2)}
        yield words("study.stack", slices=slices, frames=frames, **sizes)
    if result.frame_ed and result.frame_es:
        yield words("study.frames", ed=result.frame_ed, es=result.frame_es)
    yield words("study.model", model=model)


def _doubts(result: StudyResult, words: Language, anonymous: bool) -> Iterator[str]:
    """Predicted quality, then the warnings; names of files and patients are not in an anonymous page."""
    if result.quality:
        yield words("study.dice", value=number(result.quality[MEAN], 2))
    found = [one for one in (*result.warnings, result.reason, result.wall.reason) if one]
    for warning in found[:MAX_WARNINGS]:
        yield words.translated(_without_names(warning, result) if anonymous else warning)
    if len(found) > MAX_WARNINGS:
        yield words("study.more", count=len(found) - MAX_WARNINGS)
    if not found:
        yield words("study.no_warning")


def _without_names(text: str, result: StudyResult) -> str:
    names = [result.patient, result.study, *(result.path.parts[1:] if result.path else ())]
    for name in sorted(filter(None, names), key=len, reverse=True):
        text = text.replace(name, "…")
    return text


def _summary(result: StudyResult, words: Language) -> Iterator[str]:
    """What is outside of its range, or why there are no ranges."""
    facts = result.facts
    if result.normal:
        yield words("study.normal")
    elif facts.sex is None or facts.age_years is None:
        yield words("study.range_unknown")
    elif result.normal_reason:
        yield words("study.range_child" if facts.age_years < ADULT_YEARS else "study.range_age")
    outside = [name for name, one in result.normal.items() if one.is_outside]
    names = [
        words(f"study.{name}") for name, indexed in VOLUMES.items() if name in outside or indexed in outside
    ]
    if result.half_widths:
        yield words("study.half_widths")
    if result.normal:
        yield words("study.all_outside", names="; ".join(names) or "–")


def _volumes(result: StudyResult, words: Language) -> Table:
    values = result.values()
    rows: list[list[Cell]] = []
    for name, indexed in VOLUMES.items():
        digits = 0 if name.endswith("_percent") else 1
        shown = (number(one, digits) for one in (values[name], result.half_widths.get(name)))
        row: list[Cell] = [words(f"study.{name}"), *shown, _range(result.normal.get(name), words)]
        row += [number(values.get(indexed), 1), _range(result.normal.get(indexed), words)]
        ranges = [result.normal[one] for one in (name, indexed) if one in result.normal]
        z = next((f"{one.z:+.1f}" for one in ranges if one.z is not None), None)
        rows.append([*row, z, words("study.outside") if any(one.is_outside for one in ranges) else ""])
    names = [words(f"study.column_{name}") for name in ("figure", "value", "normal", "indexed", "normal")]
    header = [*names[:2], "±", *names[2:], "z", ""]
    return _without_empty(words("study.volumes"), header, rows)


def _without_empty(caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """A table without the columns in which nothing is known."""
    shown = [column for column in range(len(header)) if any(row[column] for row in rows)]
    cells: list[list[Cell]] = [[row[column] or "" for column in shown] for row in rows]
    return Table(caption, [header[column] for column in shown], cells)


def _range(normal: Normal | None, words: Language) -> str:
    if normal is None:
        return ""
    return words("figure.interval", low=number(normal.low, 0), high=number(normal.high, 0))


def _others(result: StudyResult, words: Language) -> Table:
    values = result.values()
    rows = [
        [_other(name, result, words), number(values[name], 1), number(result.half_widths.get(name), 1)]
        for name in OTHERS
        if values[name] is not None
    ]
    header = [words("study.column_figure"), words("study.column_value"), "±"]
    return _without_empty(words("study.others"), header, rows)


def _other(name: str, result: StudyResult, words: Language) -> str:
    """Name of a value, with the source of the heart rate where it comes from that."""
    shown = words(f"study.{name}")
    if name not in OF_HEART_RATE or result.rate_source is None:
        return shown
    return f"{shown} ({words(f'study.rate_{result.rate_source.name.lower()}')})"


def _pictures(result: StudyResult, words: Language, *, moving: bool) -> Iterator[Section]:
    for kind in PICTURES:
        path = result.pictures.get(kind)
        if path is not None and (moving or kind != "cine"):
            caption = words(f"study.{kind}_caption")
            yield Section(words(f"study.{kind}"), pictures=[Picture(path, caption, caption, of_patient=True)])


FIELDS = {
    "LV EF %": "lv_ef_percent",
    "LV EDV mL": "lv_edv_ml",
    "LV ESV mL": "lv_esv_ml",
    "RV EF %": "rv_ef_percent",
    "mass g": "myo_mass_ed_g",
}
"""Column titles of the comparison and the fields of `CardiacIndices` behind them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Indices of one patient as measured and as they are.

    Attributes:
        patient: Identifier.
        group: Disease group.
        measured: Indices of the predicted masks.
        truth: Indices of the label maps.
        is_new: The study that was segmented frame by frame, with ED and ES found.
    """

    patient: str
    group: str
    measured: CardiacIndices
    truth: CardiacIndices
    is_new: bool = False

    @property
    def name(self) -> str:
        """Patient, with a word if it is the new study."""
        return f"{self.patient} (new study)" if self.is_new else self.patient

    def pair(self, field: str) -> tuple[float | None, float | None]:
        """Measured and true value of one index; None where not known."""
        return getattr(self.measured, field), getattr(self.truth, field)


@dataclass(frozen=True, slots=True)
class DemoFindings:
    """The content of the report.

    Attributes:
        is_phantom: Whether the cohort was generated.
        metrics: Content of `metrics.json` for the patients not trained on.
        comparisons: Measured and true indices, the new study last.
        study: The new study.
        seconds: Wall time of each step in s.
    """

    is_phantom: bool
    metrics: Mapping[str, Any]
    comparisons: Sequence[Comparison]
    study: StudyResult
    seconds: Mapping[str, float]


def compare_with_truth(patients: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Comparisons of evaluated patients.

    Args:
        patients: `patients` of `metrics.json`.
    """
    return [
        Comparison(
            patient["patient"],
            patient["group"],
            CardiacIndices(**patient["predicted"]),
            CardiacIndices(**patient["truth"]),
        )
        for patient in patients
    ]


def compare_with_labels(measured: CardiacIndices, patient: PatientRecord) -> Comparison:
    """Comparison of a segmented study with the label maps of its patient.

    Args:
        measured: Indices of the study.
        patient: Its labels at ED and ES are the truth; without one, so are the indices that need it.
    """
    labels: dict[Phase, Volume] = {
        volume.phase: label for volume in patient.volumes if (label := load_label(volume)) is not None
    }
    ed, es = labels.get(Phase.ED), labels.get(Phase.ES)
    any_spacing = (1.0, 1.0, 1.0)
    truth = cardiac_indices(
        ed.array if ed else None,
        es.array if es else None,
        ed.spacing_mm if ed else any_spacing,
        es.spacing_mm if es else any_spacing,
    )
    return Comparison(patient.patient, patient.group, measured, truth, is_new=True)


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Measured and true indices for the terminal, a row a patient."""
    rows = []
    for comparison in comparisons:
        cells = (
            " / ".join(number(value, 1 if "%" in title else 0) or "–" for value in comparison.pair(field))
            for title, field in FIELDS.items()
        )
        rows.append([comparison.patient + "*" * comparison.is_new, comparison.group, *cells])
    caption = "Measured / true (* new study, segmented frame by frame)"
    return Table(caption, ["patient", "group", *FIELDS], rows)


def write_demo_report(
    path: Path, findings: DemoFindings, *, run: Path, evaluation: Path, manifest: Path
) -> None:
    """Write the HTML report of a demo.

    Args:
        path: HTML file to write.
        findings: Its content.
        run: Folder of the training, with `history.csv`; takes `curves.png`.
        evaluation: Folder of the evaluation, with `overlays`.
        manifest: JSON of the demo, shown as it is.
    """
    summary = findings.metrics["summary"]
    whose = "phantom hearts" if findings.is_phantom else "patients"
    ef_errors = [
        abs(measured - truth)
        for measured, truth in (comparison.pair("lv_ef_percent") for comparison in findings.comparisons)
        if measured is not None and truth is not None
    ]
    lead = (
        f"A UNet was trained on {whose} and measured on {summary['patients']} that it had not seen: "
        f"mean Dice {number(summary['dice']['mean'], 3)}."
    )
    if ef_errors:
        lead += f" LV EF is off by {statistics.mean(ef_errors):.1f} percentage points on average."
    if findings.is_phantom:
        lead += " Phantom figures show that the software works and say nothing about real hearts."
    curves = run / "curves.png"
    history_figure(run / "history.csv", curves)
    sections = [
        _comparison_section(findings),
        _accuracy_section(findings.metrics, evaluation),
        _study_section(findings.study),
        Section(
            "Training",
            pictures=[
                Picture(
                    curves,
                    "Three charts over epochs: losses, Dice of each structure in validation, learning rate.",
                    "Validation is on whole volumes on their native grid.",
                )
            ],
        ),
        Section(
            "The run",
            tables=[Table("Wall time", ["step", "seconds"], list(findings.seconds.items()))],
            listing=manifest.read_text(encoding="utf-8"),
        ),
    ]
    write_html(path, Document("Thorax demo", lead, sections))


def _comparison_section(findings: DemoFindings) -> Section:
    header = ["patient", "group"]
    for title in FIELDS:
        header += [f"{title}, measured", "true"]
    rows = [
        [comparison.name, comparison.group]
        + [value for field in FIELDS.values() for value in comparison.pair(field)]
        for comparison in findings.comparisons
    ]
    is_cine = any(file.name.endswith("_curve.png") for file in findings.study.files)
    how = (
        "In the new study every frame was segmented, and ED and ES were found from the volumes."
        if is_cine
        else "The data hold no cine: of the new study the frames at ED and ES were segmented."
    )
    return Section(
        "Measured against true",
        paragraphs=[f"True values are those of the label maps, measured ones those of the network's. {how}"],
        tables=[Table("Cardiac indices of patients that were not trained on", header, rows)],
    )


def _accuracy_section(metrics: Mapping[str, Any], evaluation: Path) -> Section:
    summary, intervals = metrics["summary"], metrics["intervals"]["dice"]
    words = read_language(DEFAULT)
    rows = [
        [
            name,
            number(summary["dice"][name], 3),
            interval(intervals[name], 3, words),
            summary["hd95_mm"][name],
        ]
        for name in [*(LABEL_NAMES[label] for label in FOREGROUND), "mean"]
    ]
    pictures = [
        Picture(
            overlay,
            f"Slices of a heart with predicted contours solid and true ones dashed: {_words(overlay)}.",
            _words(overlay),
        )
        for overlay in sorted((evaluation / "overlays").glob("*.png"))
    ]
    caption = f"{summary['volumes']} volumes of {summary['patients']} patients not trained on"
    return Section(
        "Accuracy",
        tables=[Table(caption, ["structure", "Dice", "95% interval", "HD95 mm"], rows)],
        pictures=pictures,
    )


def _study_section(study: StudyResult) -> Section:
    pictures = []
    for file in study.files:
        if file.name.endswith("_curve.png"):
            alt = "LV and RV volume in mL over the frames of the cine, with ED and ES marked."
            pictures.append(Picture(file, alt, "Volumes over the cardiac cycle"))
        elif file.suffix == ".png":
            alt = f"Slices of the new study with the predicted contours: {_words(file)}."
            pictures.append(Picture(file, alt, _words(file)))
    warnings = study.warnings or ["No plausibility warning."]
    return Section("The new study", paragraphs=warnings, pictures=pictures)


def _words(path: Path) -> str:
    return path.stem.replace("_", " ")
