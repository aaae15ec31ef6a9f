"""Each format holds the network for any number of images."""

import sys
from pathlib import Path

import pytest
import torch
from narrow_bundle import write_narrow_bundle

from pipelines.core.errors import ConfigError
from pipelines.export import onnx_model, openvino_model, torchscript
from pipelines.export.source import Source
from pipelines.models.openvino_runtime import weights_of


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    bundle = write_narrow_bundle(tmp_path_factory.mktemp("formats") / "acdc", networks=("unet",))
    return Source.load("unet", bundle=bundle)


@pytest.mark.parametrize(
    ("form", "files"),
    [
        (torchscript, {"model.ts"}),
        (onnx_model, {"model.onnx"}),
        (openvino_model, {"model.xml", "model.bin"}),
    ],
)
def test_what_was_written_gives_the_logits_of_the_source(
    form: object, files: set[str], source: Source, tmp_path: Path
) -> None:
    form.write(source, tmp_path)  # type: ignore[attr-defined]
    assert {path.name for path in tmp_path.iterdir()} == files
    run = form.load(tmp_path)  # type: ignore[attr-defined]
    for images in (1, 3):
        slices = torch.randn(images, 3, 192, 192)
        with torch.inference_mode():
            expected = source.module(slices)
        torch.testing.assert_close(run(slices), expected, rtol=1e-2, atol=1e-2)


def test_torchscript_carries_the_metadata(source: Source, tmp_path: Path) -> None:
    torchscript.write(source, tmp_path)
    extra = {"metadata.json": ""}
    torch.jit.load(tmp_path / "model.ts", _extra_files=extra)
    assert b"ACDC short-axis cardiac segmentation" in extra["metadata.json"]  # type: ignore[operator]


def test_int8_is_a_quarter_of_the_size_and_says_its_weights(source: Source, tmp_path: Path) -> None:
    slices = list(torch.randn(4, 3, 192, 192).split(1))
    openvino_model.write_int8(source, tmp_path, slices)
    assert {path.name for path in tmp_path.iterdir()} == {"int8.xml", "int8.bin"}
    whole = sum(weight.numel() * 4 for weight in source.module.parameters())
    assert (tmp_path / "int8.bin").stat().st_size < whole / 3
    assert weights_of(tmp_path / "int8.xml") == source.fingerprint
    found = openvino_model.load_int8(tmp_path)(torch.cat(slices))
    assert found.shape == (4, 4, 192, 192)


def test_onnx_that_is_not_installed_is_named(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"pip install -c constraints\.txt -e '\.\[onnx\]'"):
        onnx_model.write(source, tmp_path)
