"""A process that is limited, killed past its limits, and replaced."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume, read_volume
from pipelines.interaction.clicks import Click
from pipelines.server.predictors import Predictors, WorkerPredictors
from pipelines.server.worker import PARSER, TooLargeError, TooLongError, Worker

from .conftest import heart, write_nifti
from .test_routes_viewer import png


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("tested", most_s=20.0, most_bytes=300_000_000, foreign=True)
    yield made
    made.close()


def test_work_is_done_elsewhere_and_its_errors_come_back(worker: Worker) -> None:
    pid = worker.call(os.getpid)
    assert pid != os.getpid()
    with pytest.raises(DataError, match="expected a NIfTI file, found nothing at absent"):
        worker.call(read_volume, Path("absent.nii"))
    with pytest.raises(DataError, match="on which its reader stumbles"):
        worker.call(int, "no number")
    assert worker.call(os.getpid) == pid


def test_work_without_end_is_killed_and_the_next_is_done(worker: Worker) -> None:
    pid = worker.call(os.getpid)
    worker.most_s = 0.2
    start = time.perf_counter()
    with pytest.raises(TooLongError):
        worker.call(time.sleep, 100)
    assert time.perf_counter() - start < 5
    assert not psutil.pid_exists(pid)
    worker.most_s = 20.0
    assert worker.call(sum, [1, 2]) == 3


def test_work_that_needs_too_much_memory_is_refused_and_the_next_is_done(worker: Worker) -> None:
    with pytest.raises(TooLargeError):
        worker.call(bytes, 500_000_000)
    assert worker.call(len, bytes(1_000_000)) == 1_000_000


def test_a_process_that_dies_is_replaced(worker: Worker) -> None:
    with pytest.raises(TooLargeError):
        worker.call(os._exit, 1)
    assert worker.call(sum, [1, 2]) == 3


def test_a_client_learns_when_its_file_takes_too_long_and_others_are_served(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = write_nifti(tmp_path / "a.nii.gz", heart() * 0).read_bytes()

    def save() -> Any:
        return client.put(
            "/datastore/label", params={"image": "lone"}, files={"label": ("a.nii.gz", content)}
        )

    PARSER.close()
    monkeypatch.setattr(PARSER, "most_s", 0.01)
    answer = save()
    assert answer.status_code == 504
    assert answer.json()["detail"].startswith("expected work that ends in time")
    monkeypatch.undo()
    monkeypatch.setattr(PARSER, "most_bytes", 60_000_000)
    answer = client.post(
        "/viewer/data/xray", files={"file": ("a.png", png(np.zeros((4000, 4000), np.uint8)))}
    )
    assert answer.status_code == 413
    PARSER.close()
    monkeypatch.undo()
    assert save().status_code == 200


@pytest.mark.slow
def test_networks_in_another_process_find_the_same_and_survive_its_end() -> None:
    volume = Volume(heart().repeat(4, 0).repeat(4, 1), np.diag([2.0, 2.0, 8.0, 1.0]), (2.0, 2.0, 8.0))
    here, away = Predictors(("unet",), device="cpu"), WorkerPredictors(("unet",), device="cpu")
    expected = here.predict("unet", volume).mask
    try:
        np.testing.assert_array_equal(away.predict("unet", volume).mask, expected)
        assert away.version_of("unet") == here.version_of("unet")
        np.testing.assert_array_equal(away.probabilities("unet", volume), here.probabilities("unet", volume))
        clicks = [Click(40, 40, 2, AcdcLabel.RV)]
        corrected = here.open(volume).correct(expected, clicks)
        correction = away.open(volume)
        np.testing.assert_array_equal(correction.correct(expected, clicks), corrected)
        away.worker.close()
        np.testing.assert_array_equal(correction.correct(expected, clicks), corrected)
        assert correction.axis == here.open(volume).axis

        def seconds(predictors: Predictors) -> float:
            times = []
            for _ in range(7):
                start = time.perf_counter()
                found = predictors.predict("unet", volume)
                times.append(time.perf_counter() - start - sum(found.seconds.values()))
            return sorted(times)[3]

        away.predict("unet", volume)
        assert seconds(away) < seconds(here) + 0.02
    finally:
        away.worker.close()
