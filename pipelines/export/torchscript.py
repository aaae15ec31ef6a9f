"""A network as TorchScript, which runs without Python, with the bundle's metadata in it."""

import warnings
from pathlib import Path
from typing import Final

import torch
from monai.data import save_net_with_metadata
from monai.networks.utils import convert_to_torchscript

from pipelines.export.source import Source
from pipelines.models.openvino_runtime import Run

FILE: Final = "model.ts"


def write(source: Source, folder: Path) -> None:
    """Write `model.ts`, traced, for any number of images at a time.

    Args:
        source: What is exported.
        folder: Existing folder that takes the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch will drop it; MONAI reads it
        traced = convert_to_torchscript(source.module, inputs=[source.example], use_trace=True, verify=False)
        save_net_with_metadata(traced, str(folder / FILE), meta_values=source.metadata)


def load(folder: Path) -> Run:
    """The network as it was written, run by torch's interpreter of TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        network = torch.jit.load(folder / FILE)

    def run(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = network(images)
        return found

    return run
