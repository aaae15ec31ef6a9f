import io
import json
from pathlib import Path
from typing import Any

import pytest
from bench_content import bench_content
from report_folders import page_of, rows_of
from rich.console import Console

from pipelines.benchmarks.cohorts import BENCH_NAME as COHORT_NAME
from pipelines.core.errors import DataError
from pipelines.core.files import write_json
from pipelines.core.records import FOREGROUND, Phase
from pipelines.evaluation.segmentation import Case, StructureMetrics, summarise
from pipelines.reporting.results.speed import bench_table
from pipelines.reporting.terminal import render


def content() -> dict[str, Any]:
    figures = {"pipeline_over_in_memory": 1.3, "bf16_over_fp32": 0.5, "peak_mb": 900.0}
    found: dict[str, Any] = {"segment_s": 0.2, "read_s": 0.1, "write_s": 0.1, "weights": "random"}
    found |= {"stages_s": {"network": 0.15}, "cine_frames": 30, "cine_peak_mb": 3500.0}
    machine = {"device": "cpu", "threads": 2, "precision": "bfloat16", "rounds": 9}
    measured = {"training": {"unet": figures}, "radiographs": {"throughput_over_plain": 2.5}}
    serving = {"request_s": 0.3, "request_p95_s": 0.4, "request_over_bare": 1.15, "start_s": 21.4}
    slow = {"volume_ratio": 1.0, "network_ratio": 1.0, "cine_ratio": 1.0, "cine_s": 9.0}
    fast = {"volume_ratio": 3.24, "network_ratio": 5.0, "cine_ratio": 3.36, "cine_s": 2.7}
    engines = {"unet": {"PyTorch fp32": slow, "OpenVINO bf16": fast}, "vnet": {"PyTorch fp32": slow}}
    exports = {"unet": {"weights": 17_700_000, "onnx": 35_400_000}, "resnet18_tuned": {"weights": 22_700_000}}
    return (
        machine
        | measured
        | {"segmentation": found, "serving": serving, "engines": engines, "exports": exports}
    )


def cells_of(text: str, mark: str) -> dict[str, list[str]]:
    lines = [line.strip(mark).split(mark) for line in text.splitlines() if line.startswith(mark)]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_table_has_which_values_meet_their_targets() -> None:
    text = io.StringIO()
    Console(file=text, width=140).print(render(bench_table(content())))
    rows = cells_of(text.getvalue(), "│")
    assert rows["unet: step with data pipeline / in memory"] == ["1.30", "at most 1.15", "no"]
    assert rows["unet: step in bf16 / fp32"] == ["0.50", "", ""]
    words = "resnet18: images a second with data pipeline / plain PyTorch in memory"
    assert rows[words] == ["2.50", "at least 2.20", "yes"]
    assert rows["segment a volume (random weights)"] == ["0.20 s", "at most 0.30 s", "yes"]
    assert rows["request / read and segment without server"] == ["1.15", "at most 1.20", "yes"]
    assert rows["start of the server"] == ["21 s", "at most 20 s", "no"]
    assert rows["unet: OpenVINO bf16 / PyTorch fp32, cines a second"] == ["3.36", "at least 2.00", "yes"]
    assert rows["vnet: PyTorch fp32 / PyTorch fp32, cines a second"] == ["1.00", "at least 2.00", "no"]
    assert rows["peak memory, cine of 30"] == ["3500 MB", "at most 3000 MB", "no"]


def test_page_has_the_figures_and_the_machine(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(content()), encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    rows = rows_of(text)
    assert rows["of it network"] == ["0.15 s", "", ""]
    assert rows["unet: peak memory in training"] == ["900 MB", "at most 6000 MB", "yes"]
    assert "cpu, 2 threads, precision auto is bfloat16" in text


def test_page_compares_the_engines_and_the_sizes_of_exports(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(content()), encoding="utf-8")
    rows = rows_of(page_of(tmp_path / "docs", tmp_path))
    assert rows["engine"] == ["unet", "vnet"]
    assert rows["PyTorch fp32"] == ["1.0 / 1.0", "1.0 / 1.0"]
    assert rows["OpenVINO bf16"] == ["3.2 / 3.4", ""]
    assert rows["format"] == ["unet", "resnet18_tuned"]
    assert rows["onnx"] == ["35.4", ""]


@pytest.mark.parametrize("text", ["no json", "{}"])
def test_a_damaged_or_foreign_file_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"bench\.json.*run .*again"):
        page_of(tmp_path / "docs", tmp_path)


