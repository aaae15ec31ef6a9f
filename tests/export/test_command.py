"""An export is kept only if it agrees with its source."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from narrow_bundle import write_narrow_bundle
from torch import Tensor

from pipelines.cli.main import main
from pipelines.core.errors import ConfigError
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import prepare_acdc
from pipelines.export import command, quantize
from pipelines.export.command import DECISIONS, DICE, export_network
from pipelines.export.formats import FORMATS, Model
from pipelines.models.bundle import load_config
from pipelines.models.weights import save_weights, write_threshold


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrow_bundle(tmp_path_factory.mktemp("command") / "acdc", networks=("unet",))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    write_phantom_cohort(root / "acdc", patients=5, frames=3, cine=False)
    return prepare_acdc(root / "acdc", root / "prepared").datalist.parent


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "VOLUMES", 2)
    monkeypatch.setattr(command, "RADIOGRAPHS", 4)
    monkeypatch.setattr(quantize, "CALIBRATION_SLICES", 6)


@pytest.mark.parametrize("name", ["bundle", "torchscript", "openvino"])
def test_a_heart_is_checked_on_generated_volumes_and_recorded(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    made = export_network("unet", name, tmp_path, bundle=bundle)  # type: ignore[arg-type]
    assert made.folder == tmp_path / f"unet-{name}"
    assert made.fidelity.images == 2
    assert made.fidelity.measure == DICE
    assert made.fidelity.agreement > 0.99
    told = json.loads((made.folder / "manifest.json").read_text(encoding="utf-8"))
    assert told["checked_on"] == "phantom"
    assert told["fidelity"]["difference"] == made.fidelity.difference
    assert told["bytes"] == made.size == sum((made.folder / file).stat().st_size for file in told["outputs"])
    assert {path.name for path in made.folder.iterdir()} == {*told["outputs"], "manifest.json"}


def test_int8_is_calibrated_on_training_and_checked_on_validation(
    bundle: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated: list[int] = []
    int8 = FORMATS["openvino-int8"]

    def write(source: command.Source, folder: Path, slices: Sequence[Tensor]) -> None:
        calibrated.append(len(slices))
        int8.write(source, folder, slices)

    monkeypatch.setitem(FORMATS, "openvino-int8", replace(int8, write=write, least_agreement=0))
    made = export_network("unet", "openvino-int8", tmp_path, bundle=bundle, data=prepared)
    assert calibrated == [6]
    assert made.fidelity.difference > 0
    assert sorted(path.name for path in made.folder.iterdir()) == ["int8.bin", "int8.xml", "manifest.json"]


def test_a_classifier_is_checked_on_radiographs_and_keeps_its_threshold(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(load_config("resnet18").get_parsed_content("network_def"), tmp_path / "run" / "best.pt")
    write_threshold(tmp_path / "run", 0.4)
    write_phantom_xrays(tmp_path / "xrays", patients=6, images=1, side_px=64)
    made = export_network(
        "resnet18", "openvino", tmp_path, weights=tmp_path / "run" / "best.pt", data=tmp_path / "xrays"
    )
    assert made.fidelity.measure == DECISIONS
    assert made.fidelity.images == 4
    assert json.loads((made.folder / "operating_point.json").read_text(encoding="utf-8"))["threshold"] == 0.4


def test_an_export_that_differs_is_not_kept(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(source: Model, folder: Path) -> Model:
        return source.run_by(lambda slices: -source.logits(slices))  # type: ignore[return-value]

    older = export_network("unet", "torchscript", tmp_path, bundle=bundle)
    before = (older.folder / "manifest.json").read_text(encoding="utf-8")
    monkeypatch.setitem(FORMATS, "torchscript", replace(FORMATS["torchscript"], load=other))
    with pytest.raises(ConfigError, match=r"expected unet as torchscript to agree .* nothing was written"):
        export_network("unet", "torchscript", tmp_path, bundle=bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["unet-torchscript"]
    assert (older.folder / "manifest.json").read_text(encoding="utf-8") == before


def test_int8_without_training_images_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected training images to calibrate int8 with"):
        export_network("unet", "openvino-int8", tmp_path, bundle=bundle)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a format among bundle, torchscript, onnx"):
        export_network("unet", "caffe", tmp_path)  # type: ignore[arg-type]


def test_int8_of_another_format_is_refused_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "unet", "--format", "onnx", "--int8", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["thorax", *words])
    with pytest.raises(SystemExit):
        main()
    assert "found --format onnx with it" in capsys.readouterr().err
