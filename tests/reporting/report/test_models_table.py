import hashlib
import json
from pathlib import Path

from report_folders import write_evaluation, write_training

from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.reporting.language import read_language
from pipelines.reporting.report.models_table import find_models, models_table
from pipelines.reporting.report.registry import read_sources
from pipelines.reporting.report.weights import checksum

ENGLISH = read_language("en")


def test_a_run_has_the_figures_of_the_evaluation_of_its_weights(tmp_path: Path) -> None:
    run = write_training(tmp_path / "unet")
    evaluation = write_evaluation(tmp_path / "test_unet", weights=Path("elsewhere/unet/best.pt"))
    (row,) = models_table(find_models(read_sources([evaluation, run]), ENGLISH), ENGLISH).rows
    assert row[:4] == ["unet", "unet", "all folds but 0, split d2ca6160d7a3af2a", "0.800"]
    assert str(row[4]).startswith("test_unet: 0.800 (")
    assert row[5:] == ["unet/best.pt", hashlib.sha256(b"weights").hexdigest()]


def test_an_evaluation_of_a_comparison_is_known_by_the_fingerprint_of_its_weights(tmp_path: Path) -> None:
    run, other = write_training(tmp_path / "unet"), write_evaluation(tmp_path / "models" / "UNet")
    told = {"command": ["thorax", "compare"], "networks": ["unet"]}
    digest = hashlib.sha256(b"weights").hexdigest()[:16]
    (other / "manifest.json").write_text(json.dumps(told | {"weights": [digest]}))
    (model,) = find_models(read_sources([run, other]), ENGLISH)
    assert [one.name for one in model.evaluations] == ["UNet"]
    (other / "manifest.json").write_text(json.dumps(told | {"weights": ["0123456789abcdef"]}))
    rows = models_table(find_models(read_sources([run, other]), ENGLISH), ENGLISH).rows
    assert [row[0] for row in rows] == ["unet", "UNet"]
    assert list(rows[1][5:]) == ["–", "0123456789abcdef…"]


def test_other_weights_are_a_model_of_their_own_and_may_have_gone(tmp_path: Path) -> None:
    run = write_training(tmp_path / "unet")
    evaluation = write_evaluation(tmp_path / "test_unet", weights=Path("/gone/other/best.pt"))
    first, second = models_table(find_models(read_sources([run, evaluation]), ENGLISH), ENGLISH).rows
    assert first[4] == "–"
    assert (second[0], second[5], second[6]) == ("test_unet", "other/best.pt", "no such file")


def test_without_weights_in_the_command_the_model_is_the_bundles(tmp_path: Path) -> None:
    (model,) = find_models(read_sources([write_evaluation(tmp_path / "test_unet")]), ENGLISH)
    assert model.file == ACDC_BUNDLE / "models" / "unet" / "model.pt"
    assert model.validation is None


def test_an_evaluation_without_a_manifest_tells_of_no_model(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "test_unet")
    (folder / "manifest.json").unlink()
    assert find_models(read_sources([folder]), ENGLISH) == []


def test_checksum_of_nothing_is_none(tmp_path: Path) -> None:
    assert checksum(tmp_path / "none.pt") is None
