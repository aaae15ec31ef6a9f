import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.errors import DataError
from pipelines.reporting.xray_sections import (
    comparison_section,
    errors_section,
    explanation_section,
    quantization_figure,
    quantization_section,
    search_section,
)


def write(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def evaluation(folder: Path, wrong: int) -> Path:
    cases = []
    for index in range(20):
        truth = ("NORMAL", "PNEUMONIA")[index % 2]
        says = truth if index >= wrong else ("PNEUMONIA", "NORMAL")[index % 2]
        case = {"image": f"{index}.png", "patient": f"p{index}", "finding": truth, "decision": says}
        cases.append(case | {"probability": 0.9 if says == "PNEUMONIA" else 0.1})
    return write(folder, "metrics.json", {"cases": cases})


def runtime(milliseconds: float, accuracy: float) -> dict[str, Any]:
    latency = {"median": milliseconds, "p95": milliseconds * 1.2}
    shares = dict.fromkeys(("accuracy", "accuracy_normal", "accuracy_pneumonia", "agreement"), accuracy)
    return {"batch_1_ms": latency, "batch_16_ms": latency, **shares}


@pytest.fixture
def quantization(tmp_path: Path) -> Path:
    content = {
        "threads": 2,
        "size_px": [112, 112],
        "images": 50,
        "rounds": 9,
        "sizes": {"fp32_bytes": 40_000_000, "int8_bytes": 10_000_000},
        "runtimes": {"PyTorch fp32": runtime(20.0, 0.96), "OpenVINO int8": runtime(2.0, 0.95)},
        "ratios": {"over_eager_fp32": 10.0, "over_same_runtime_fp32": 2.4, "over_best_bf16": 1.5},
    }
    return write(tmp_path / "int8", "quantization.json", content)


def test_recipes_are_compared_with_interval_and_p(tmp_path: Path) -> None:
    first = [evaluation(tmp_path / f"base{seed}", 6) for seed in range(2)]
    second = [evaluation(tmp_path / f"tuned{seed}", 1) for seed in range(2)]
    text = comparison_section(first, second)
    assert "| accuracy | 0.7000, 0.7000 | 0.9500, 0.9500 | +0.2500 (" in text
    with pytest.raises(DataError, match="expected an evaluation"):
        comparison_section([tmp_path / "none"], second)


def test_the_best_trials_are_listed(tmp_path: Path) -> None:
    lines = ["trial,epochs,auroc,learning_rate", *(f"t{index},5,0.98765,0.00123456" for index in range(12))]
    text = search_section(write(tmp_path, "trials.csv", "\n".join(lines) + "\n"))
    assert "The 10 best of 12 trials" in text
    assert "| t0 | 5 | 0.9877 | 0.001235 |" in text
    assert "t10" not in text
    with pytest.raises(DataError, match="expected a search of 'thorax tune'"):
        search_section(tmp_path / "none")


def test_error_types_are_listed_without_the_images(tmp_path: Path) -> None:
    kind = {"name": "dark", "images": 5, "errors": 2, "share_of_errors": 0.5, "error_rate": 0.4}
    kind |= {"other_rate": 0.1, "interval": [0.05, 0.6], "p_value": 0.02, "example": "/data/a.png"}
    cases = [{"is_correct": index > 3} for index in range(25)]
    text = errors_section(write(tmp_path, "errors.json", {"types": [kind], "cases": cases}))
    assert "4 of 25 images are misclassified" in text
    assert "| dark | 5 | 2 | 50.0 | 40.0 | 10.0 | +5.0 to +60.0 | 0.020 | `a.png` |" in text
    with pytest.raises(DataError, match="of 'thorax errors'"):
        errors_section(tmp_path / "none")


def test_int8_is_held_against_what_is_asked(quantization: Path) -> None:
    text = quantization_section(quantization)
    assert "| size, fp32 over int8 | 4.00 | at least 3.9 | yes |" in text
    assert "| one image, PyTorch fp32 over int8 | 10.00 | at least 8.0 | yes |" in text
    assert "| one image, OpenVINO fp32 over int8 | 2.40 | at least 2.5 | no |" in text
    assert "| points of accuracy lost | 1.00 | at most 0.3 | no |" in text
    assert "40.0 MB in fp32, 10.0 MB in int8" in text
    assert quantization_figure(quantization).axes[0].get_xlabel().startswith("one image")


def test_checks_of_explanations_are_summed_up(tmp_path: Path) -> None:
    shares = {"chest": 0.8, "chest_area": 0.5, "frame": 0.1, "frame_area": 0.36}
    case = {
        "image": "/data/a.png",
        "finding": "NORMAL",
        "probability": 0.25,
        "is_correct": True,
        "shares": {"integrated_gradients": shares},
        "deletion": {"integrated_gradients": {"gain": 0.3}},
        "completeness": {"black": {"16": 0.08, "32": 0.02}},
    }
    other = case | {"deletion": {"integrated_gradients": {"gain": -0.1}}, "is_correct": False}
    content = {"cases": [case, other], "randomised": {"integrated_gradients": {"fc": 0.12, "stem": 0.03}}}
    text = explanation_section(write(tmp_path, "explanations.json", content))
    assert "| black | 8.0 | 2.0 |" in text
    assert "| integrated gradients | +0.10 | 1 of 2 | 80 (area 50) | 10 (area 36) |" in text
    assert "| integrated gradients | 0.12 | 0.03 |" in text
    assert "| `a.png` | normal | 0.250 | right | 80 | 10 | +0.30 |" in text
