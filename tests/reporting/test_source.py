"""Folders are known by their files, and what they hold decides what the report says."""

import json
import re
from pathlib import Path

import pytest
from report_folders import (
    write_all,
    write_comparison,
    write_cross,
    write_errors,
    write_evaluation,
    write_exploration,
    write_folds,
    write_quality,
    write_recipe,
    write_training,
)

from pipelines.core.errors import DataError
from pipelines.reporting.document import Document, known_languages, read_language
from pipelines.reporting.report import KINDS, make_documents, missing_kinds
from pipelines.reporting.source import Source, read_sources

ENGLISH = read_language("en")


def document_of(folder: Path, tmp_path: Path) -> Document:
    ((_, document),) = make_documents(read_sources(KINDS, [folder]), ENGLISH, tmp_path / "pictures")
    return document


def suggestions(folder: Path, tmp_path: Path) -> str:
    documents = make_documents(read_sources(KINDS, [folder]), ENGLISH, tmp_path / "pictures")
    return "\n".join(one for _, document in documents for one in document.suggestions)


def test_a_folder_of_every_kind_is_known_and_a_folder_may_be_of_two(tmp_path: Path) -> None:
    sources = read_sources(KINDS, write_all(tmp_path))
    assert [source.kind for source in sources] == [kind.name for kind in KINDS if kind.is_usual]
    assert missing_kinds(sources) == []
    assert {source.name for source in sources if source.kind in ("fit", "quality")} == {"quality"}


def test_a_kind_that_is_not_given_is_missing(tmp_path: Path) -> None:
    missing = missing_kinds(read_sources(KINDS, [write_training(tmp_path / "run")]))
    assert [kind.name for kind in missing] == [
        kind.name for kind in KINDS if kind.is_usual and kind.name != "training"
    ]


def test_a_folder_of_no_kind_is_an_error_that_lists_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"metrics\.json \(thorax evaluate\).*found none in .*empty"):
        read_sources(KINDS, [write_training(tmp_path / "run"), tmp_path / "empty"])
    with pytest.raises(DataError, match="expected folders to report on, found none"):
        read_sources(KINDS, [])


@pytest.mark.parametrize("text", ["no JSON", "[]"])
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "recipe.json"))):
        read_sources(KINDS, [tmp_path])


def test_a_file_of_another_version_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"steps": {}}', encoding="utf-8")
    with pytest.raises(DataError, match=r"expected .*recipe\.json of 'thorax check-training' of this"):
        document_of(tmp_path, tmp_path)


def test_an_evaluation_suggests_by_its_weakest_structure_phase_and_bias(tmp_path: Path) -> None:
    # RV 0.75 is the lowest; ES is 0.1 below ED; predicted volumes are 10 mL too large.
    text = suggestions(write_evaluation(tmp_path / "test_unet"), tmp_path)
    assert "the RV has the lowest Dice (0.750)" in text
    assert "ES has a lower Dice than ED (0.750 against 0.850)" in text
    assert "LV ESV, mL is measured too large by 10.0 on average, of a mean error of 10.0" in text
    assert "group" not in text  # both have the same Dice


def test_a_small_cohort_and_the_weights_of_the_bundle_are_limits(tmp_path: Path) -> None:
    limits = document_of(write_evaluation(tmp_path / "test_unet"), tmp_path).limits
    assert any("measured 2 patients" in limit for limit in limits)
    assert any("weights of the bundle" in limit for limit in limits)


def test_a_run_whose_validation_fell_gets_a_suggestion(tmp_path: Path) -> None:
    assert "validation fell from 0.800 to 0.750" in suggestions(write_training(tmp_path / "run"), tmp_path)


def test_a_run_on_all_patients_shows_no_validation(tmp_path: Path) -> None:
    document = document_of(write_training(tmp_path / "run", fold=-1), tmp_path)
    assert "0.800" not in str(document.sections)
    assert any("trained on all patients" in limit for limit in document.limits)


def test_models_that_do_not_differ_are_distinguished_by_speed(tmp_path: Path) -> None:
    text = suggestions(write_comparison(tmp_path / "compare", p_holm=0.2), tmp_path)
    assert "not shown to differ: small, large. Of them small is the fastest" in text


def test_a_model_that_is_better_is_suggested(tmp_path: Path) -> None:
    text = suggestions(write_comparison(tmp_path / "compare", p_holm=0.01), tmp_path)
    assert "large is better than every other model compared" in text


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_recipe, "Overfit a small batch: 12 slices are memorised in 40 steps."),
        (write_exploration, "Pixel spacing from 1.00 to 2.00 mm, median 1.50 mm. Resample to square pixels."),
        (write_folds, "standard deviation of 0.020"),
        (write_cross, "Dice falls from 0.900 on here to 0.600 on there"),
        (write_errors, "RV: the lowest Dice is in apex slices (0.500)"),
        (write_quality, "by 0.60, less than the target of 0.7"),
    ],
)
def test_each_rule_speaks_of_its_figure(tmp_path: Path, write: object, words: str) -> None:
    assert callable(write)
    assert words in suggestions(write(tmp_path / "given"), tmp_path)


def test_every_kind_has_words_in_every_language() -> None:
    for code in known_languages():
        assert {f"kind.{kind.name}" for kind in KINDS} <= read_language(code).texts.keys()


def test_a_source_without_a_manifest_has_none(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "test_unet")
    (folder / "manifest.json").unlink()
    (source,) = read_sources(KINDS, [folder])
    assert source == Source(
        folder, "evaluation", json.loads((folder / "metrics.json").read_text(encoding="utf-8")), {}
    )
