"""Recipes of others are trained beside the project's own and measured alike, on a small phantom cohort."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from small_cohort import write_small_cohort

from pipelines.benchmarks import peers
from pipelines.benchmarks.peers import Method, compare_peer, matmul_gflops
from pipelines.core.errors import ConfigError
from pipelines.datasets.prepare import prepare_acdc, section_records
from pipelines.reporting.report import write_report


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("peers")
    prepare_acdc(write_small_cohort(root / "cohort", patients=10), root / "prepared")
    return root / "prepared"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["unet", "model-zoo"])
def test_a_recipe_is_measured_on_validation_after_its_time(
    method: Method, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "ZOO_BATCH", 2)
    monkeypatch.setattr(peers, "MATMUL_SIZE", 64)
    metrics = compare_peer(method, prepared, tmp_path / "out", minutes=0.01)
    validation = section_records(prepared, "validation", 0)
    assert validation is not None
    assert {case["patient"] for case in metrics["cases"]} == {one.patient for one in validation}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    training = manifest["training"]
    assert training["seconds"] >= 0.6
    assert training["samples"] > 0
    assert manifest["parameters"] > 1_000_000
    page = write_report([tmp_path / "out"], tmp_path / "page.md", labels={tmp_path / "out": method})[0]
    text = page.read_text(encoding="utf-8")
    assert f"| samples seen | {training['samples']:,} |" in text
    assert f"| limit of the machine in bf16, GFLOP/s | {training['gflops']['bf16']:.0f} |" in text


def test_the_zoo_gets_images_and_labels_of_one_size_that_stay_together() -> None:
    image = np.zeros((1, peers.SIDE_PX, peers.SIDE_PX), np.float32)
    image[:, 100:150, 90:160] = 1.0
    transforms = peers.zoo_transforms()
    transforms.set_random_state(3)
    for _ in range(4):
        found = transforms({"image": image, "label": 3 * image})
        assert found["image"].shape == found["label"].shape == image.shape
        assert set(np.unique(found["label"])) <= {0.0, 3.0}
        inside, outside = (
            np.asarray(found["image"])[np.asarray(found["label"]) == of].mean() for of in (3, 0)
        )
        assert inside > outside + 0.3


def test_without_nnunet_the_error_says_what_to_install(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    monkeypatch.setattr(peers, "MATMUL_SIZE", 64)
    with pytest.raises(ConfigError, match="pip install nnunetv2"):
        compare_peer("nnunet", prepared, tmp_path / "out", minutes=0.01)


def test_the_limit_counts_operations_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(np.arange(10) * 0.5)
    monkeypatch.setattr(peers, "MATMUL_SIZE", 100)
    monkeypatch.setattr(peers.time, "perf_counter", lambda: next(times))
    # 2 * 100^3 operations in half a second.
    assert matmul_gflops(peers.torch.float32) == pytest.approx(0.004)
