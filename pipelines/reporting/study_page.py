"""One A4 page on one study: what a reader of a cardiac MRI needs to see, as HTML and PDF."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pipelines
from pipelines.core.cardiac_figures import OF_HEART_RATE, PatientFacts
from pipelines.evaluation.segmentation import MEAN
from pipelines.inference.inputs import Study
from pipelines.inference.segment import KeptMasks, StudyOptions, Tools, segment_study
from pipelines.inference.study_result import StudyResult
from pipelines.reporting.document import (
    DEFAULT,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    number,
    read_language,
)
from pipelines.reporting.html import html_text, require_pdf, write_html, write_pdf

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

PICTURES: Final = ("ranges", "wall", "curve", "slices", "cine")
"""Pictures of the page in their order; the moving one stands in HTML alone."""


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
        """Write the page of a study that was segmented with pictures for it; see `write_study_page`."""
        words = read_language(self.language)
        return write_study_page(result, folder, words, model=self.model, anonymous=self.anonymous)

    def of_masks(
        self, study: Study, masks: Sequence[Path], folder: Path, facts: PatientFacts | None = None
    ) -> list[Path]:
        """Write the page of a study whose label maps are there already, by a network or by hand.

        Args:
            study: Its images.
            masks: Label maps of the images, in their order.
            folder: Existing folder; it gets the page and its pictures, and a copy of the label maps.
            facts: What is known of the patient; counts before what the files tell.

        Raises:
            ConfigError: If WeasyPrint is not there.
            DataError: If an image or a label map cannot be read, or they do not fit.
            OutputError: If a file cannot be written.
        """
        require_pdf()
        options = StudyOptions(facts or PatientFacts(), page=True)
        result, faults = segment_study(study, folder, Tools(KeptMasks(masks), options=options))
        result.warnings += [fault.reason for fault in faults]
        return self(result, folder)


def model_words(networks: Sequence[str], *, tta: bool = False) -> str:
    """What segmented a study, for the reader: version and networks."""
    return f"Thorax {pipelines.__version__} ({', '.join(networks)}{', TTA' * tta})"


def write_study_page(
    result: StudyResult, folder: Path, words: Language, *, model: str, anonymous: bool
) -> list[Path]:
    """Write the page of a study as `NAME_report.html` and `NAME_report.pdf`.

    Args:
        result: A study that was segmented with pictures for a page.
        folder: Existing folder.
        words: Language of the page; warnings and pictures stay English.
        model: What segmented the study, for the reader.
        anonymous: Leave out who and when.

    Returns:
        The two files.

    Raises:
        ConfigError: If WeasyPrint is not there.
        DataError: If a picture is missing.
        OutputError: If a file cannot be written.
    """
    page, pdf = (folder / f"{result.study}_report.{ending}" for ending in ("html", "pdf"))
    moving, still = (
        study_document(result, words, model=model, anonymous=anonymous, moving=is_moving)
        for is_moving in (True, False)
    )
    write_html(page, moving, words)
    write_pdf(pdf, html_text(still, words))
    return [page, pdf]


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
                [words("study.normal") if result.normal else result.normal_reason],
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
    if result.frame_ed and result.frame_es:
        yield words("study.frames", ed=result.frame_ed, es=result.frame_es)
    yield words("study.model", model=model)


def _doubts(result: StudyResult, words: Language, anonymous: bool) -> Iterator[str]:
    """Predicted quality, then the warnings; names of files and patients are not in an anonymous page."""
    if result.quality:
        yield words("study.dice", value=number(result.quality[MEAN], 2))
    found = [one for one in (*result.warnings, result.reason, result.wall.reason) if one]
    for warning in found[:MAX_WARNINGS]:
        yield _without_names(warning, result) if anonymous else warning
    if len(found) > MAX_WARNINGS:
        yield words("study.more", count=len(found) - MAX_WARNINGS)
    if not found:
        yield words("study.no_warning")


def _without_names(text: str, result: StudyResult) -> str:
    names = [result.patient, result.study, *(result.path.parts[1:] if result.path else ())]
    for name in sorted(filter(None, names), key=len, reverse=True):
        text = text.replace(name, "…")
    return text


def _volumes(result: StudyResult, words: Language) -> Table:
    values = result.values()
    rows: list[list[Cell]] = []
    for name, indexed in VOLUMES.items():
        normal = result.normal.get(name) or result.normal.get(indexed)
        shown = mark = None
        if normal is not None:
            shown = words("figure.interval", low=number(normal.low, 0), high=number(normal.high, 0))
            if name not in result.normal:
                shown = words("study.range_indexed", range=shown)
            mark = f"{normal.z:+.1f} {words('study.outside')}" if normal.is_outside else f"{normal.z:+.1f}"
        value = number(values[name], 0 if name.endswith("_percent") else 1)
        rows.append(
            [words(f"study.{name}"), value, number(values[indexed], 1) if indexed else "", shown, mark]
        )
    header = [words(f"study.column_{name}") for name in ("figure", "value", "indexed", "normal")]
    return Table(words("study.volumes"), [*header, "z"], rows)


def _others(result: StudyResult, words: Language) -> Table:
    values = result.values()
    rows = [
        [_other(name, result, words), number(values[name], 1)] for name in OTHERS if values[name] is not None
    ]
    header = [words("study.column_figure"), words("study.column_value")]
    return Table(words("study.others"), header, rows)


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
