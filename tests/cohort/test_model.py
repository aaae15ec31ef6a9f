"""The model that each worker loads, and what the results say of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.cohort.model import BundleModel
from pipelines.core.errors import ConfigError
from pipelines.models.predictor import Predictor


def test_what_changes_a_mask_is_in_the_record() -> None:
    plain, fast = (BundleModel(engine=engine).record() for engine in ("pytorch", "openvino"))
    assert json.loads(fast["settings"]) == {"tta": False, "precision": "auto", "engine": "openvino"}
    assert plain["settings"] != fast["settings"]
    assert plain["weights_sha256"] == fast["weights_sha256"]
    assert len(plain["weights_sha256"]) == 64


def test_several_networks_are_recorded_in_their_order() -> None:
    found = BundleModel(("vnet", "unet")).record()
    assert found["networks"] == "vnet unet"
    assert found["weights_sha256"].split()[1] == BundleModel().record()["weights_sha256"]


def test_the_worker_loads_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(Predictor, "load", lambda networks, **rest: asked.update(networks=networks, **rest))
    BundleModel(("unet",), tta=True, device="cpu", engine="openvino").load()
    assert asked["networks"] == ("unet",)
    assert (asked["tta"], asked["device"], asked["engine"]) == (True, "cpu", "openvino")


def test_missing_weights_are_told_before_a_cluster_is_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected weights at .*gone\.pt, found No such file"):
        BundleModel(weights=tmp_path / "gone.pt").record()
