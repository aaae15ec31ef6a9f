"""Training in a running server, driven by the client of MONAI Label's module for 3D Slicer."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from labelled_studies import write_labelled_studies

from pipelines.benchmarks.speed import running_server
from pipelines.server.predictors import PublishedWeights

from .conftest import VERSION

pytestmark = pytest.mark.slow

PLUGIN = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel"
WAIT_S = 300.0


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled_studies(tmp_path_factory.mktemp("live") / "studies")


@pytest.fixture(scope="module")
def client(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module's client of a server on two labelled patients."""
    sys.path.insert(0, str(PLUGIN))
    try:
        library = importlib.import_module("MONAILabelLib.client")
    finally:
        sys.path.remove(str(PLUGIN))
    with running_server(studies) as url:
        yield library.MONAILabelClient(url, str(tmp_path_factory.mktemp("slicer")), "anna")
    assert "Traceback" not in (studies.parent / "server.log").read_text(encoding="utf-8")


def ended(client: Any) -> dict[str, Any]:
    """The training once it has ended, followed as the module does it."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        status: dict[str, Any] = client.train_status()
        if status["status"] != "RUNNING":
            return status
        stats = next(iter(client.info()["train_stats"].values()))
        assert 0 <= stats.get("best_metric", 0) <= 1
        assert stats.get("epoch", 1) <= stats.get("total_epochs", 1)
        time.sleep(0.5)
    raise AssertionError("the training did not end")


def test_a_training_that_is_stopped_leaves_what_is_served(client: Any, studies: Path) -> None:
    config = client.info()["trainers"]["unet"]["config"]
    begun = client.train_start("unet", config | {"max_epochs": 200})
    assert begun["status"] == "RUNNING"
    assert client.train_status(check_if_running=True)
    stopped = client.train_stop()
    assert stopped["status"] == "STOPPED"
    assert stopped["details"]
    assert not client.train_status(check_if_running=True)
    assert PublishedWeights(studies).current("unet") == 0


def test_training_leads_to_weights_that_are_served_and_can_be_taken_back(client: Any, studies: Path) -> None:
    image = "patient001_frame01"
    _, told = client.infer("unet", image, {})
    assert told["version"] == VERSION
    client.train_start("unet", {"max_epochs": 6, "batch_size": 4})
    # The server goes on answering meanwhile.
    client.infer("unet", image, {})
    assert client.train_status(check_if_running=True)
    status = ended(client)
    assert status["status"] == "DONE", status["details"]
    stats = client.info()["train_stats"]["unet"]
    assert (stats["epoch"], stats["total_epochs"]) == (6, 6)
    assert stats["total_time"] > 0
    assert set(stats["dice"]) == set(stats["dice_before"]) == {"rv", "myo", "lv", "mean"}
    assert stats["best_metric"] == stats["dice"]["mean"] > stats["dice_before"]["mean"]
    assert stats["published"] == 1
    _, told = client.infer("unet", image, {})
    assert told["version"] == f"{VERSION}+unet.1"
    PublishedWeights(studies).restore("unet")
    _, told = client.infer("unet", image, {})
    assert told["version"] == VERSION


def test_scores_come_into_the_information_of_images(client: Any) -> None:
    url = client.get_server_url()
    urlopen(Request(f"{url}/scoring/dice", b"{}", {"Content-Type": "application/json"})).close()
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with urlopen(f"{url}/scoring/") as answer:
            status = json.load(answer)
        if status["status"] != "RUNNING":
            break
        time.sleep(0.2)
    assert status["details"] == ["4 images scored, 0 failed"]
    scores = client.datastore()["objects"]["patient001_frame01"]["image"]["info"]["scores"]
    assert 0 < scores["dice"]["lv"] <= 1
