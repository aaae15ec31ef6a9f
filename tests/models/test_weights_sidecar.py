import json
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.models.weights_sidecar import (
    copy_beside,
    read_network,
    read_seen,
    read_threshold,
    seen_note,
    write_network,
    write_seen,
    write_threshold,
)


def test_settings_come_back_for_the_same_architecture(tmp_path: Path) -> None:
    write_network(tmp_path, "resnet18", {"size_px": [112, 112], "head": []})
    assert read_network(tmp_path, "resnet18") == {"size_px": [112, 112], "head": []}
    assert read_network(tmp_path, "resnet18_tuned") == {"size_px": [112, 112], "head": []}
    with pytest.raises(ConfigError, match="expected weights of resnet34, found those of resnet18"):
        read_network(tmp_path, "resnet34")


def test_a_folder_without_them_has_no_settings_and_the_plain_threshold(tmp_path: Path) -> None:
    assert read_network(tmp_path, "resnet18") == {}
    assert read_threshold(tmp_path) == 0.5


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", json.dumps({"architecture": "a", "settings": 3})])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "network.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"expected a network and its settings in .*network\.json"):
        read_network(tmp_path, "resnet18")


def test_what_lies_beside_weights_is_copied_with_them(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    write_threshold(source, 0.3, chosen_on="validation")
    copy_beside(source, target)
    assert read_threshold(target) == 0.3
    assert not (target / "network.json").exists()
    write_network(source, "resnet50", {"head": [8]})
    copy_beside(source, target)
    assert read_network(target, "resnet50") == {"head": [8]}


def test_what_weights_have_seen_goes_where_they_go(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    assert read_seen(source) is None
    write_seen(source, ["b", "a", "b"])
    copy_beside(source, target)
    assert read_seen(target) == {"a", "b"}
    (target / "seen.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"expected hashes of training images in .*seen\.json"):
        read_seen(target)


def test_an_evaluation_says_what_its_weights_have_seen() -> None:
    assert seen_note([], unseen_only=False) is None
    assert "not known" in str(seen_note(None, unseen_only=False))
    assert "trained on 1 patient of those measured, so the scores are too good: p1." in str(
        seen_note(["p1"], unseen_only=False)
    )
    assert (
        seen_note(["p1", "p2"], unseen_only=True)
        == "Left out: 2 patients that these weights were trained on."
    )
