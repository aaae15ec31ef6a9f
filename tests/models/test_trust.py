"""Which bundles may run."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.core.errors import ConfigError
from pipelines.models.bundle import (
    ACDC_BUNDLE,
    BUNDLES,
    code_checksums,
    load_config,
    read_shipped,
    read_trusted,
    trust,
    trusted_file,
)
from pipelines.models.weights import read_network
from pipelines.training.launch import train_network


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who trusts nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The ACDC bundle's configs, elsewhere."""
    shutil.copytree(ACDC_BUNDLE / "configs", tmp_path / "copy" / "configs")
    return tmp_path / "copy"


def change(bundle: Path, mark: Path | None = None) -> None:
    """As somebody who wants a config to do more would."""
    path = bundle / "configs" / "common.yaml"
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("channels:")
    ]
    mark = mark or bundle / "ran"
    more = f"channels: \"$__import__('pathlib').Path('{mark}').touch() or 4\""
    path.write_text("\n".join([*lines, more, "# changed", ""]), encoding="utf-8")


def test_the_checksums_of_the_shipped_bundles_are_true() -> None:
    found = {path.name: code_checksums(path) for path in BUNDLES.iterdir() if path.is_dir()}
    assert read_shipped(BUNDLES) == found, "a config changed: run 'make checksums' and commit its file"


def test_a_copy_of_a_shipped_bundle_is_known(copy: Path) -> None:
    assert load_config("unet", bundle=copy).get_parsed_content("spacing_mm") == 1.5


def test_a_bundle_that_nobody_vouched_for_is_refused_and_nothing_of_it_runs(
    copy: Path, tmp_path: Path
) -> None:
    change(copy, tmp_path / "ran")
    for read in (
        lambda: load_config("unet", bundle=copy).get_parsed_content("channels"),
        lambda: train_network("unet", tmp_path, tmp_path / "run", bundle=copy),
    ):
        with pytest.raises(
            ConfigError, match=r"expected a bundle that is known.*can run code.*thorax store trust"
        ):
            read()
    assert not (tmp_path / "ran").exists()


def test_a_trusted_bundle_runs_until_its_code_changes(copy: Path) -> None:
    change(copy)
    assert "configs/common.yaml" in trust(copy)
    assert load_config("unet", bundle=copy) is not None
    (copy / "models").mkdir()
    (copy / "models" / "quality.json").write_text("{}", encoding="utf-8")  # what training writes is no code
    assert load_config("unet", bundle=copy) is not None
    change(copy)
    (copy / "scripts").mkdir()
    (copy / "scripts" / "loss.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"changes since .* in configs/common\.yaml, scripts/loss\.py"):
        load_config("unet", bundle=copy)


def test_a_trusted_bundle_is_known_at_another_place(copy: Path, tmp_path: Path) -> None:
    change(copy)
    trust(copy)
    copy.rename(tmp_path / "moved")
    assert load_config("unet", bundle=tmp_path / "moved") is not None


def test_a_folder_that_the_user_edits_stays_known(copy: Path, tmp_path: Path) -> None:
    change(copy)
    trust(copy, always=True)
    change(copy)
    assert load_config("unet", bundle=copy) is not None
    shutil.copytree(copy, tmp_path / "other")
    with pytest.raises(ConfigError, match="nobody vouched for"):
        load_config("unet", bundle=tmp_path / "other")


def test_configs_of_the_clone_may_be_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "bundles"
    shutil.copytree(ACDC_BUNDLE / "configs", own / "acdc_segmentation" / "configs")
    monkeypatch.setattr("pipelines.models.bundle.BUNDLES", own)
    change(own / "acdc_segmentation")
    assert load_config("unet", bundle=own / "acdc_segmentation") is not None


def test_a_folder_behind_a_link_is_not_taken_for_what_was_seen(copy: Path, tmp_path: Path) -> None:
    before = code_checksums(copy)
    (tmp_path / "elsewhere").mkdir()
    (copy / "configs" / "more").symlink_to(tmp_path / "elsewhere")
    assert code_checksums(copy) != before
    with pytest.raises(ConfigError, match="nobody vouched for"):
        load_config("unet", bundle=copy)


def test_only_bundles_can_be_trusted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a bundle with configs"):
        trust(tmp_path)


def test_the_trust_file_follows_xdg(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    assert trusted_file() == settings / "thorax" / "trusted.json"
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert trusted_file() == Path.home() / ".config" / "thorax" / "trusted.json"


def test_a_damaged_trust_file_trusts_nothing(copy: Path) -> None:
    change(copy)
    trust(copy)
    trusted_file().write_text('{"/somewhere": {"always": "yes"}}', encoding="utf-8")
    with pytest.raises(ConfigError, match="expected the trusted bundles"):
        load_config("unet", bundle=copy)


def test_the_command_tells_what_is_trusted_and_remembers_it(copy: Path) -> None:
    change(copy)
    result = CliRunner().invoke(app, ["trust", str(copy)], catch_exceptions=False)
    assert "trusted configs/common.yaml" in result.output
    assert read_trusted()[str(copy)] == {"always": False, "files": code_checksums(copy)}


def test_a_command_takes_another_bundle_only_with_trust(copy: Path, tmp_path: Path) -> None:
    change(copy)
    (tmp_path / "none.nii.gz").touch()
    words = [
        "segment",
        str(tmp_path / "none.nii.gz"),
        "--output",
        str(tmp_path / "out"),
        "--bundle",
        str(copy),
    ]
    with pytest.raises(ConfigError, match="nobody vouched for"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    with pytest.raises(ConfigError, match="expected weights"):
        CliRunner().invoke(app, [*words, "--trust"], catch_exceptions=False)


@pytest.mark.parametrize(
    "value", ["$__import__('os').getcwd()", "@weights", "%other.yaml::a", {"_target_": "os.getcwd"}, ["$1"]]
)
def test_settings_beside_weights_are_no_programs(value: object, tmp_path: Path) -> None:
    content = {"architecture": "resnet18", "settings": {"size_px": value}}
    (tmp_path / "network.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="which may be a program"):
        read_network(tmp_path, "resnet18")
