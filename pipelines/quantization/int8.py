"""From a trained network to its int8 model."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from pipelines.errors import ConfigError
from pipelines.files import output_folder
from pipelines.inference.classifier import Classifier
from pipelines.inference.int8 import INT8_NAME, load_openvino

CALIBRATION_IMAGES: Final = 300


def to_openvino(module: torch.nn.Module, example: torch.Tensor) -> Any:
    """A network as OpenVINO's model in float32, for batches of any size.

    Args:
        module: In evaluation mode, in float32.
        example: An input `(1, 3, H, W)`.

    Raises:
        ConfigError: If OpenVINO is not installed.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # OpenVINO traces in a way that torch will drop
        return load_openvino().convert_model(
            module, input=[-1, *example.shape[1:]], example_input=example.clone()
        )


def quantize(classifier: Classifier, calibration: Sequence[torch.Tensor], output: Path) -> Path:
    """Write the int8 model of a network, statically quantised; returns `int8.xml`.

    Weights are rounded per channel; the ranges of activations are the smallest and
    largest value over all calibration images, and biases stay: with NNCF's defaults (means
    of ranges over images, corrected biases) logits lay further off.

    Args:
        classifier: Network with its weights.
        calibration: Inputs `(1, 3, H, W)` of training images.
        output: Folder that takes `int8.xml` and `int8.bin`; made if it does not exist.

    Raises:
        ConfigError: If OpenVINO or NNCF is not installed, or there is no calibration image.
        OutputError: If the model cannot be written.

    References:
        Jacob et al., CVPR 2018, arXiv:1712.05877.
    """
    if not calibration:
        raise ConfigError("expected training images to calibrate with, found none")
    openvino = load_openvino()
    try:
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError as error:
        raise ConfigError(
            f"expected NNCF to quantize, found {error}; install it with pip install 'thorax[int8]'"
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    quantized = nncf.quantize(
        to_openvino(classifier.module, calibration[0]),
        nncf.Dataset([batch.numpy() for batch in calibration]),
        preset=nncf.QuantizationPreset.MIXED,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        ),
        subset_size=len(calibration),
    )
    path = output_folder(output) / INT8_NAME
    with tempfile.TemporaryDirectory(dir=output, prefix=".part-") as folder:
        whole = Path(folder) / INT8_NAME
        openvino.save_model(quantized, whole)
        for part in (whole.with_suffix(".bin"), whole):  # the description last: with it the model is there
            shutil.move(part, output / part.name)
    return path
