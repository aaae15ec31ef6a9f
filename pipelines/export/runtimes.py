"""The ways to run one network that are compared with its int8 model."""

import copy
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from pipelines.models.classifier import Classifier
from pipelines.models.fuse import fused
from pipelines.models.openvino_runtime import Run, compiled, to_openvino

EAGER: Final = "PyTorch fp32"
INT8: Final = "OpenVINO int8"
SAME_RUNTIME: Final = "OpenVINO fp32"
BF16: Final = ("PyTorch bf16", "PyTorch bf16, fused", "PyTorch bf16, compiled", "OpenVINO bf16")
"""Ways in bfloat16, of which int8 is compared with the fastest."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A way to run the network.

    Attributes:
        name: What it is called in tables.
        run: Takes `(B, 3, H, W)` float32, gives `(B, 2)` logits float32.
    """

    name: str
    run: Run


def runtimes(classifier: Classifier, int8: Path, example: Tensor) -> list[Runtime]:
    """All ways that work here; one that does not, such as a compiler that is missing, is logged.

    Args:
        classifier: Network with its weights, on the CPU.
        int8: `int8.xml` of the same network.
        example: An input `(1, 3, H, W)`.

    Raises:
        ConfigError: If OpenVINO is not installed or the int8 model cannot be run.
    """
    module = classifier.module
    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)
    float_model = to_openvino(module, example)
    found = [
        Runtime(EAGER, _torch(plain)),
        Runtime("PyTorch fp32, channels last", _torch(last)),
        Runtime(BF16[0], _torch(last, torch.bfloat16)),
        Runtime(BF16[1], _torch(fused(module, torch.bfloat16), torch.bfloat16)),
        Runtime(SAME_RUNTIME, compiled(float_model, INFERENCE_PRECISION_HINT="f32")),
        Runtime(BF16[3], compiled(float_model, INFERENCE_PRECISION_HINT="bf16")),
        Runtime(INT8, compiled(int8)),
    ]
    try:
        run = _torch(torch.compile(fused(module, torch.bfloat16)), torch.bfloat16)  # type: ignore[arg-type]
        run(example)
        found.insert(4, Runtime(BF16[2], run))
    except Exception as error:  # torch wraps what its C++ compiler says in errors of many kinds
        logger.warning("%s is left out: %s", BF16[2], str(error).partition("\n")[0])
    return found


def _torch(module: nn.Module, dtype: torch.dtype | None = None) -> Run:
    weight = next(module.parameters())
    is_last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    memory_format = torch.channels_last if is_last else torch.contiguous_format

    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not None):
            found: Tensor = module(batch.contiguous(memory_format=memory_format)).float()
        return found

    return run
