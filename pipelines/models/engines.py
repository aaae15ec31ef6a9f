"""What runs a network: PyTorch, or on CPUs OpenVINO, in floating point or in 8-bit integers."""

from pathlib import Path
from typing import Final, Literal

import torch

from pipelines.core.errors import ConfigError
from pipelines.datasets.prepare import fingerprint
from pipelines.models.openvino_runtime import INT8_NAME, Run, compiled, to_openvino, weights_of

Engine = Literal["pytorch", "openvino", "int8"]

PYTORCH: Final = "pytorch"


def engine_run(
    engine: Engine,
    network: torch.nn.Module,
    weights: Path,
    size: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype | None,
) -> Run:
    """A network as another engine than PyTorch runs it, slice by slice.

    OpenVINO's model is made anew at each start, which takes about two seconds, so that it always is that
    of the weights. Calibration takes minutes and data, so the int8 model is made once and lies
    beside the weights.

    Args:
        engine: `"openvino"` or `"int8"`.
        network: In evaluation mode, in float32.
        weights: File that its weights came from; the int8 model lies beside it.
        size: Channels, height and width of the network's input.
        device: Where the network is asked to run, which must be the CPU.
        dtype: Type of the fast operations, None for float32.

    Raises:
        ConfigError: If OpenVINO is not installed, the device is not the CPU, or there is no int8
            model of these weights.
    """
    if device.type != "cpu":
        raise ConfigError(
            f"expected the CPU for the engine {engine}, found {device}; give --device cpu, or another engine"
        )
    precision = "bf16" if dtype is torch.bfloat16 else "f32"
    if engine == "openvino":
        model = to_openvino(network, torch.zeros(1, *size), batch=1)
        return compiled(model, INFERENCE_PRECISION_HINT=precision)
    path = weights.with_name(INT8_NAME)
    check_int8(path, weights)
    return compiled(path, INFERENCE_PRECISION_HINT=precision)


def check_int8(path: Path, weights: Path, network: str = "NETWORK") -> None:
    """Refuse an int8 model that is missing or was made from other weights.

    Args:
        path: `int8.xml`.
        weights: Existing file that it must have been made from.
        network: Name for the message.

    Raises:
        ConfigError: If so, or if OpenVINO is not installed.
    """
    make = f"make it by thorax export {network} --format openvino --int8 --data PREPARED"
    if not path.is_file():
        raise ConfigError(f"expected an int8 model at {path}, found none; {make}")
    if weights_of(path) != fingerprint(weights):
        raise ConfigError(
            f"expected the int8 model of {weights}, found that of other weights at {path}; {make}"
        )
