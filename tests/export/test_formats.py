import csv
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_schema import SCHEMA
from monai.bundle import verify_metadata, verify_net_in_out
from narrow_bundle import write_narrow_bundle
from torch import Tensor
from without_thorax import HIDE_THORAX, run_monai, run_without_thorax

from pipelines.core.errors import ConfigError
from pipelines.core.volume import read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import read_datalist
from pipelines.datasets.prepare_xray import prepare_chest_xray, select
from pipelines.datasets.xray_image import read_xray
from pipelines.export.formats import (
    Source,
    bundle_name,
    find_network,
    load_exact,
    load_torchscript,
    network_metadata,
    quantize,
    write_bundle,
    write_bundle_files,
    write_int8,
    write_onnx,
    write_openvino,
    write_torchscript,
)
from pipelines.export.quantize import compare, quantize_and_compare
from pipelines.inference.classify import find_xrays
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, XRAY_BUNDLE, XRAY_NETWORKS, load_config
from pipelines.models.engines import Run, weights_of
from pipelines.models.heart import Predictor
from pipelines.models.weights import read_threshold, save_weights, write_network, write_threshold
from pipelines.models.xray import Classifier, Int8Classifier


@pytest.mark.parametrize(
    ("name", "network", "expected"),
    [
        ("vnet", None, ("vnet", None)),
        ("vnet", "vnet", ("vnet", None)),
        ("acdc_segmentation", None, ("unet", ACDC_BUNDLE)),
        ("acdc_segmentation", "vnet", ("vnet", ACDC_BUNDLE)),
        ("chest_xray_classification", None, ("efficientnet_lite0", XRAY_BUNDLE)),
        (str(ACDC_BUNDLE), "attention_unet", ("attention_unet", ACDC_BUNDLE)),
    ],
)
def test_a_network_is_found_by_its_own_name_or_its_bundles(
    name: str, network: str | None, expected: tuple[str, Path | None]
) -> None:
    assert find_network(name, network) == expected


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        ("unet", "vnet", "expected one network, found unet and --network vnet"),
        ("heart", None, "expected a bundle's folder or one of acdc_segmentation"),
        ("acdc_segmentation", "resnet18", "expected a network among unet, attention_unet, vnet"),
        ("acdc_segmentation", "corrector", "expected a network among"),
        ("corrector", None, "expected a bundle's folder or one of"),
    ],
)
def test_what_cannot_be_exported_is_reported(name: str, network: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_network(name, network)


def test_the_corrector_is_no_source() -> None:
    with pytest.raises(ConfigError, match="found 'corrector'"):
        Source.load("corrector")


def test_metadata_tells_the_channels_of_each_network() -> None:
    images = [network_metadata(name)["network_data_format"]["inputs"]["image"] for name in ("unet", "vnet")]
    assert [image["num_channels"] for image in images] == [3, 4]
    assert images[1]["channel_def"]["3"] == "slice at offset 1"


def test_metadata_of_lungs_is_that_of_the_bundle() -> None:
    committed = json.loads((XRAY_BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert network_metadata("resnet18_tuned") == committed


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(load_config("resnet18").get_parsed_content("network_def"), path)
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("int8")
    write_phantom_xrays(root / "data", patients=40, images=1, side_px=64)
    prepare_chest_xray(root / "data", root / "prepared")
    return root / "prepared"


@pytest.fixture(scope="module")
def classifier(weights: Path) -> Classifier:
    return Classifier.load("resnet18", weights=weights, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def inputs(prepared: Path, classifier: Classifier) -> list[Tensor]:
    items = select(read_datalist(prepared, kind="images"), "training")[:12]
    return [classifier.batch([read_xray(Path(item["image"])).pixels]) for item in items]


@pytest.fixture(scope="module")
def model(classifier: Classifier, inputs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantize(classifier, inputs, tmp_path_factory.mktemp("model"))


def test_the_model_is_four_times_smaller_and_nearly_the_same(
    classifier: Classifier, inputs: list[Tensor], model: Path, weights: Path
) -> None:
    assert {path.name for path in model.parent.iterdir()} == {"int8.xml", "int8.bin"}
    whole = sum(value.numel() * 4 for value in classifier.module.state_dict().values())
    assert sum(path.stat().st_size for path in model.parent.iterdir()) < whole / 3.8
    int8 = Int8Classifier("resnet18", model=model)
    for batch in (inputs[0], torch.cat(inputs[:3])):
        expected, found = classifier.logits(batch), int8.logits(batch)
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=0.1)
        assert not torch.equal(found, expected)


def test_images_of_any_size_get_a_probability(model: Path) -> None:
    int8 = Int8Classifier("resnet18", model=model)
    assert int8.threshold == 0.5
    images = [np.random.default_rng(0).random(shape, dtype=np.float32) for shape in ((90, 130), (224, 224))]
    together = int8.probabilities(images)
    assert together.shape == (2,)
    assert [int8.probability(image) for image in images] == pytest.approx(together.tolist(), abs=0.02)


def test_a_missing_or_damaged_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"expected an int8 model at .*make it by thorax export --format int8"
    ):
        Int8Classifier("resnet18", model=tmp_path / "int8.xml")
    (tmp_path / "int8.xml").write_text("no model", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a model that OpenVINO can run"):
        Int8Classifier("resnet18", model=tmp_path / "int8.xml")


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_a_missing_package_is_named(
    package: str,
    classifier: Classifier,
    inputs: list[Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install -c constraints\.txt -e '\.\[int8\]'"):
        quantize(classifier, inputs, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_calibration_images_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected training images"):
        quantize(classifier, [], tmp_path)


@pytest.mark.slow
def test_all_ways_are_compared_on_the_same_images(
    classifier: Classifier, inputs: list[Tensor], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: torch.nn.Module) -> torch.nn.Module:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)  # half a minute, and not everywhere
    truth = np.array([index % 2 for index in range(len(inputs))])
    content = compare(classifier, model, inputs, truth, tmp_path, rounds=2)
    assert set(content["runtimes"]) == {
        "PyTorch fp32",
        "PyTorch fp32, channels last",
        "PyTorch bf16",
        "PyTorch bf16, fused",
        "OpenVINO fp32",
        "OpenVINO bf16",
        "OpenVINO int8",
    }
    assert content["sizes"]["fp32_bytes"] / content["sizes"]["int8_bytes"] > 3.8
    for figures in content["runtimes"].values():
        assert 0 < figures["batch_1_ms"]["median"] <= figures["batch_1_ms"]["p95"]
        assert figures["batch_16_ms"]["median"] > 0
        assert min(figures["normal_ms"], figures["pneumonia_ms"]) > 0
        assert figures["accuracy"] == pytest.approx(
            (figures["accuracy_normal"] + figures["accuracy_pneumonia"]) / 2
        )
    assert content["runtimes"]["PyTorch fp32"]["agreement"] == 1
    assert content["runtimes"]["PyTorch fp32, channels last"]["agreement"] == 1
    assert all(ratio > 0 for ratio in content["ratios"].values())
    assert (tmp_path / "quantization.json").is_file()
    assert not (tmp_path / ".part-fp32.pt").exists()


def test_the_job_calibrates_on_training_images_and_says_so(
    prepared: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated: list[int] = []

    def quantize_none(classifier: Classifier, calibration: list[Tensor], output: Path) -> Path:
        calibrated.append(len(calibration))
        return output / "int8.xml"

    monkeypatch.setattr("pipelines.export.quantize.quantize", quantize_none)
    monkeypatch.setattr(
        "pipelines.export.quantize.compare", lambda *arguments, **_: {"images": len(arguments[2])}
    )
    write_threshold(weights.parent, 0.3)
    model, content = quantize_and_compare("resnet18", prepared, tmp_path, weights=weights)
    assert read_threshold(tmp_path) == 0.3
    datalist = read_datalist(prepared, kind="images")
    assert calibrated == [len(select(datalist, "training"))]
    assert content["images"] == len(select(datalist, "test"))
    assert model.name == "int8.xml"
    assert (tmp_path / "manifest.json").is_file()


ALL_FILES = {
    "LICENSE",
    "SHA256SUMS",
    "configs/inference.yaml",
    "configs/logging.conf",
    "configs/metadata.json",
    "configs/train.yaml",
    "docs/README.md",
    "docs/data_license.txt",
    "models/model.pt",
}


def random_source(network: str, folder: Path) -> Source:
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{network}.pt"
    save_weights(load_config(network).get_parsed_content("network_def").half(), path)
    return Source.load(network, weights=path)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_guard_of_these_tests_hides_thorax(tmp_path: Path) -> None:
    run = run_without_thorax(HIDE_THORAX + "import pipelines.core.records", folder=tmp_path)
    assert run.returncode == 1
    assert "ModuleNotFoundError" in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_exported_bundle_segments_with_monai_alone_as_the_predictor_does(
    network: str, tmp_path: Path
) -> None:
    write_phantom_cohort(tmp_path / "cohort", patients=1, cine=False)
    image = tmp_path / "cohort" / "training" / "patient001" / "patient001_frame01.nii.gz"
    (tmp_path / "images").mkdir()
    image = image.rename(tmp_path / "images" / "case.nii.gz")
    plain = nib.load(image)  # oblique; stored apex first, with the slices before the rows
    upside_down = np.flip(np.asarray(plain.dataobj), 2).transpose(2, 0, 1)
    affine = plain.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (plain.shape[2] - 1)
    affine[:3, 2] *= -1
    nib.save(nib.Nifti1Image(upside_down, affine[:, [2, 0, 1, 3]]), image)
    write_bundle_files(Source.load(network), tmp_path)
    shutil.unpack_archive(tmp_path / f"acdc_{network}_segmentation.zip", tmp_path)
    options = ["--meta_file", "configs/metadata.json", "--logging_file", "configs/logging.conf"]
    options += ["--dataset_dir", str(image.parent), "--output_dir", str(tmp_path / "masks")]
    run_monai(
        "run",
        "--config_file",
        "configs/inference.yaml",
        *options,
        "--precision",
        "fp32",
        folder=tmp_path / f"acdc_{network}_segmentation",
    )
    found = nib.load(tmp_path / "masks" / "case_seg.nii.gz")
    expected = Predictor.load(network, device="cpu", precision="fp32").predict(read_volume(image)).mask
    np.testing.assert_array_equal(np.asarray(found.dataobj), expected)
    np.testing.assert_allclose(found.affine, nib.load(image).affine, atol=1e-5)
    assert found.get_data_dtype() == np.uint8
    assert set(np.unique(expected)) == {0, 1, 2, 3}


@pytest.mark.slow
def test_exported_bundle_classifies_with_monai_alone_as_the_classifier_does(tmp_path: Path) -> None:
    network = XRAY_NETWORKS[0]
    write_phantom_xrays(tmp_path / "images", patients=6, images=1)
    folder = write_bundle(Source.load(network), tmp_path)
    run_monai(
        "run",
        "--config_file",
        "configs/inference.yaml",
        "--dataset_dir",
        str(tmp_path / "images"),
        "--output_dir",
        str(tmp_path / "out"),
        "--precision",
        "fp32",  # bf16 differs by where values are rounded
        folder=folder,
    )
    rows = list(csv.reader((tmp_path / "out" / "predictions.csv").open()))
    found = {Path(row[0]).name: float(row[2]) for row in rows}
    paths = find_xrays([tmp_path / "images"])
    classifier = Classifier.load(network, device="cpu", precision="fp32")
    expected = classifier.probabilities([read_xray(path).pixels for path in paths])
    assert [found[path.name] for path in paths] == pytest.approx(expected.tolist(), abs=1e-3)


def test_a_heart_bundle_has_all_files_no_layers_and_a_name_that_tells_the_task(tmp_path: Path) -> None:
    folder = write_bundle(random_source("vnet", tmp_path / "weights"), tmp_path)
    assert files_of(folder) == ALL_FILES
    assert "pipelines" not in (folder / "configs" / "inference.yaml").read_text(encoding="utf-8")
    assert "needs the thorax package" in (folder / "configs" / "train.yaml").read_text(encoding="utf-8")
    assert folder.name == "acdc_vnet_segmentation"


def test_a_bundle_for_lungs_takes_along_what_lies_beside_the_weights(tmp_path: Path) -> None:
    network = "resnet18_tuned"
    weights = random_source(network, tmp_path / "weights").weights
    write_threshold(weights.parent, 0.3)
    write_network(weights.parent, "resnet18", {"size_px": [96, 96]})
    source = Source.load(network, weights=weights)
    folder = write_bundle(source, tmp_path)
    assert folder.name == f"chest_xray_{network}_classification"
    assert files_of(folder) == ALL_FILES | {"models/operating_point.json", "models/network.json"}
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [96, 96]
    assert source.example.shape == (1, 3, 96, 96)
    assert "pipelines" not in (folder / "configs" / "inference.yaml").read_text(encoding="utf-8")


def test_checksums_are_those_of_all_other_files(tmp_path: Path) -> None:
    folder = write_bundle(random_source("vnet", tmp_path / "weights"), tmp_path)
    lines = [line.split("  ") for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()]
    expected = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ALL_FILES - {"SHA256SUMS"}
    }
    assert {name: digest for digest, name in lines} == expected


def test_the_zip_holds_one_folder_and_no_time_of_its_making(tmp_path: Path) -> None:
    source = random_source("vnet", tmp_path / "weights")
    (tmp_path / "out").mkdir()
    write_bundle_files(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["acdc_vnet_segmentation.zip"]
    with zipfile.ZipFile(tmp_path / "out" / "acdc_vnet_segmentation.zip") as archive:
        assert set(archive.namelist()) == {f"acdc_vnet_segmentation/{name}" for name in ALL_FILES}
        assert {entry.date_time[:3] for entry in archive.infolist()} == {(1980, 1, 1)}


def test_an_older_folder_is_replaced_and_nothing_beside_it(tmp_path: Path) -> None:
    source = random_source("vnet", tmp_path / "weights")
    folder = write_bundle(source, tmp_path / "out")
    (folder / "old.txt").write_text("of the older export", encoding="utf-8")
    (tmp_path / "out" / "mine.txt").write_text("not of the export", encoding="utf-8")
    write_bundle(source, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [folder.name, "mine.txt"]
    assert not (folder / "old.txt").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    weights = random_source("vnet", tmp_path).weights
    with pytest.raises(ConfigError, match="expected weights of AttentionUnet"):
        Source.load("attention_unet", weights=weights)


def test_weights_shared_under_two_names_are_stored_once(tmp_path: Path) -> None:
    source = random_source("unet", tmp_path / "weights")
    stored = (write_bundle(source, tmp_path) / "models" / "model.pt").stat().st_size
    assert stored < 2.2 * sum(weight.numel() for weight in source.module.parameters())
    assert next(source.module.parameters()).dtype == torch.float32


@pytest.mark.parametrize("network", [*NETWORKS, XRAY_NETWORKS[0]])
def test_monais_checks_of_metadata_and_network_pass(network: str, tmp_path: Path) -> None:
    folder = write_bundle(random_source(network, tmp_path / "weights"), tmp_path)
    assert folder.name == bundle_name(network)
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    metadata = str(folder / "configs" / "metadata.json")
    verify_metadata(meta_file=metadata, filepath=str(schema))
    config = str(folder / "configs" / "inference.yaml")
    verify_net_in_out("network_def", meta_file=metadata, config_file=config, device="cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    bundle = write_narrow_bundle(tmp_path_factory.mktemp("formats") / "acdc", networks=("unet",))
    return Source.load("unet", bundle=bundle)


@pytest.mark.parametrize(
    ("write", "load", "files"),
    [
        (write_torchscript, load_torchscript, {"model.ts"}),
        (write_onnx, lambda folder: load_exact(folder / "model.onnx"), {"model.onnx"}),
        (write_openvino, lambda folder: load_exact(folder / "model.xml"), {"model.xml", "model.bin"}),
    ],
)
def test_what_was_written_gives_the_logits_of_the_source(
    write: Callable[[Source, Path], None],
    load: Callable[[Path], Run],
    files: set[str],
    source: Source,
    tmp_path: Path,
) -> None:
    write(source, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == files
    run = load(tmp_path)
    for images in (1, 3):
        slices = torch.randn(images, 3, 192, 192)
        with torch.inference_mode():
            expected = source.module(slices)
        torch.testing.assert_close(run(slices), expected, rtol=1e-2, atol=1e-2)


def test_torchscript_carries_the_metadata(source: Source, tmp_path: Path) -> None:
    write_torchscript(source, tmp_path)
    extra = {"metadata.json": ""}
    torch.jit.load(tmp_path / "model.ts", _extra_files=extra)
    assert b"ACDC short-axis cardiac segmentation" in extra["metadata.json"]  # type: ignore[operator]


def test_int8_is_a_quarter_of_the_size_and_says_its_weights(source: Source, tmp_path: Path) -> None:
    slices = list(torch.randn(4, 3, 192, 192).split(1))
    write_int8(source, tmp_path, slices)
    assert {path.name for path in tmp_path.iterdir()} == {"int8.xml", "int8.bin"}
    whole = sum(weight.numel() * 4 for weight in source.module.parameters())
    assert (tmp_path / "int8.bin").stat().st_size < whole / 3
    assert weights_of(tmp_path / "int8.xml") == source.fingerprint
    found = load_exact(tmp_path / "int8.xml")(torch.cat(slices))
    assert found.shape == (4, 4, 192, 192)


def test_onnx_that_is_not_installed_is_named(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"pip install -c constraints\.txt -e '\.\[onnx\]'"):
        write_onnx(source, tmp_path)
