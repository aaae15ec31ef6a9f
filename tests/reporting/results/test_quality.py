import json
from pathlib import Path

import pytest
from measured_images import measured_images
from report_folders import page_of

from pipelines.quality.model import read_quality
from pipelines.quality.study import evaluate_study, fit_study
from pipelines.reporting.results.quality import quality_table

DETAILS = {"section": "validation", "fold": 0, "split_hash": "abc", "faults": 1, "seed": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("quality")
    fit_study(measured_images(), root / "fit", network="unet", partner="vnet", details=DETAILS)
    models = read_quality(root / "fit" / "quality.json")
    told = {**DETAILS, "network": "unet", "section": "test"}
    evaluate_study(measured_images(seed=1), models, root / "test", details=told)
    for name, command in (("fit", "fit"), ("test", "evaluate")):
        words = ["thorax", "quality", command, "runs/acdc", "--output", f"runs/{name}"]
        (root / name / "manifest.json").write_text(json.dumps({"command": words}), encoding="utf-8")
    return root


def test_page_says_whether_each_model_reaches_what_is_asked(folders: Path, tmp_path: Path) -> None:
    page = page_of(tmp_path, folders / "fit", folders / "test")
    measured = json.loads((folders / "test" / "quality_evaluation.json").read_text(encoding="utf-8"))
    value = measured["quick"]["clean"]["pearson"]["value"]
    assert value > 0.7
    assert f"The quick model reaches a correlation of 0.7 on images as acquired: {value:.2f}." in page
    assert "| thorough, as acquired | 12 |" in page
    assert "thorax quality evaluate runs/acdc --output runs/test" in page
    assert (tmp_path / "page-predicted.png").stat().st_size > 0


def test_the_models_made_say_on_whom(folders: Path) -> None:
    models = read_quality(folders / "fit" / "quality.json")
    assert models.partner == "vnet"
    assert models.thorough is not None
    assert len(models.made["patients"]) == 12
    assert models.made["section"] == "validation"


def test_the_table_for_the_terminal_has_a_row_for_each_model_and_part(folders: Path) -> None:
    content = json.loads((folders / "fit" / "fit.json").read_text(encoding="utf-8"))
    assert len(quality_table(content).rows) == 6
