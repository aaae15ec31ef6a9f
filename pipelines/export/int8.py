"""From a trained network to its int8 model."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipelines.core.errors import ConfigError
from pipelines.core.install import missing_extra
from pipelines.datasets.prepare import fingerprint
from pipelines.models.classifier import Classifier
from pipelines.models.openvino_runtime import INT8_NAME, load_openvino, save_openvino, to_openvino


def quantize(classifier: Classifier, calibration: Sequence[torch.Tensor], output: Path) -> Path:
    """Write the int8 model of a classifier, statically quantised; returns `int8.xml`.

    Args:
        classifier: Network with its weights.
        calibration: Inputs `(1, 3, H, W)` of training images.
        output: Folder that takes `int8.xml` and `int8.bin`; made if it does not exist.

    Raises:
        ConfigError: As for `quantized`.
        OutputError: If the model cannot be written.
    """
    model = quantized(classifier.module, calibration)
    return save_openvino(model, output / INT8_NAME, weights=fingerprint(classifier.weights))


def quantized(module: torch.nn.Module, calibration: Sequence[torch.Tensor], *, batch: int = -1) -> Any:
    """A network in 8-bit integers as OpenVINO's model, statically quantised.

    Weights are rounded per channel; the ranges of activations are the smallest and
    largest value over all calibration images, and biases stay: with NNCF's defaults (means
    of ranges over images, corrected biases) logits lay further off.

    Args:
        module: In evaluation mode, in float32.
        calibration: Inputs `(1, C, H, W)` of training images.
        batch: As for `to_openvino`.

    Raises:
        ConfigError: If OpenVINO or NNCF is not installed, or there is no calibration image.

    References:
        Jacob et al., CVPR 2018, arXiv:1712.05877.
    """
    if not calibration:
        raise ConfigError("expected training images to calibrate with, found none")
    load_openvino()
    try:
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError as error:
        raise missing_extra("NNCF to quantize", "int8", error) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf.quantize(
        to_openvino(module, calibration[0], batch=batch),
        nncf.Dataset([image.numpy() for image in calibration]),
        preset=nncf.QuantizationPreset.MIXED,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        ),
        subset_size=len(calibration),
    )
