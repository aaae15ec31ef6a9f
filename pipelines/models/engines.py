"""What runs a network: PyTorch, with less to do, or on CPUs OpenVINO, in floating point or in int8."""

import copy
import functools
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder
from pipelines.core.install import import_extra
from pipelines.datasets.prepare import fingerprint


def fused(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy for inference, with batch norms merged into the convolutions before them.

    Args:
        network: In evaluation mode, with a forward that `torch.fx` can trace once layers of timm are
            replaced by torch's.
        dtype: Type of the weights of all layers but the batch norms that remain, None keeps it.
    """
    faster: nn.Module = fuse(_in_torchs_layers(network))
    if dtype is not None:
        for module in faster.modules():
            if not isinstance(module, _BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
    return faster.to(memory_format=torch.channels_last)


def _in_torchs_layers(network: nn.Module) -> nn.Module:
    """A copy without timm's batch norms that activate and convolutions that pad, which cannot be merged."""
    if not any(type(module).__module__.startswith("timm.") for module in network.modules()):
        return network
    from timm.layers import BatchNormAct2d, Conv2dSame  # late: most networks are none of timm's

    plain = copy.deepcopy(network)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BatchNormAct2d):
                norm = nn.BatchNorm2d(layer.num_features, eps=layer.eps)
                setattr(parent, name, nn.Sequential(_like(norm, layer), layer.drop, layer.act))
            elif isinstance(layer, Conv2dSame):
                convolution = nn.Conv2d(
                    layer.in_channels,
                    layer.out_channels,
                    layer.kernel_size,
                    layer.stride,
                    groups=layer.groups,
                    bias=layer.bias is not None,
                )
                padding = _SamePadding(layer.kernel_size, layer.stride)
                setattr(parent, name, nn.Sequential(padding, _like(convolution, layer)))
    return plain.train(network.training)


def _like(layer: nn.Module, source: nn.Module) -> nn.Module:
    layer.load_state_dict(source.state_dict())
    return layer.to(next(source.parameters()))


class _SamePadding(nn.Module):
    """Zeros around an image so that a stride divides its sides evenly, more of them at the end."""

    def __init__(self, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, image: Tensor) -> Tensor:
        sides = []
        for axis in (-1, -2):
            total = self.kernel[axis] - 1 - (image.shape[axis] - 1) % self.stride[axis]
            sides += [total // 2, total - total // 2]
        return F.pad(image, sides)


Run = Callable[[Tensor], Tensor]
"""A way to run a network: takes its input `(B, C, H, W)` float32, gives its float32 output."""

INT8_NAME: Final = "int8.xml"
"""OpenVINO's description of the int8 model beside the weights; `int8.bin` holds its numbers."""

_WEIGHTS_KEY: Final = ["thorax", "weights"]
"""Where a model says which weights it was made from."""

_LOCK: Final = threading.Lock()


def load_openvino() -> Any:
    """The `openvino` package.

    Raises:
        ConfigError: If it is not installed.
    """
    openvino = import_extra("openvino", "int8", "OpenVINO")
    _core()
    return openvino


def _core() -> Any:
    """The one core of this process, which stays until it ends.

    OpenVINO gives the thread that makes a core a stack for signals, and with the core it goes: a signal
    after that, such as Ctrl-C, ended the process by a segmentation fault (2026.4). The cores that others
    make for a while (NNCF's) leave this one's stack in place.
    """
    with _LOCK:
        return _make_core()


@functools.cache
def _make_core() -> Any:
    import openvino

    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads what runs on CPUs, which sets the stack
    return core


def to_openvino(module: nn.Module, example: Tensor, *, batch: int = -1) -> Any:
    """A network as OpenVINO's model in float32.

    Args:
        module: In evaluation mode, in float32.
        example: An input `(1, C, H, W)`; height and width are fixed.
        batch: Images at a time, -1 for any number. One at a time is the fastest on a CPU.

    Raises:
        ConfigError: If OpenVINO is not installed.
    """
    with torch.no_grad(), warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):  # OpenVINO traces in a way that torch will drop
            warnings.simplefilter("ignore", category)
        return load_openvino().convert_model(
            module, input=[batch, *example.shape[1:]], example_input=example.clone()
        )


def compiled(model: Path | Any, **settings: str) -> Run:
    """A model as OpenVINO runs it on this CPU, on as many threads as torch has.

    Args:
        model: Path of an `.xml` or `.onnx` file, or a model in memory.
        **settings: OpenVINO's properties, e.g. `INFERENCE_PRECISION_HINT="f32"`.

    Returns:
        What takes `(B, C, H, W)` float32 and gives the first output, float32. A model that is made
        for a number of images gets that many at a time.

    Raises:
        ConfigError: If OpenVINO is not installed or cannot run the model.
    """
    load_openvino()
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
        **settings,
    }
    try:
        runner = _core().compile_model(model, "CPU", properties)
    except RuntimeError as error:
        raise ConfigError(f"expected a model that OpenVINO can run, found {model}: {error}") from error
    batch = runner.input(0).get_partial_shape()[0]
    length = batch.get_length() if batch.is_static else None

    def run(images: Tensor) -> Tensor:
        parts = images.split(length or len(images))
        return torch.cat([torch.from_numpy(runner(part.contiguous().numpy())[0].copy()) for part in parts])

    return run


def save_openvino(model: Any, path: Path, *, weights: str) -> Path:
    """Write a model's `.xml` and `.bin`, whole or not at all; returns the `.xml`.

    Floating-point numbers are stored in 16 bits, as in the bundles' weights.

    Args:
        model: OpenVINO's model.
        path: Name of the `.xml`; its folder is made if it does not exist.
        weights: Fingerprint of the weights that it was made from, which `weights_of` gives back.

    Raises:
        OutputError: If a file cannot be written.
    """
    openvino = load_openvino()
    model.set_rt_info(weights, _WEIGHTS_KEY)
    folder = output_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
        whole = Path(part) / path.name
        openvino.save_model(model, whole, compress_to_fp16=True)
        for file in (whole.with_suffix(".bin"), whole):  # the description last: with it the model is there
            shutil.move(file, folder / file.name)
    return path


def weights_of(path: Path) -> str | None:
    """Fingerprint of the weights that a model was made from, None if it does not say.

    Args:
        path: Existing `.xml` file.

    Raises:
        ConfigError: If OpenVINO is not installed, or the file is no model.
    """
    load_openvino()
    try:
        model = _core().read_model(path)
    except RuntimeError as error:
        raise ConfigError(f"expected a model that OpenVINO can run, found {path}: {error}") from error
    return str(model.get_rt_info(_WEIGHTS_KEY).value) if model.has_rt_info(_WEIGHTS_KEY) else None


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
    make = f"make it by thorax export {network} --format int8 --data PREPARED"
    if not path.is_file():
        raise ConfigError(f"expected an int8 model at {path}, found none; {make}")
    if weights_of(path) != fingerprint(weights):
        raise ConfigError(
            f"expected the int8 model of {weights}, found that of other weights at {path}; {make}"
        )
