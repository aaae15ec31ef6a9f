import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from pipelines.bundle import NETWORKS, load_config
from pipelines.datasets.nifti import Volume, read_volume
from pipelines.datasets.phantom import write_phantom_cohort
from pipelines.errors import ConfigError
from pipelines.export import export_bundle
from pipelines.inference.predictor import Predictor
from pipelines.training.checkpoints import save_weights

WITHOUT_THORAX = "import sys, runpy; sys.modules['pipelines'] = None; sys.argv[0] = 'monai.bundle'; "
"""Start of a program in which `import pipelines` fails."""

RUN_MONAI = WITHOUT_THORAX + "runpy.run_module('monai.bundle', run_name='__main__')"


def random_weights(network: str, folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / f"{network}.pt"
    save_weights(load_config(network).get_parsed_content("network_def").half(), path)
    return path


def write_image(folder: Path) -> Path:
    """A bright ring on an oblique grid, large enough in plane to be resampled and cropped."""
    folder.mkdir()
    x, y, z = np.meshgrid(np.arange(150), np.arange(130), np.arange(3), indexing="ij")
    radius = np.hypot(x - 70, y - 60)
    array = 100 + 80 * (np.abs(radius - 20) < 5) + 3 * z + 10 * np.sin(x / 9)
    affine = np.array(
        [[0, -1.4, 0, 10], [1.6 * 0.8, 0, -8 * 0.6, -20], [1.6 * 0.6, 0, 8 * 0.8, 5], [0, 0, 0, 1]]
    )
    path = folder / "case.nii.gz"
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)
    return path


def run_without_thorax(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_the_guard_of_these_tests_hides_thorax(tmp_path: Path) -> None:
    run = run_without_thorax(WITHOUT_THORAX + "import pipelines.labels", folder=tmp_path)
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
    folder = export_bundle(network, tmp_path / "exported")
    run = run_without_thorax(
        RUN_MONAI,
        "run",
        "--config_file",
        "configs/inference.yaml",
        "--meta_file",
        "configs/metadata.json",
        "--logging_file",
        "configs/logging.conf",
        "--dataset_dir",
        str(image.parent),
        "--output_dir",
        str(tmp_path / "masks"),
        "--precision",
        "fp32",
        folder=folder,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    found = nib.load(tmp_path / "masks" / "case_seg.nii.gz")
    expected = Predictor.load(network, device="cpu", precision="fp32").predict(read_volume(image)).mask
    np.testing.assert_array_equal(np.asarray(found.dataobj), expected)
    np.testing.assert_allclose(found.affine, nib.load(image).affine, atol=1e-5)
    assert found.get_data_dtype() == np.uint8
    assert set(np.unique(expected)) == {0, 1, 2, 3}


def test_exported_bundle_has_all_files_and_no_layers(tmp_path: Path) -> None:
    folder = export_bundle("vnet", tmp_path, weights=random_weights("vnet", tmp_path))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "LICENSE",
        "configs/inference.yaml",
        "configs/logging.conf",
        "configs/metadata.json",
        "configs/train.yaml",
        "docs/README.md",
        "docs/data_license.txt",
        "models/model.pt",
    }
    assert "pipelines" not in (folder / "configs" / "inference.yaml").read_text()
    assert "needs the thorax package" in (folder / "configs" / "train.yaml").read_text()
    assert folder.name == "acdc_vnet_segmentation"


def test_export_replaces_its_own_older_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    weights = random_weights("vnet", tmp_path)
    folder = export_bundle("vnet", tmp_path / "out", weights=weights)
    (folder / "old.txt").write_text("of the older export")
    (tmp_path / "out" / "mine.txt").write_text("not of the export")
    export_bundle("vnet", tmp_path / "out", weights=weights)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [folder.name, "mine.txt"]
    assert not (folder / "old.txt").exists()


def test_weights_of_another_network_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    weights = random_weights("vnet", tmp_path)
    with pytest.raises(ConfigError, match="expected weights of AttentionUnet"):
        export_bundle("attention_unet", tmp_path / "out", weights=weights)
    assert not (tmp_path / "out").exists()


def test_torchscript_gives_the_same_logits_for_any_number_of_slices(tmp_path: Path) -> None:
    weights = random_weights("unet", tmp_path)
    folder = export_bundle("unet", tmp_path / "out", weights=weights, torchscript=True)
    traced = torch.jit.load(folder / "models" / "model.ts")
    network = load_config("unet").get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(weights, weights_only=True)["model"])
    slices = torch.randn(2, 3, 192, 192)
    with torch.inference_mode():
        torch.testing.assert_close(traced(slices), network(slices), rtol=1e-4, atol=1e-4)


def test_weights_shared_under_two_names_are_stored_once(tmp_path: Path) -> None:
    weights = random_weights("unet", tmp_path)
    folder = export_bundle("unet", tmp_path / "out", weights=weights)
    network = load_config("unet").get_parsed_content("network_def")
    stored = (folder / "models" / "model.pt").stat().st_size
    assert stored < 2.2 * sum(weight.numel() for weight in network.parameters())


def test_probabilities_survive_the_cast_to_16_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = load_config("unet").get_parsed_content("network_def")
    save_weights(network, tmp_path / "32.pt")
    save_weights(network.half(), tmp_path / "16.pt")
    path = write_image(tmp_path / "images")
    volume: Volume = read_volume(path)
    predictions = [
        Predictor.load("unet", weights=tmp_path / name, device="cpu", precision="fp32").probabilities(volume)
        for name in ("32.pt", "16.pt")
    ]
    difference = np.abs(predictions[0] - predictions[1])
    assert difference.max() < 0.01
