"""Tests of the figures of a study as HL7 FHIR."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fhir.resources.bundle import Bundle

from pipelines.core.cardiac import (
    PatientFacts,
    RateSource,
    Sex,
    cardiac_figures,
    compare_with_normal,
    indices_from_volumes,
)
from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.wall import Wall
from pipelines.inference.fhir import write_fhir
from pipelines.inference.segment import StudyResult

ED, ES = (
    {AcdcLabel.LV: lv, AcdcLabel.MYO: 100.0, AcdcLabel.RV: rv} for lv, rv in ((240.0, 160.0), (60.0, 80.0))
)
INDICES = indices_from_volumes(ED, ES)
FACTS = PatientFacts(180, 80, Sex.MALE, 60, 50, "2024-05-06")


def a_result() -> StudyResult:
    result = StudyResult(
        "anna_1",
        "anna",
        INDICES,
        facts=FACTS,
        figures=cardiac_figures(INDICES, FACTS),
        wall=Wall(mean_ed_mm=9.0, ed_mm=(None, 8.0, *[9.0] * 14)),
        warnings=["a copy of anna_1.nii.gz is left out"],
        rate_source=RateSource.CINE,
        half_widths={"lv_edv_ml": 12.5},
    )
    result.normal, _ = compare_with_normal(result.values(), FACTS)
    return result


def test_the_bundle_is_valid_and_holds_values_codes_units_and_ranges(tmp_path: Path) -> None:
    path = write_fhir(a_result(), tmp_path, model="unet")
    assert path == tmp_path / "anna_1_fhir.json"
    bundle = Bundle.model_validate_json(path.read_text(encoding="utf-8"))
    report, *observations = [entry.resource for entry in bundle.entry]
    assert [one.reference for one in report.result] == [entry.fullUrl for entry in bundle.entry[1:]]
    assert report.conclusion.startswith("a copy of anna_1.nii.gz")
    assert {one.status for one in (report, *observations)} == {"preliminary"}
    assert str(report.effectiveDateTime) == "2024-05-06"
    coded = {one.code.coding[0].code: one for one in observations if one.code.coding}
    edv = coded["8821-1"]
    assert (edv.code.coding[0].system, float(edv.valueQuantity.value)) == ("http://loinc.org", 240.0)
    assert edv.valueQuantity.code == "ml"
    assert edv.interpretation[0].coding[0].code == "H"
    assert float(edv.referenceRange[0].high.value) == pytest.approx(166 + 1.96 * 32, abs=0.01)
    assert float(coded["8811-2"].valueQuantity.value) == 75.0
    assert coded["8867-4"].method.text == "heart rate: cine's length, taken as one beat"
    assert edv.note[0].text == "90% interval: ± 12.5 ml"
    named = {one.code.text: one for one in observations}
    assert float(named["wall_ed_mm_02"].valueQuantity.value) == 8.0
    assert "wall_ed_mm_01" not in named


def test_an_anonymous_bundle_tells_neither_who_nor_when_and_is_the_same_for_another_name(
    tmp_path: Path,
) -> None:
    text, other = (
        write_fhir(
            replace(a_result(), patient=name, study=name), tmp_path, model="unet", anonymous=True
        ).read_text(encoding="utf-8")
        for name in ("anna", "bert")
    )
    assert "anna" not in text
    assert "2024-05" not in text
    assert text == other
    Bundle.model_validate(json.loads(text))


def test_a_study_without_figures_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected figures for a FHIR report"):
        write_fhir(StudyResult("s", "p"), tmp_path, model="unet")
