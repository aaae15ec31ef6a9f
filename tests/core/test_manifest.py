import json
from pathlib import Path

import pytest
import torch

import pipelines
from pipelines.core.errors import OutputError
from pipelines.core.files import package_versions, write_manifest


def test_a_manifest_tells_versions_command_and_what_the_run_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/thorax", "train", "unet"])
    path = write_manifest(tmp_path, seed=3, split_hash="abc", best=float("nan"))
    content = json.loads(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "manifest.json"
    assert content["thorax"] == pipelines.__version__
    assert content["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert content["command"] == ["thorax", "train", "unet"]
    assert content["seed"] == 3
    assert content["split_hash"] == "abc"
    assert content["best"] is None


def test_a_package_that_is_not_installed_has_no_version() -> None:
    found = package_versions(("torch", "no-such-package"))
    assert found == {"torch": torch.__version__.partition("+")[0], "no-such-package": None}


def test_a_manifest_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match=r"manifest\.json"):
        write_manifest(tmp_path / "taken")
