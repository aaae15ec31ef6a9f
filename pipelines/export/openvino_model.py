"""A network as OpenVINO reads it, in floating point or in 8-bit integers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from pipelines.export.int8 import quantized
from pipelines.export.source import Source
from pipelines.models.fuse import fused
from pipelines.models.openvino_runtime import INT8_NAME, Run, compiled, save_openvino, to_openvino

FILE: Final = "model.xml"


def write(source: Source, folder: Path) -> None:
    """Write `model.xml` and `model.bin`, for any number of images at a time.

    Args:
        source: What is exported.
        folder: Existing folder that takes the files.

    Raises:
        ConfigError: If OpenVINO is not installed.
    """
    model = to_openvino(fused(source.module), source.example)
    save_openvino(model, folder / FILE, weights=source.fingerprint)


def load(folder: Path) -> Run:
    """The network as it was written, in float32."""
    return compiled(folder / FILE, INFERENCE_PRECISION_HINT="f32")


def write_int8(source: Source, folder: Path, calibration: Sequence[torch.Tensor]) -> None:
    """Write `int8.xml` and `int8.bin`, which `--engine int8` and `--model int8` read beside the weights.

    Args:
        source: What is exported.
        folder: Existing folder that takes the files.
        calibration: Inputs `(1, C, H, W)` of training images.

    Raises:
        ConfigError: As for `quantized`.
    """
    batch = 1 if source.is_heart else -1
    model = quantized(fused(source.module), calibration, batch=batch)
    save_openvino(model, folder / INT8_NAME, weights=source.fingerprint)


def load_int8(folder: Path) -> Run:
    """The int8 model as it was written; what is not in integers runs in float32."""
    return compiled(folder / INT8_NAME, INFERENCE_PRECISION_HINT="f32")
