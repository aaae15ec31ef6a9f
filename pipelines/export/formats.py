"""The one list of formats that a network can be exported to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from torch import Tensor

from pipelines.export import bundle, onnx_model, openvino_model, torchscript
from pipelines.export.source import Source
from pipelines.models.classifier import Classifier
from pipelines.models.member import Member

Name = Literal["bundle", "torchscript", "onnx", "openvino", "openvino-int8"]

Model = Member | Classifier
"""A network with the transforms around it."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format, and how far from its source an export may be.

    Attributes:
        write: Writes the files into an existing folder, from the source and, for int8, inputs
            `(1, C, H, W)` of training images.
        load: What was written there in place of the source's network, or with transforms of its own.
        most_difference: Largest difference of a probability that passes.
        least_agreement: Smallest agreement that passes: mean Dice between the masks of a heart, and the
            share of radiographs that are decided alike.
    """

    write: Callable[[Source, Path, Sequence[Tensor]], None]
    load: Callable[[Model, Path], Model]
    most_difference: float
    least_agreement: float


INT8: Final = "openvino-int8"
"""The format that needs training images, to measure the ranges of values in the network."""

FORMATS: Final[dict[Name, Format]] = {
    "bundle": Format(  # weights in 16 bits
        lambda source, folder, _: bundle.write(source, folder),
        bundle.load,
        most_difference=0.02,
        least_agreement=0.998,
    ),
    "torchscript": Format(
        lambda source, folder, _: torchscript.write(source, folder),
        lambda source, folder: source.run_by(torchscript.load(folder)),
        most_difference=1e-3,
        least_agreement=0.999,
    ),
    "onnx": Format(
        lambda source, folder, _: onnx_model.write(source, folder),
        lambda source, folder: source.run_by(onnx_model.load(folder)),
        most_difference=1e-3,
        least_agreement=0.999,
    ),
    "openvino": Format(  # weights in 16 bits after the batch norms were merged into them
        lambda source, folder, _: openvino_model.write(source, folder),
        lambda source, folder: source.run_by(openvino_model.load(folder)),
        most_difference=0.02,
        least_agreement=0.998,
    ),
    INT8: Format(  # single voxels at borders change sides
        lambda source, folder, calibration: openvino_model.write_int8(source, folder, calibration),
        lambda source, folder: source.run_by(openvino_model.load_int8(folder)),
        most_difference=0.6,
        least_agreement=0.97,
    ),
}
"""All formats by name."""
