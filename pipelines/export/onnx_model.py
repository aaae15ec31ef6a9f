"""A network as ONNX, for runtimes of other languages and makers."""

import warnings
from pathlib import Path
from typing import Final

import torch

from pipelines.core.install import missing_extra
from pipelines.export.source import Source
from pipelines.models.openvino_runtime import Run, compiled

FILE: Final = "model.onnx"


def write(source: Source, folder: Path) -> None:
    """Write `model.onnx` in float32, for any number of images at a time: `image` in, `pred` out.

    Args:
        source: What is exported.
        folder: Existing folder that takes the file.

    Raises:
        ConfigError: If the packages for ONNX are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_extra("the packages for ONNX", "onnx", error) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that DynUNet keeps in lists, and of operators' versions
        torch.onnx.export(
            source.module,
            (source.example.expand(2, -1, -1, -1),),  # of a single one, torch would make a constant
            folder / FILE,
            input_names=["image"],
            output_names=["pred"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            external_data=False,
            verbose=False,
        )


def load(folder: Path) -> Run:
    """The network as it was written, run by OpenVINO in float32.

    Raises:
        ConfigError: If OpenVINO is not installed or cannot read the file.
    """
    return compiled(folder / FILE, INFERENCE_PRECISION_HINT="f32")
