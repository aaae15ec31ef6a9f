import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle_schema import SCHEMA
from monai.bundle import verify_metadata

from pipelines.core.records import LABEL_NAMES
from pipelines.export.formats import network_metadata
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, XRAY_BUNDLE

METADATA = ACDC_BUNDLE / "configs" / "metadata.json"


def verify(metadata: dict[str, Any], folder: Path) -> None:
    """MONAI's own check, with the schema lying where it would be downloaded to."""
    (folder / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    (folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    verify_metadata(meta_file=str(folder / "metadata.json"), filepath=str(folder / "schema.json"))


def test_metadata_of_the_chest_xray_bundle_passes_monais_check(tmp_path: Path) -> None:
    verify(json.loads((XRAY_BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8")), tmp_path)


@pytest.mark.parametrize("network", NETWORKS)
def test_metadata_passes_monais_check(network: str, tmp_path: Path) -> None:
    verify(network_metadata(network), tmp_path)


def test_metadata_without_a_required_entry_fails_monais_check(tmp_path: Path) -> None:
    metadata = json.loads(METADATA.read_text(encoding="utf-8"))
    del metadata["network_data_format"]["outputs"]
    with pytest.raises(ValueError, match="outputs"):
        verify(metadata, tmp_path)


def test_committed_file_is_the_metadata_of_the_default_network() -> None:
    assert json.loads(METADATA.read_text(encoding="utf-8")) == network_metadata(NETWORKS[0])


def test_channels_of_the_prediction_are_the_label_names_in_lower_case() -> None:
    outputs = json.loads(METADATA.read_text(encoding="utf-8"))["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {str(int(label)): name for label, name in LABEL_NAMES.items()}
    assert outputs["num_channels"] == len(LABEL_NAMES)


def test_newest_entry_of_the_changelog_is_the_version() -> None:
    metadata = json.loads(METADATA.read_text(encoding="utf-8"))
    assert next(iter(metadata["changelog"])) == metadata["version"]


def test_versions_are_those_that_are_installed() -> None:
    metadata = json.loads(METADATA.read_text(encoding="utf-8"))
    assert metadata["monai_version"] == version("monai")
    assert metadata["pytorch_version"] == version("torch").split("+")[0]
    stated = {"numpy": metadata["numpy_version"], **metadata["required_packages_version"]}
    assert stated == {package: version(package) for package in stated}


def test_licences_and_the_list_of_large_files_are_there() -> None:
    assert "Apache License" in (ACDC_BUNDLE / "LICENSE").read_text(encoding="utf-8")
    assert "CC BY-NC-SA 4.0" in (ACDC_BUNDLE / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert yaml.safe_load((ACDC_BUNDLE / "large_files.yml").read_text(encoding="utf-8")) == {
        "large_files": []
    }
