"""Figures of a study as HL7 FHIR: a DiagnosticReport with an Observation for each value, in one Bundle.

The status is `preliminary`: no person has confirmed them.

References:
    FHIR R5, https://hl7.org/fhir/R5/diagnosticreport.html; codes as in `dicom_objects`.
"""

import uuid
from pathlib import Path
from typing import Any, Final

from pydicom.sr.coding import Code

import pipelines
from pipelines.core.cardiac import OF_HEART_RATE
from pipelines.core.errors import DataError
from pipelines.core.files import write_json
from pipelines.inference.dicom_objects import CARDIAC_MRI, NAMES, unit_of
from pipelines.inference.segment import StudyResult

SYSTEMS: Final = {"LN": "http://loinc.org", "SCT": "http://snomed.info/sct"}
INTERPRETATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


def write_fhir(result: StudyResult, folder: Path, *, model: str, anonymous: bool = False) -> Path:
    """Write the figures of a study as a FHIR Bundle, `NAME_fhir.json`; returns its path.

    The same figures get the same identifiers.

    Args:
        result: What was measured; what is not known is left out.
        folder: Existing folder.
        model: What made the masks, for the reader.
        anonymous: Leave out who and when.

    Raises:
        DataError: If nothing was measured.
        OutputError: If it cannot be written.
    """
    values = result.values() | result.segments()
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        raise DataError(f"expected figures for a FHIR report, found none of {result.study}")
    shared: dict[str, Any] = {"status": "preliminary"}
    if not anonymous:
        shared["subject"] = {"identifier": {"value": result.patient}, "display": result.patient}
        if result.facts.study_date:
            shared["effectiveDateTime"] = result.facts.study_date
    content = f"thorax {pipelines.__version__} {known} {shared}"
    entries = [
        _entry(f"{content} {name}", _observation(result, name, value, shared))
        for name, value in known.items()
    ]
    warnings = [] if anonymous else result.warnings
    notes = [*warnings, result.reason, f"Contours: {model}. Not a medical device."]
    report = {
        "resourceType": "DiagnosticReport",
        **shared,
        "code": _concept(CARDIAC_MRI),
        "result": [{"reference": entry["fullUrl"]} for entry in entries],
        "conclusion": "; ".join(filter(None, notes)),
    }
    whole = {"resourceType": "Bundle", "type": "collection", "entry": [_entry(content, report), *entries]}
    path = folder / f"{result.study}_fhir.json"
    write_json(path, whole)
    return path


def _observation(result: StudyResult, name: str, value: float, shared: dict[str, Any]) -> dict[str, Any]:
    unit = unit_of(name)
    found: dict[str, Any] = {
        "resourceType": "Observation",
        **shared,
        "code": _concept(NAMES[name]) if name in NAMES else {"text": name},
        "valueQuantity": _quantity(value, unit),
    }
    if name in OF_HEART_RATE and result.rate_source is not None:
        found["method"] = {"text": f"heart rate: {result.rate_source}"}
    if (half := result.half_widths.get(name)) is not None:
        of = "percentage points" if unit.value == "%" else unit.meaning
        found["note"] = [{"text": f"90% interval: ± {half:.3g} {of}"}]
    if (normal := result.normal.get(name)) is not None:
        ends = {"low": _quantity(normal.low, unit), "high": _quantity(normal.high, unit)}
        found["referenceRange"] = [ends | {"text": "Petersen 2017, doi:10.1186/s12968-017-0327-9"}]
        code = "N" if not normal.is_outside else "H" if normal.value > normal.high else "L"
        found["interpretation"] = [{"coding": [{"system": INTERPRETATION, "code": code}]}]
    return found


def _entry(content: str, resource: dict[str, Any]) -> dict[str, Any]:
    return {"fullUrl": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}", "resource": resource}


def _concept(code: Code) -> dict[str, Any]:
    # No `display`: it would have to be the code system's own name, and the meaning is DICOM's.
    return {"coding": [{"system": SYSTEMS[code.scheme_designator], "code": code.value}], "text": code.meaning}


def _quantity(value: float, unit: Code) -> dict[str, Any]:
    shown = {"value": round(value, 2), "unit": unit.meaning}
    return shown | {"system": "http://unitsofmeasure.org", "code": unit.value}
