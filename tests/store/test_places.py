"""What is special about a hub."""

from pathlib import Path

import pytest
from fake_hub import Hub

from pipelines.core.errors import ConfigError, DataError
from pipelines.store.data import pull_data, push_data
from pipelines.store.transfer import pull_bundle, push_bundle

NAME = "tiny_segmentation"
REPO = f"models/clinic/{NAME}"


def test_a_push_is_one_commit_to_a_private_repository(hub: Hub, bundle: Path) -> None:
    push_bundle(bundle, "hf://clinic")
    assert hub.private == {REPO: True}
    assert len(hub.repos[REPO]) == 2  # the hub's own, and the push
    (bundle / "LICENSE").unlink()
    push_bundle(bundle, "hf://clinic", replace=True)
    assert len(hub.repos[REPO]) == 3
    assert "LICENSE" not in hub.newest(REPO)


def test_a_file_changed_on_the_hub_is_named(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    push_bundle(bundle, "hf://clinic")
    hub.newest(REPO)["configs/inference.yaml"] = b"run: $print('other')\n"
    with pytest.raises(DataError, match="changed configs/inference.yaml"):
        pull_bundle("hf://clinic", NAME, tmp_path / "out")


def test_a_file_added_on_the_hub_is_named(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    push_bundle(bundle, "hf://clinic")
    hub.repos[REPO].append({**hub.newest(REPO), "pytorch_model.bin": b"\x80\x04."})
    with pytest.raises(DataError, match="additional pytorch_model.bin"):
        pull_bundle("hf://clinic", NAME, tmp_path / "out")


def test_data_are_a_dataset_there_and_no_model(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hearts").mkdir()
    (tmp_path / "hearts" / "a.csv").write_text("1\n", encoding="utf-8")
    (tmp_path / "hearts" / "LICENSE").write_text("CC0\n", encoding="utf-8")
    push_data(tmp_path / "hearts", "hf://clinic", accept=lambda _: True)
    assert set(hub.repos) == {"datasets/clinic/hearts"}
    kept = pull_data("hf://clinic", "hearts", tmp_path / "out", accept=lambda _: True)
    assert kept.files == 2
    assert (tmp_path / "out" / "hearts" / "a.csv").read_text(encoding="utf-8") == "1\n"


def test_a_repository_that_is_not_there_is_reported(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no checksums"):
        pull_bundle("hf://clinic", "nothing", tmp_path / "out")


def test_an_owner_is_one_word(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="expected hf://OWNER"):
        push_bundle(bundle, "hf://clinic/hearts")
