import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.evaluation.classification import read_cases
from pipelines.explanation.checks import DELETED
from pipelines.explanation.study import choose_cases, study_explanations
from pipelines.models.bundle import load_config
from pipelines.models.checkpoints import save_weights
from pipelines.models.classifier import Classifier


def case(name: str, finding: str, probability: float) -> dict[str, Any]:
    is_correct = (probability >= 0.5) == (finding == "PNEUMONIA")
    return {"image": name, "finding": finding, "probability": probability, "is_correct": is_correct}


CASES = [
    *(case(f"n{index}", "NORMAL", 0.1) for index in range(5)),
    *(case(f"p{index}", "PNEUMONIA", 0.9) for index in range(5)),
    case("doubtful", "NORMAL", 0.55),
    case("sure", "PNEUMONIA", 0.01),
    case("rather", "NORMAL", 0.8),
]


def test_wrong_ones_are_the_most_certain_and_right_ones_of_both_findings() -> None:
    found = choose_cases(CASES, of_each=3, seed=0)
    assert [item["image"] for item in found[:3]] == ["sure", "rather", "doubtful"]
    assert [item["finding"] for item in found[3:]] == ["PNEUMONIA", "NORMAL", "PNEUMONIA"]
    assert all(item["is_correct"] for item in found[3:])
    assert len({item["image"] for item in found}) == 6
    assert choose_cases(CASES, of_each=3, seed=0) == found


def test_fewer_cases_than_asked_are_all_there_are() -> None:
    found = choose_cases(CASES[:2], of_each=3, seed=0)
    assert {item["image"] for item in found} <= {"n0", "n1"}


def test_each_case_has_its_overlay_and_figures(tmp_path: Path) -> None:
    image = phantom_xray(np.random.default_rng(0), side_px=64)
    Image.fromarray((255 * image).astype(np.uint8)).save(tmp_path / "a.png")
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    cases = [case(str(tmp_path / "a.png"), "NORMAL", 0.9)]
    (evaluation / "metrics.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    torch.manual_seed(0)
    get = load_config("resnet18", size_px=[64, 64]).get_parsed_content
    network = get("network")
    save_weights(network, tmp_path / "model.pt")
    classifier = Classifier(
        network,
        tmp_path / "model.pt",
        resize=get("resize"),
        to_input=get("to_input"),
        device=torch.device("cpu"),
        dtype=None,
    )
    content = study_explanations(evaluation, tmp_path / "out", classifier, of_each=1)
    assert json.loads((tmp_path / "out" / "explanations.json").read_text(encoding="utf-8"))[
        "deleted"
    ] == list(DELETED)
    (found,) = content["cases"]
    assert Image.open(tmp_path / "out" / found["overlay"]).size[0] > 300
    methods = {"integrated_gradients", "grad_cam", "occlusion"}
    assert found["shares"].keys() == found["deletion"].keys() == methods
    assert 0 < found["shares"]["occlusion"]["chest"] <= 1
    errors = found["completeness"]["black"]
    assert errors["128"] < max(0.05, errors["16"])
    assert content["randomised"]["integrated_gradients"]["stem"] < 0.9


@pytest.mark.parametrize("text", [None, "no JSON", "{}"])
def test_a_folder_without_an_evaluation_is_told(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="expected an evaluation of 'thorax evaluate'"):
        read_cases(tmp_path)
