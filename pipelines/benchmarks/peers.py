"""Recipes of others beside the project's own: trained for the same time on the same patients."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from monai import transforms as mt
from monai.data import CacheDataset, ThreadDataLoader
from monai.inferers import SliceInferer
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from torch.utils.data import RandomSampler

from pipelines.core.cardiac import IntArray
from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_json, write_manifest
from pipelines.core.progress import show_progress
from pipelines.core.volume import Volume, slices_last, write_image, write_label
from pipelines.datasets.loading import load_pair
from pipelines.datasets.prepare import section_records
from pipelines.evaluation.comparison import parameters_of
from pipelines.evaluation.segmentation import VolumePredictor, evaluate
from pipelines.models.heart import Predictor
from pipelines.training.launch import train_network
from pipelines.training.run_record import read_run

Method = Literal["unet", "model-zoo", "nnunet"]
NAMES: Final = {"unet": "UNet", "model-zoo": "ventricular_short_axis_3label", "nnunet": "nnU-Net v2, 2d"}

SIDE_PX: Final = 256
ZOO_BATCH: Final = 200
DATASET: Final = "Dataset001_Thorax"
MATMUL_SIZE: Final = 2048
KINDS: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}

AUGMENTING: Final = "nnUNet_n_proc_DA"
"""Variable of nnU-Net's processes for augmentation; 0 augments on the core that trains."""

Stack = tuple[Volume, ...]
"""Image and label map, slices last."""


class StackPredictor(NamedTuple):
    """Segments volumes in any order of their axes by a function of stacks with slices last."""

    segment: Callable[[Volume], IntArray]

    def predict(self, volume: Volume) -> Any:
        """Label map of a 3-D volume, as `mask`."""
        stack, to_file = slices_last(volume)
        return SimpleNamespace(mask=to_file(self.segment(stack)))


Trained = tuple[VolumePredictor, int, int, float]
"""What a recipe made of its time: predictor, parameters, slices seen, seconds of training steps."""


def compare_peer(
    method: Method, data: Path, output: Path, *, minutes: float, nnunet_data: Path | None = None
) -> dict[str, Any]:
    """Train by one recipe on the training patients of a split, and measure on its validation patients.

    Reading and preprocessing take no part in the time. The other recipes are as published, but for nnU-Net's
    learning rate, which decays within the time given as the project's own does.

    Args:
        method: Recipe.
        data: Folder of `thorax prepare`.
        output: Folder for an evaluation as of `thorax evaluate`; made if it does not exist.
        minutes: Wall time of training.
        nnunet_data: Folder of what nnU-Net prepares, kept for other runs; below `output` without it.

    Returns:
        The content of `metrics.json`.

    Raises:
        ConfigError: If nnU-Net is not installed.
        DataError: If the data cannot be used.

    References:
        Model Zoo: https://github.com/Project-MONAI/model-zoo, models/ventricular_short_axis_3label,
        train.json and inference.json of version 0.3.0. nnU-Net: doi:10.1038/s41592-020-01008-z.
    """
    output_folder(output)
    limits = {name: matmul_gflops(kind) for name, kind in KINDS.items()}
    trained: Trained
    if method == "unet":
        trained = _train_unet(data, output / "run", minutes)
    else:
        patients = section_records(data, "training", fold=0) or []
        records = [record for patient in patients for record in patient.volumes]
        stacks = [tuple(slices_last(one)[0] for one in load_pair(record)) for record in records]
        if method == "model-zoo":
            trained = _train_model_zoo(stacks, 60 * minutes)
        else:
            trained = _train_nnunet(stacks, 60 * minutes, nnunet_data or output / "nnunet")
    predictor, parameters, samples, seconds = trained
    metrics = evaluate(data, output, predictor, records=section_records(data, "validation", fold=0))
    training = {"seconds": seconds, "samples": samples, "gflops": limits}
    details = {"networks": [NAMES[method]], "parameters": parameters, "weights": [], "training": training}
    write_manifest(output, **details, outputs=["metrics.json", "metrics.csv", "overlays"])
    return metrics


def matmul_gflops(kind: torch.dtype) -> float:
    """Operations a second that a product of two large matrices reaches on PyTorch's threads, in GFLOP/s."""
    factor, times = torch.rand(MATMUL_SIZE, MATMUL_SIZE).to(kind), []
    for _ in range(5):
        start = time.perf_counter()
        factor @ factor
        times.append(time.perf_counter() - start)
    return 2 * MATMUL_SIZE**3 / min(times) / 1e9


def _steps(step: Callable[[float], int], seconds: float) -> tuple[int, float]:
    """Take steps, each given the share of the time that is over, until it is: samples and seconds."""
    start, samples, spent = time.perf_counter(), 0, 0.0
    while spent < seconds:
        samples += step(spent / seconds)
        spent = time.perf_counter() - start
        show_progress(min(int(spent), int(seconds)), int(seconds), f"{samples} slices")
    return samples, spent


def _train_unet(data: Path, run: Path, minutes: float) -> Trained:
    best = train_network("unet", data, run, overlays=["timed"], minutes=minutes, val_interval=1000, fold=0)
    predictor = Predictor.load("unet", weights=best)
    return predictor, parameters_of("unet"), read_run(run).samples, 60 * minutes


