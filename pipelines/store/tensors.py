"""Weights as safetensors and back, and which files could run code when they are loaded."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from pipelines.core.errors import ConfigError, DataError, cause
from pipelines.core.files import atomic_path
from pipelines.models.checkpoints import save_state

CHECKPOINT_SUFFIXES: Final = (".pt", ".pth", ".ckpt")
"""Weights that PyTorch wrote, as pickles; they travel as safetensors."""

ARCHIVE_SUFFIXES: Final = (".ts", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".mar", ".pyc")
UNSAFE_SUFFIXES: Final = (*CHECKPOINT_SUFFIXES, *ARCHIVE_SUFFIXES)
"""What may hold a pickle or a program, and so never travels."""

SAFE_SUFFIX: Final = ".safetensors"

ORIGIN_KEY: Final = "thorax_checkpoint"
"""Metadata of a safetensors file that was a checkpoint: its suffix, its layout, names of shared tensors."""


def checkpoint_to_safetensors(checkpoint: Path, target: Path) -> None:
    """Write the weights of a checkpoint as safetensors, whole or not at all.

    Tensors that a network holds under several names are stored once, as in the checkpoint.

    Args:
        checkpoint: Existing file with `{"model": state_dict}` or a bare state dict; it is read without
            running any code in it.
        target: File to write.

    Raises:
        ConfigError: If the file is no checkpoint, or holds more than weights.
        OutputError: If the target cannot be written.
    """
    from safetensors.torch import save_file

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        found = cause(error) if isinstance(error, OSError) else "something else"
        raise ConfigError(f"expected a PyTorch weights file, found {found} in {checkpoint}") from error
    wrapped = isinstance(content, dict) and set(content) == {"model"}
    state = content["model"] if wrapped else content
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(
            f"expected weights and nothing else, found more in {checkpoint}; take best.pt of a run"
        )
    stored: dict[str, torch.Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and place in first:
            shared[name] = first[place]
            continue
        first[place] = name
        stored[name] = tensor.clone(memory_format=torch.contiguous_format)
    origin = {"suffix": checkpoint.suffix, "wrapped": wrapped, "shared": shared, "order": list(state)}
    with atomic_path(target) as temporary:
        save_file(stored, str(temporary), metadata={ORIGIN_KEY: json.dumps(origin)})


def safetensors_to_checkpoint(source: Path) -> Path | None:
    """Write the checkpoint that a safetensors file was made from, beside it; None if it never was one.

    Args:
        source: Existing file of `checkpoint_to_safetensors`, or any other safetensors file.

    Returns:
        The checkpoint, with the suffix that it had.

    Raises:
        DataError: If the file is damaged.
        OutputError: If the checkpoint cannot be written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(source), framework="pt") as stream:
            text = (stream.metadata() or {}).get(ORIGIN_KEY)
            if text is None:
                return None
            stored = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        origin = json.loads(text)
        if origin["suffix"] not in CHECKPOINT_SUFFIXES:
            raise ValueError(f"the suffix {origin['suffix']!r}")
        state = {name: stored[origin["shared"].get(name, name)] for name in origin["order"]}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"expected weights as safetensors in {source}, found {error}") from error
    path = source.with_suffix(origin["suffix"])
    save_state({"model": state} if origin["wrapped"] else state, path)
    return path


def unsafe_names(names: Iterable[str]) -> list[str]:
    """Those of files that, by their names, may hold a pickle or a program."""
    return [name for name in names if Path(name).suffix.lower() in UNSAFE_SUFFIXES]


def unsafe_files(files: Mapping[str, Path]) -> list[str]:
    """Names of those files that, by name or content, may hold a pickle or a program."""
    named = unsafe_names(files)
    return named + [name for name, path in files.items() if name not in named and _holds_a_pickle(path)]


def _holds_a_pickle(path: Path) -> bool:
    """Whether an archive of PyTorch or NumPy is there under another name."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).suffix in (".pkl", ".npy") for name in archive.namelist())
