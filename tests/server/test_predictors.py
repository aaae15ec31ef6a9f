"""Networks of a server, some of which are loaded while others run."""

import threading

import pytest

from pipelines.interaction.corrector import Corrector
from pipelines.models.predictor import Predictor
from pipelines.server.predictors import Predictors


def test_nothing_is_corrected_while_a_network_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    predictors = Predictors(("unet",))
    held = []

    def load(*_: object, **__: object) -> str:
        held.append(predictors.loading.locked())
        return "loaded"

    monkeypatch.setattr(Predictor, "load", load)
    monkeypatch.setattr(Corrector, "load", load)
    predictors.load("unet")
    assert predictors.load_corrector() == "loaded"
    assert held == [True, True]
    assert not predictors.loading.locked()


def test_the_corrector_is_loaded_once_and_waits_for_a_network_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictors, loaded = Predictors(("unet",)), []
    monkeypatch.setattr(Corrector, "load", lambda **_: loaded.append(1) or "corrector")
    threads = [threading.Thread(target=predictors.load_corrector) for _ in range(2)]
    with predictors._lock:
        for thread in threads:
            thread.start()
        threads[0].join(0.05)
        assert loaded == []
    for thread in threads:
        thread.join()
    assert loaded == [1]
