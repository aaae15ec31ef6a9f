import threading
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.interaction.corrector import Corrector
from pipelines.models.heart import Predictor
from pipelines.server.predictors import Predictors, PublishedWeights


def published(folder: Path, *contents: str) -> PublishedWeights:
    """A store to which files with these contents were published as weights of the unet."""
    store = PublishedWeights(folder)
    for content in contents:
        source = folder / "new.pt"
        source.write_text(content, encoding="utf-8")
        store.publish("unet", source, {"dice": {"mean": 0.5}})
    return store


def test_without_published_weights_those_of_the_bundle_are_served(tmp_path: Path) -> None:
    store = PublishedWeights(tmp_path)
    assert store.current("unet") == 0
    assert store.path("unet", 0) is None
    assert store.versions("unet") == []
    assert list(tmp_path.iterdir()) == []


def test_each_version_stays_with_its_record(tmp_path: Path) -> None:
    store = published(tmp_path, "one", "two")
    assert store.current("unet") == 2
    assert [store.path("unet", number).read_text(encoding="utf-8") for number in (1, 2)] == ["one", "two"]
    assert [(entry["version"], entry["replaces"]) for entry in store.versions("unet")] == [(1, 0), (2, 1)]
    assert store.current("vnet") == 0


def test_any_version_can_be_restored_and_the_next_one_has_a_new_number(tmp_path: Path) -> None:
    store = published(tmp_path, "one", "two")
    assert store.restore("unet") == 1
    assert store.current("unet") == 1
    assert store.restore("unet") == 2
    assert store.restore("unet", 0) == 0
    assert published(tmp_path, "three").current("unet") == 3
    assert store.versions("unet")[-1]["replaces"] == 0


def test_a_version_that_was_never_kept_is_refused(tmp_path: Path) -> None:
    store = published(tmp_path, "one")
    with pytest.raises(ConfigError, match=r"among 0, 1 \(0: the bundle's own\), found 7"):
        store.restore("unet", 7)
    assert store.current("unet") == 1


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
