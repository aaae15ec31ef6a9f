"""Training and scoring as a client asks for them; the trainings themselves are stand-ins here."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from pipelines.core.volume import read_volume
from pipelines.server import learning
from pipelines.server.api import make_server

from .conftest import VERSION, true_mask


@pytest.fixture
def labelled(app: Any) -> list[str]:
    """All images of two patients, with accepted labels."""
    store = app.datastore()
    for image in store.images.all():
        volume = read_volume(image.path)
        store.labels.accept(image.id, true_mask(volume.array), volume, author="anna")
    return list(store.list_images())


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces what a training runs by some lines of Python."""
    return lambda lines: monkeypatch.setattr(learning, "COMMAND", (sys.executable, "-c", lines))


def when_over(client: TestClient, path: str) -> dict[str, Any]:
    for _ in range(600):
        found: dict[str, Any] = client.get(path).json()
        if found["status"] != "RUNNING":
            return found
        time.sleep(0.05)
    raise AssertionError("it never came to an end")


def test_info_lists_trainers_with_what_can_be_chosen_and_scoring_methods(client: TestClient) -> None:
    info = client.get("/info/").json()
    assert list(info["trainers"]) == ["unet", "attention_unet", "vnet"]
    assert info["trainers"]["unet"]["config"] == {"max_epochs": 20, "batch_size": 6}
    assert list(info["scoring"]) == ["dice", "uncertainty", "plausibility"]
    assert info["train_stats"] == {"unet": {}, "attention_unet": {}, "vnet": {}}


def test_no_training_is_there_at_first(client: TestClient) -> None:
    for path in ("/train/", "/train/?check_if_running=true", "/scoring/"):
        assert client.get(path).status_code == 404
    assert client.delete("/train/").status_code == 404


def test_fewer_than_two_labelled_patients_are_refused_with_the_reason(client: TestClient) -> None:
    answer = client.post("/train/unet", json={"client_id": "anna"})
    assert answer.status_code == 400
    assert "accepted labels of at least 2 patients" in answer.json()["detail"]


@pytest.mark.parametrize(
    "sent",
    [
        {"max_epochs": 0},
        {"max_epochs": 201},
        {"batch_size": 33},
        {"max_epochs": "$import os"},
        {"device": "$print(1)"},
        {"train#trainer#max_epochs": 1},
        {"max_epochs": [1]},
    ],
)
def test_values_out_of_bounds_and_other_settings_are_refused(
    client: TestClient, labelled: list[str], sent: dict[str, Any]
) -> None:
    answer = client.post("/train/unet", json=sent)
    assert answer.status_code == 422
    assert "$" not in answer.text


def test_another_model_is_refused(client: TestClient, labelled: list[str]) -> None:
    answer = client.post("/train/ensemble", json={})
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "expected a trainer among unet, attention_unet, vnet",
    )


def test_a_training_runs_alone_with_low_priority_until_it_is_stopped(
    client: TestClient, labelled: list[str], stand_in: Callable[[str], None]
) -> None:
    stand_in("import sys, time; print(sys.argv[1:], flush=True); time.sleep(600)")
    begun = client.post("/train/vnet", json={"max_epochs": 3, "batch_size": 2, "client_id": "anna"}).json()
    assert (begun["status"], begun["model"]) == ("RUNNING", "vnet")
    assert begun["request"] == {"model": "vnet", "max_epochs": 3, "batch_size": 2}
    process = next(
        child for child in psutil.Process().children() if "time.sleep(600)" in " ".join(child.cmdline())
    )
    assert process.nice() >= 10
    assert process.cmdline()[-7:] == ["vnet", "--epochs", "3", "--batch-size", "2", "--device", "auto"]
    assert client.post("/train/", json={}).status_code == 409
    assert client.get("/train/?check_if_running=true").status_code == 200
    stopped = client.delete("/train/").json()
    assert stopped["status"] == "STOPPED"
    assert stopped["end_ts"] >= stopped["start_ts"]
    assert stopped["details"]
    assert not process.is_running()
    assert client.get("/train/?check_if_running=true").status_code == 404


def test_a_crash_is_reported_with_the_last_line_of_its_log(
    client: TestClient, labelled: list[str], stand_in: Callable[[str], None]
) -> None:
    stand_in("raise ValueError('no memory left')")
    client.post("/train/unet")
    found = when_over(client, "/train/")
    assert (found["status"], found["result"]) == ("ERROR", "ValueError: no memory left")
    assert found["details"][-1] == found["result"]


def test_statistics_of_the_latest_training_come_first(
    client: TestClient, app: Any, labelled: list[str], stand_in: Callable[[str], None]
) -> None:
    stand_in("pass")
    client.post("/train/vnet")
    assert when_over(client, "/train/")["status"] == "DONE"
    stats = {"best_metric": 0.9, "epoch": 2, "total_epochs": 4}
    path = Path(app.datastore().root) / ".thorax" / "training" / "vnet" / "status.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(stats), encoding="utf-8")
    found = client.get("/info/").json()["train_stats"]
    assert next(iter(found.items())) == ("vnet", stats)


def test_the_end_of_the_server_ends_the_training(
    app: Any, labelled: list[str], stand_in: Callable[[str], None]
) -> None:
    stand_in("import time; time.sleep(600)")
    with TestClient(make_server(app), base_url="http://127.0.0.1:8000") as client:
        client.post("/train/unet")
        assert app.trainings.is_running
    assert not app.trainings.is_running


def test_scores_are_written_into_the_information_of_images(
    client: TestClient, app: Any, labelled: list[str]
) -> None:
    for method in ("dice", "plausibility"):
        assert client.post(f"/scoring/{method}", json={}).json()["method"] == method
        assert when_over(client, "/scoring/")["details"] == ["3 images scored, 0 failed"]
    scores = client.get("/datastore/image/info", params={"image": labelled[0]}).json()["scores"]
    # The stand-in for the network finds the true mask, which is the accepted label.
    assert scores["dice"] == {
        **dict.fromkeys(("rv", "myo", "lv", "mean"), 1.0),
        "model": "unet",
        "version": VERSION,
    }
    assert scores["plausibility"]["of"] == "label"
    assert scores["plausibility"]["count"] == len(scores["plausibility"]["warnings"]) > 0
    assert client.post("/scoring/other").status_code == 404


def test_uncertainty_is_scored_where_there_is_no_label(client: TestClient, app: Any) -> None:
    client.post("/scoring/uncertainty")
    assert when_over(client, "/scoring/")["status"] == "DONE"
    for image_id in app.datastore().list_images():
        info = client.get("/datastore/image/info", params={"image": image_id}).json()
        assert info["scores"]["uncertainty"] == {"disagreement": 0.0}


def test_an_image_that_cannot_be_scored_is_counted_and_the_others_go_on(
    client: TestClient, app: Any, labelled: list[str]
) -> None:
    app.datastore().labels.path(labelled[0]).write_bytes(b"damaged")
    client.post("/scoring/dice")
    assert when_over(client, "/scoring/")["details"] == ["2 images scored, 1 failed"]
