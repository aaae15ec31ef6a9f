"""Networks as OpenVINO runs them on CPUs."""

import functools
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder
from pipelines.core.install import missing_extra

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
    try:
        import openvino
    except ImportError as error:
        raise missing_extra("OpenVINO", "int8", error) from error
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
