"""Tests of the page on one study."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdf
import pytest
from intensity_hearts import IntensityPredictor, heart, save
from PIL import Image

from pipelines.core.cardiac import CardiacFigures, PatientFacts, RateSource, Sex, compare_with_normal
from pipelines.core.errors import DataError
from pipelines.core.files import output_folder
from pipelines.figures.overlay import texts_by
from pipelines.figures.study import draw_two_curves
from pipelines.inference.inputs import find_studies
from pipelines.inference.segment import StudyOptions, StudyResult, segment
from pipelines.reporting.document import read_language
from pipelines.reporting.html import html_text
from pipelines.reporting.study_page import (
    StudyPages,
    comparison_document,
    study_document,
)

FACTS = PatientFacts(180, 80, Sex.MALE, 60, 50, "2024-05-06")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    folder = tmp_path_factory.mktemp("study")
    cine = np.stack([heart(radius) for radius in (8, 6, 5, 7)], axis=3)
    cine[:, :, 3, 2] = 0
    options = StudyOptions(FACTS, page=True)
    report = segment(
        [save(folder / "anna.nii.gz", cine)], folder / "out", IntensityPredictor(), options=options
    )
    return report.results[0]


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "fa"])
def test_a_page_has_warnings_figures_and_a_moving_cine_and_is_one_sheet(
    result: StudyResult, tmp_path: Path, language: str
) -> None:
    page, pdf = StudyPages("unet", language)(result, tmp_path)
    text = page.read_text(encoding="utf-8")
    warning = {"en": "LV is missing in slice 4", "fa": " نیست"}[language]
    assert text.index(warning) < text.index("<table>")
    assert ("missing" in text) == (language == "en")
    assert all(one in text for one in ("anna", "2024-05-06", "unet", 'class="sheet"'))
    assert ("Not a medical device" in text) == (language == "en")
    with Image.open(result.pictures["cine"]) as cine:
        assert cine.n_frames == 4
    assert len(pypdf.PdfReader(pdf).pages) == 1


def test_an_anonymous_page_tells_neither_who_nor_when(result: StudyResult, tmp_path: Path) -> None:
    copied = replace(result, warnings=["a copy of anna.nii.gz is left out"])
    page, _ = StudyPages("unet", anonymous=True)(copied, tmp_path)
    text = re.sub('base64,[^"]*', "", page.read_text(encoding="utf-8"))
    assert "anna" not in text
    assert "2024" not in text
    assert "a copy of … is left out" in text


@pytest.mark.parametrize(
    ("source", "shown"), [(RateSource.CINE, "taken as one beat"), (RateSource.HEADER, "rate from DICOM")]
)
def test_the_source_of_the_heart_rate_is_named_at_the_rate_and_at_the_output(
    result: StudyResult, source: RateSource, shown: str
) -> None:
    of_source = replace(result, rate_source=source)
    page = study_document(of_source, read_language("en"), model="unet", anonymous=True, moving=False)
    names = [str(row[0]) for table in page.sections[1].tables for row in table.rows]
    assert [name.split(",")[0] for name in names if shown in name] == [
        "heart rate",
        "cardiac output",
        "cardiac index",
    ]


def test_values_outside_of_their_range_are_marked(result: StudyResult, tmp_path: Path) -> None:
    page, _ = StudyPages("unet")(result, tmp_path)
    assert result.normal["lv_edv_ml"].is_outside
    text = page.read_text(encoding="utf-8")
    assert f"{result.normal['lv_edv_ml'].z:+.1f}</td>" in text
    assert "outside</td>" in text
    bare = study_document(
        replace(result, normal={}, half_widths={}, figures=CardiacFigures()),
        read_language("en"),
        model="unet",
        anonymous=True,
        moving=False,
    )
    assert bare.sections[1].tables[0].header == ["measure", "value"]
    assert {"ranges", "slices", "cine", "curve"} <= result.pictures.keys()


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (PatientFacts(age_years=60), "sex or age is not known"),
        (PatientFacts(sex=Sex.MALE, age_years=9), "do not fit children"),
        (PatientFacts(sex=Sex.MALE, age_years=30), "45 to 74 years"),
    ],
)
def test_a_page_without_ranges_gives_the_reason(result: StudyResult, facts: PatientFacts, shown: str) -> None:
    normal, reason = compare_with_normal(result.values(), facts)
    one = replace(result, facts=facts, normal=normal, normal_reason=reason)
    page = study_document(one, read_language("en"), model="unet", anonymous=True, moving=False)
    assert shown in page.sections[1].paragraphs[0]
    assert "outside" not in str(page.sections[1].tables[0].rows)


def test_a_page_of_label_maps_has_the_same_figures(result: StudyResult, tmp_path: Path) -> None:
    folder = result.files[0].parent
    (study,) = find_studies([folder.parent / "anna.nii.gz"]).studies
    pages = StudyPages("by hand", anonymous=True)
    page, pdf, fhir = pages.of_masks(study, [folder / "anna_seg.nii.gz"], tmp_path, FACTS, fhir=True)
    assert pdf.is_file()
    bundle = json.loads(fhir.read_text(encoding="utf-8"))
    assert "by hand" in bundle["entry"][0]["resource"]["conclusion"]
    text = page.read_text(encoding="utf-8")
    assert "by hand" in text
    assert f">{result.indices.lv_edv_ml:.1f}<" in text
    assert "data:image/png" in text


def test_a_page_of_label_maps_of_another_study_is_refused(result: StudyResult, tmp_path: Path) -> None:
    (study,) = find_studies([result.files[0].parent.parent / "anna.nii.gz"]).studies
    other = save(tmp_path / "other_seg.nii.gz", heart(8)[:-1])
    with pytest.raises(DataError, match="expected a label map of"):
        StudyPages("by hand").of_masks(study, [other], tmp_path)


def test_two_dates_are_compared_with_their_repeatability(result: StudyResult, tmp_path: Path) -> None:
    indices = replace(result.indices, lv_edv_ml=result.indices.lv_edv_ml + 30, lv_ef_percent=50.0)
    later = replace(result, study="later", indices=indices, facts=replace(FACTS, study_date="2025-01-02"))
    page, pdf = StudyPages("unet").compared(result, later, tmp_path)
    assert len(pypdf.PdfReader(pdf).pages) == 1
    text = page.read_text(encoding="utf-8")
    assert "first: 2024-05-06" in text
    assert "second: 2025-01-02" in text
    compared = comparison_document(
        result, later, read_language("en"), StudyPages("unet"), tmp_path / "curves.png"
    )
    rows = {str(row[0]).split(",")[0]: row[3:] for row in compared.sections[1].tables[0].rows}
    assert rows["LV EDV"] == ["+30.0", "± 22", "exceeded"]
    assert rows["RV EDV"][1:] == [None, ""]
    assert (tmp_path / "later_compared.png").is_file()


def test_a_comparison_without_names_has_neither_names_nor_dates(result: StudyResult, tmp_path: Path) -> None:
    words, pages = read_language("en"), StudyPages("unet", anonymous=True)
    text = html_text(comparison_document(result, result, words, pages, tmp_path / "x.png"), words)
    text = re.sub('base64,[^"]*', "", text)
    assert "anna" not in text
    assert "2024" not in text


def test_strain_over_the_beat_is_zero_at_ed_and_shortens_most_at_es(result: StudyResult) -> None:
    strain = [one.endo_percent for one in result.strain_curve]
    assert strain[result.frame_ed - 1] == pytest.approx(0.0)
    assert min(strain) == strain[result.frame_es - 1]


def test_the_pictures_of_a_persian_page_have_no_english_words(result: StudyResult, tmp_path: Path) -> None:
    words, drawn = read_language("fa"), []

    def translate(text: str) -> str:
        drawn.append(words.translated(text))
        return drawn[-1]

    options, image = StudyOptions(FACTS, page=True), result.files[0].parent.parent / "anna.nii.gz"
    with texts_by(translate):
        (again,) = segment([image], tmp_path, IntensityPredictor(), options=options).results
        draw_two_curves([(name, again.curves_ml) for name in "12"], tmp_path / "two.png")
    assert "فریم" in drawn
    left = {text for text in drawn if re.search("[a-z]{2}|mL", text)}
    assert left == {"anna ED", "anna ES"}


def test_pages_of_label_maps_and_of_two_dates_have_pictures_in_their_language(
    result: StudyResult, tmp_path: Path
) -> None:
    folder = result.files[0].parent
    (study,) = find_studies([folder.parent / "anna.nii.gz"]).studies
    pages = StudyPages("by hand", "fa")
    pages.of_masks(study, [folder / "anna_seg.nii.gz"], tmp_path, FACTS)
    for name in ("anna_curve.png", "anna_page_wall.png"):
        assert (tmp_path / name).read_bytes() != (folder / name).read_bytes()
    for one in (pages, StudyPages("by hand")):
        one.compared(result, result, output_folder(tmp_path / one.language))
    two = [(tmp_path / code / "anna_compared.png").read_bytes() for code in ("fa", "en")]
    assert two[0] != two[1]
