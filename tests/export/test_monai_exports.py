"""MONAI's own exports and stock MONAI Label take an exported bundle."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from without_thorax import HIDE_THORAX, run_monai, run_without_thorax

from pipelines.core.volume import read_label, read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.evaluation.segmentation import structure_dice
from pipelines.export.formats import Source, write_bundle
from pipelines.models.bundle import NETWORKS, XRAY_NETWORKS
from pipelines.models.engines import compiled
from pipelines.models.heart import Predictor

COMMON = ["--ckpt_file", "models/model.pt", "--meta_file", "configs/metadata.json"]
COMMON += ["--config_file", "configs/inference.yaml", "--key_in_ckpt", "model"]

LABEL = HIDE_THORAX + (
    "from monailabel.tasks.infer.bundle import BundleInferTask; "
    "task = BundleInferTask('.', {}); assert task.is_valid(); "
    "found = task({'image': sys.argv[1], 'device': 'cpu', 'result_extension': '.nii.gz'})[0]; "
    "import shutil; shutil.move(found, sys.argv[2])"
)


@pytest.mark.slow
@pytest.mark.parametrize("network", [*NETWORKS, XRAY_NETWORKS[0]])
def test_ckpt_export_and_onnx_export_of_monai_give_the_network(network: str, tmp_path: Path) -> None:
    source = Source.load(network)
    folder = write_bundle(source, tmp_path)
    trace = ["--use_trace", "True"]
    run_monai("ckpt_export", "network_def", "--filepath", "model.ts", *COMMON, *trace, folder=folder)
    run_monai("onnx_export", "network_def", "--filepath", "model.onnx", *COMMON, *trace, folder=folder)
    image = torch.rand_like(source.example)
    with torch.inference_mode():
        expected = source.module(image)
        torch.testing.assert_close(torch.jit.load(folder / "model.ts")(image), expected, rtol=1e-3, atol=1e-3)
    found = compiled(folder / "model.onnx", INFERENCE_PRECISION_HINT="f32")(image)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_stock_monai_label_segments_with_an_exported_bundle(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "cohort", patients=1, cine=False)
    image = tmp_path / "cohort" / "training" / "patient001" / "patient001_frame01.nii.gz"
    folder = write_bundle(Source.load("unet"), tmp_path)
    run = run_without_thorax(LABEL, str(image), str(tmp_path / "mask.nii.gz"), folder=folder)
    assert run.returncode == 0, run.stderr[-4000:]
    found = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).astype(np.uint8)
    expected = Predictor.load("unet", device="cpu").predict(read_volume(image)).mask
    dice = structure_dice(found, expected)["mean"]
    assert dice is not None
    assert dice > 0.99
    assert found.shape == read_label(image.with_name("patient001_frame01_gt.nii.gz")).array.shape