def evaluated(folder: Path, engine: str, precision: str, dices: list[float]) -> Path:
    """An evaluation of the UNet with these Dice in all structures, a patient each."""
    folder.mkdir()
    cases = []
    for number, dice in enumerate(dices):
        scored = dict.fromkeys(FOREGROUND, StructureMetrics(dice, dice, dice, dice, dice, 1.0, 1.0))
        volumes = dict.fromkeys(FOREGROUND, 80.0)
        cases.append(Case(f"p{number}", "NOR", Phase.ED, 1, scored, volumes, volumes, 0.5))
    write_json(folder / "metrics.json", summarise(cases, resamples=5) | {"problems": []})
    told = {"networks": ["unet"], "engine": engine, "precision": precision}
    (folder / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def test_page_has_what_engines_cost_in_dice_and_how_cohorts_grow(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(content()), encoding="utf-8")
    (tmp_path / COHORT_NAME).write_text(json.dumps(bench_content()), encoding="utf-8")
    folders = [
        evaluated(tmp_path / "fast", "int8", "bf16", [0.9, 0.794]),
        evaluated(tmp_path / "base", "pytorch", "fp32", [0.9, 0.8]),
        evaluated(tmp_path / "openvino", "openvino", "bf16", [0.901, 0.799]),
    ]
    text = page_of(tmp_path / "docs", tmp_path, *folders)
    assert "Evaluation" not in text  # each is a row, and no chapter of its own
    rows = rows_of(text)
    assert rows["unet: OpenVINO int8, bf16, mean"] == ["0.0030", "at most 0.0020", "no"]
    assert rows["unet: OpenVINO int8, bf16, the volume that lost most"] == ["0.0060", "", ""]
    assert rows["unet: OpenVINO bf16, mean"] == ["0.0000", "at most 0.0020", "yes"]
    runs = bench_content()["ray"]
    gained = runs["1"]["working_s"] / runs["2"]["working_s"]
    assert rows["two workers on two nodes / one worker"] == [f"{gained:.2f}", "", ""]


def test_an_evaluation_by_one_engine_is_no_comparison_of_engines(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(content()), encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path, evaluated(tmp_path / "base", "pytorch", "bf16", [0.9, 0.8]))
    assert "Dice lost by the engines" not in text
    assert "Evaluation" in text


@pytest.mark.parametrize(
    ("dices", "precision", "words"),
    [
        ([0.9, 0.8], "auto", "expected an evaluation of unet with --precision fp32"),
        ([0.9, 0.8, 0.7], "fp32", "on the same volumes"),
    ],
)
def test_engines_are_compared_with_float32_on_the_same_volumes(
    dices: list[float], precision: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(content()), encoding="utf-8")
    folders = [
        evaluated(tmp_path / "base", "pytorch", precision, dices),
        evaluated(tmp_path / "fast", "openvino", "bf16", [0.9, 0.8]),
    ]
    with pytest.raises(DataError, match=words):
        page_of(tmp_path / "docs", tmp_path, *folders)


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
    write_json(tmp_path / "quantization.json", content)
    return tmp_path


def test_int8_is_held_against_its_targets(quantization: Path) -> None:
    text = page_of(quantization / "docs", quantization)
    assert "| size, fp32 over int8 | 4.00 | at least 3.90 | yes |" in text
    assert "| one image, PyTorch fp32 over int8 | 10.00 | at least 8.00 | yes |" in text
    assert "| one image, OpenVINO fp32 over int8 | 2.40 | at least 2.50 | no |" in text
    assert "| percentage points of accuracy lost | 1.00 | at most 0.30 | no |" in text
    assert "40.0 MB in fp32, 10.0 MB in int8" in text
    assert (quantization / "docs" / "page-quantization.png").is_file()