def _train_model_zoo(stacks: Sequence[Stack], seconds: float) -> Trained:
    torch.manual_seed(0)
    network = UNet(2, 1, 4, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2)
    optimizer = torch.optim.Adam(network.parameters(), 0.001)
    loss_of = DiceLoss(include_background=False, to_onehot_y=True, softmax=True)
    fit = mt.ResizeWithPadOrCrop((SIDE_PX, SIDE_PX))
    slices = [
        {"image": fit(image.array[None, :, :, z]), "label": fit(label.array[None, :, :, z])}
        for image, label in stacks
        for z in range(image.array.shape[2])
    ]
    cached = CacheDataset(slices, zoo_transforms(), progress=False)
    sampler = RandomSampler(cached, replacement=True, num_samples=20_000 * ZOO_BATCH)
    # Each augmented batch is used five times, as published.
    loader = ThreadDataLoader(cached, batch_size=ZOO_BATCH, repeats=5, num_workers=0, sampler=sampler)
    batches = iter(loader)

    def step(_: float) -> int:
        batch = next(batches)
        optimizer.zero_grad()
        loss_of(network(batch["image"]), batch["label"]).backward()
        optimizer.step()
        return len(batch["image"])

    steps = _steps(step, seconds)
    network.eval()
    scale, by_slice = mt.ScaleIntensity(), SliceInferer(spatial_dim=2, roi_size=(SIDE_PX, SIDE_PX))

    def segment(stack: Volume) -> IntArray:
        with torch.inference_mode():
            found = by_slice(torch.as_tensor(scale(stack.array))[None, None], network)
        return found[0].argmax(0).numpy().astype(np.uint8)

    return StackPredictor(segment), sum(one.numel() for one in network.parameters()), *steps


def zoo_transforms() -> mt.Compose:
    """Transforms of the Model Zoo's recipe for a slice `(1, X, Y)`, each with its published settings."""
    both, bicubic, nearest = ("image", "label"), "bicubic", "nearest"
    field: dict[str, Any] = {"spatial_size": (SIDE_PX, SIDE_PX), "prob": 0.5, "align_corners": True}
    deform = {"rand_size": (3, 3), "pad": 2, "def_range": 0.1, "field_mode": bicubic} | field
    affine = {"rotate_range": 0.5, "translate_range": 50, "scale_range": 0.25, "padding_mode": "zeros"}
    contrast = {"rand_size": (8, 8), "gamma": (0.25, 3.0), "mode": bicubic} | field
    intensity = {"rand_size": (5, 5), "gamma": (0.1, 1.0), "mode": bicubic} | field
    return mt.Compose(
        [
            mt.CastToTyped(both, np.float32),
            mt.ScaleIntensityd("image"),
            mt.RandAxisFlipd(both, 0.5),
            mt.RandRotate90d(both, 0.5),
            mt.RandSmoothDeformd(both, grid_mode=(bicubic, nearest), **deform),
            mt.RandAffined(both, prob=0.5, mode=("bilinear", nearest), **affine),
            mt.RandSmoothFieldAdjustContrastd("image", **contrast),
            mt.RandSmoothFieldAdjustIntensityd("image", **intensity),
            mt.RandGaussianNoised("image", 0.5, std=0.05),
            mt.ScaleIntensityd("image"),
        ]
    )


def _train_nnunet(stacks: Sequence[Stack], seconds: float, folder: Path) -> Trained:
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(output_folder(folder / name).resolve())
    try:
        from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.run.run_training import get_trainer_from_args
    except ImportError as error:
        raise ConfigError(
            f"expected nnU-Net, found {error}; it needs other versions of packages than thorax, so make an "
            "environment of its own, 'pip install nnunetv2' and thorax there, and run this command by it"
        ) from error
    if not (folder / "preprocessed" / DATASET / "nnUNetPlans_2d").is_dir():
        _write_dataset(stacks, folder / "raw" / DATASET)
        planning.extract_fingerprints([1], num_processes=1)
        planning.plan_experiments([1])
        planning.preprocess([1], configurations=("2d",), num_processes=(1,))
    os.environ[AUGMENTING] = "0"
    device = torch.device("cpu")
    trainer = get_trainer_from_args("1", "2d", "all", device=device)
    trainer.on_train_start()
    trainer.network.train()

    def step(share: float) -> int:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - share) ** 0.9
        trainer.train_step(next(trainer.dataloader_train))
        return int(trainer.batch_size)

    steps = _steps(step, seconds)
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    predictor = nnUNetPredictor(use_mirroring=False, device=device, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, ("all",))

    def segment(stack: Volume) -> IntArray:
        # nnU-Net's axes are those of SimpleITK, the slices first.
        image, spacing = stack.array.T[None].astype(np.float32), list(stack.spacing_mm[::-1])
        return np.asarray(predictor.predict_single_npy_array(image, {"spacing": spacing})).T.astype(np.uint8)

    return StackPredictor(segment), sum(one.numel() for one in trainer.network.parameters()), *steps


def _write_dataset(stacks: Sequence[Stack], folder: Path) -> None:
    images, labels = (output_folder(folder / name) for name in ("imagesTr", "labelsTr"))
    for number, (image, label) in enumerate(stacks):
        write_image(images / f"{number:04d}_0000.nii.gz", image)
        write_label(labels / f"{number:04d}.nii.gz", label.array, label.affine)
    values = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
    described = {"channel_names": {"0": "MRI"}, "labels": values, "numTraining": len(stacks)}
    write_json(folder / "dataset.json", described | {"file_ending": ".nii.gz"})
