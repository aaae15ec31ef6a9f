"""An exported bundle is whole, runs with MONAI alone, and passes MONAI's own checks."""

import csv
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_schema import SCHEMA
from monai.bundle import verify_metadata, verify_net_in_out
from without_thorax import HIDE_THORAX, run_monai, run_without_thorax

from pipelines.core.errors import ConfigError
from pipelines.core.volume import read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.xray_image import read_xray
from pipelines.export.bundle import bundle_name, write, write_bundle
from pipelines.export.source import Source
from pipelines.inference.classify import find_xrays
from pipelines.models.bundle import NETWORKS, XRAY_NETWORKS, load_config
from pipelines.models.checkpoints import save_weights
from pipelines.models.classifier import Classifier
from pipelines.models.predictor import Predictor
from pipelines.models.weights_sidecar import write_network, write_threshold

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
    run = run_without_thorax(HIDE_THORAX + "import pipelines.core.labels", folder=tmp_path)
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
    write(Source.load(network), tmp_path)
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
        folder=folder,
    )
    rows = list(csv.reader((tmp_path / "out" / "predictions.csv").open()))
    found = {Path(row[0]).name: float(row[2]) for row in rows}
    paths = find_xrays([tmp_path / "images"])
    classifier = Classifier.load(network, device="cpu")
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
    write(source, tmp_path / "out")
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
