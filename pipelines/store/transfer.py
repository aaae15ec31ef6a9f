"""Pushing and pulling of files and bundles."""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from pipelines.core.errors import ConfigError, DataError, OutputError, cause
from pipelines.core.files import atomic_path, exclusive_lock, output_folder
from pipelines.core.progress import show_progress
from pipelines.models.bundle import trust
from pipelines.models.weights import save_state
from pipelines.store.checksums import Checksums, Difference, difference, files_below, sum_of
from pipelines.store.places import Place, check_name, open_place

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


def push_files(
    place: Place, name: str, files: Mapping[str, Path], sums: Checksums, *, replace: bool = False
) -> None:
    """Keep files under a name; nothing is done where the same is kept already.

    Args:
        place: Where.
        name: Under which name.
        files: Existing files by their names there.
        sums: Their checksums.
        replace: Take the place of something else of this name.

    Raises:
        ConfigError: If something else of this name is kept, and `replace` is off.
        DataError: If the place cannot be read.
        OutputError: If it cannot be written to.
    """
    kept = place.checksums(name)
    if kept is not None and kept.fingerprint == sums.fingerprint:
        return
    if kept is not None and not replace:
        raise ConfigError(
            f"expected nothing else at {place.describe(name)}, found {kept.fingerprint[:12]}, and not "
            f"{sums.fingerprint[:12]}; choose another --name, or replace it by --overwrite"
        )
    place.put(name, files, sums)


def kept_checksums(place: Place, name: str) -> Checksums:
    """What is kept under a name.

    Raises:
        DataError: If there is nothing, only a part of it, or something that could run code when it is loaded.
    """
    sums = place.checksums(name)
    if sums is None:
        raise DataError(
            f"expected something whole at {place.describe(name)}, found no checksums: nothing was pushed "
            "under this name, or the push did not end; push it (again)"
        )
    _refuse_programs(unsafe_names(sums.files), place.describe(name))
    return sums


@contextmanager
def pulled(place: Place, name: str, sums: Checksums, folder: Path) -> Iterator[Path]:
    """All files of a name, checked, in a temporary folder that takes its final name when the block ends well.

    What was fetched before an interruption is taken over if its checksum is right.

    Args:
        place: Where it is kept.
        name: Under which name.
        sums: As of `kept_checksums`.
        folder: Final name, which must be free.

    Raises:
        ConfigError: If something is there under the final name, or another pull to it is running.
        DataError: If a file is missing, damaged or additional, cannot be read, or could run code when it is
            loaded; the message names it.
        OutputError: If `folder` cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"expected no {folder} yet, found one; move it away or choose another --output")
    partial = output_folder(folder.parent) / f".part-{folder.name}"
    lock = folder.parent / f".part-{folder.name}.lock"
    with exclusive_lock(lock, f"pull to {folder}"):
        found = place.names_of_files(name)
        refuse(
            Difference(
                missing=tuple(sorted(sums.files.keys() - found)),
                additional=tuple(sorted(found - sums.files.keys())),
            ),
            place.describe(name),
        )
        try:
            _fetch_all(place, name, sums, partial)
            _refuse_programs(
                unsafe_files({file: partial / file for file in sums.files}), place.describe(name)
            )
            yield partial
            if folder.exists():
                folder.rmdir()
            partial.replace(folder)
        except OSError as error:
            raise OutputError(
                f"cannot write {folder}: {error.strerror or error}; free some space or choose another folder"
            ) from error
        finally:
            lock.unlink(missing_ok=True)


def refuse(found: Difference, where: str) -> None:
    """End where files differ from their checksums.

    Raises:
        DataError: If they do; the message names them.
    """
    if found:
        lines = found.lines()
        more = f" and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise DataError(
            f"expected the files that were pushed, found others in {where}: {'; '.join(lines[:20])}{more}"
        )


def _fetch_all(place: Place, name: str, sums: Checksums, partial: Path) -> None:
    partial.mkdir(exist_ok=True)
    for path in sorted(partial.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(partial).as_posix() not in sums.files:
            path.unlink()
    for index, (file, expected) in enumerate(sums.files.items()):
        show_progress(index, len(sums.files), file)
        path = partial / file
        if path.is_file() and not difference({file: expected}, {file: sum_of(path)}):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched = path.with_name(f".part-{path.name}")
        place.fetch(name, file, fetched)
        refuse(difference({file: expected}, {file: sum_of(fetched)}), place.describe(name))
        fetched.replace(path)


def _refuse_programs(names: list[str], where: str) -> None:
    if names:
        raise DataError(
            f"expected files that run no code when they are loaded, found {', '.join(names[:5])} in {where}; "
            "weights are kept as safetensors: push them with 'thorax store push'"
        )


NOT_PUSHED: Final = ("runs", "output", "__pycache__", ".git", ".ipynb_checkpoints", "SHA256SUMS")
"""What was done with a bundle, and the sums of an export, whose weights become another file on the way."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What `push_bundle` did.

    Attributes:
        place: Where the bundle is now, in words.
        fingerprint: SHA-256 over all that is there; who pulls can ask for it.
        left_out: Files that stayed, since they may run code when they are loaded.
    """

    place: str
    fingerprint: str
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What `pull_bundle` did.

    Attributes:
        folder: The bundle.
        fingerprint: SHA-256 over all that was pulled.
        trusted: Whether its configs were vouched for, by its checksum or by the user.
    """

    folder: Path
    fingerprint: str
    trusted: bool


METADATA: Final = "configs/metadata.json"


def is_bundle(folder: Path) -> bool:
    """Whether a folder is the root of a bundle."""
    return (folder / METADATA).is_file()


def push_bundle(bundle: Path, store: str, *, name: str | None = None, replace: bool = False) -> Pushed:
    """Keep a bundle in a store, with the SHA-256 of each file; its configs are not run.

    Args:
        bundle: Existing root folder of a bundle, layered or exported; its runs are left out.
        store: As for `open_place`.
        name: Name to keep it under, by default the folder's.
        replace: Take the place of another bundle of this name.

    Raises:
        ConfigError: If the name or the store is none, something else is kept under the name, or a checkpoint
            holds more than weights.
        DataError: If the folder is no bundle.
        OutputError: If the store cannot be written to.
    """
    files = files_below(bundle, without=NOT_PUSHED)
    if METADATA not in files:
        raise DataError(f"expected a bundle with {METADATA}, found none in {bundle}")
    name = check_name(name or bundle.resolve().name)
    place = open_place(store, "bundle")
    with tempfile.TemporaryDirectory() as folder:
        left_out = []
        for file in unsafe_files(files):
            path = files.pop(file)
            safe = Path(file).with_suffix(SAFE_SUFFIX).as_posix()
            if path.suffix not in CHECKPOINT_SUFFIXES or safe in files:
                left_out.append(file)
                continue
            files[safe] = Path(folder) / safe
            checkpoint_to_safetensors(path, files[safe])
        sums = Checksums("bundle", {file: sum_of(path) for file, path in files.items()})
        push_files(place, name, files, sums, replace=replace)
    return Pushed(place.describe(name), sums.fingerprint, tuple(left_out))


def pull_bundle(
    store: str, name: str, output: Path, *, fingerprint: str | None = None, trusted: bool = False
) -> Pulled:
    """Fetch a bundle from a store, checked file by file; nothing of it is run.

    That files are as they were pushed says nothing about who pushed them. The configs are vouched for by a
    fingerprint that the user has from elsewhere, or by the user; without, `pipelines.models.bundle` refuses
    to run them, unless they are those of the package's own bundles.

    Args:
        store: As for `open_place`.
        name: Name that it is kept under.
        output: Folder that takes the bundle's folder, `name`; an interrupted pull goes on there.
        fingerprint: What `push_bundle` returned, 64 hex digits, from whoever pushed it.
        trusted: Vouch for the configs.

    Raises:
        ConfigError: If the name or the store is none, or the bundle's folder is there already.
        DataError: If the fingerprint is another, or a file is missing, damaged, additional or could run code
            when it is loaded.
        OutputError: If `output` cannot be written.
    """
    place = open_place(store, "bundle")
    sums = kept_checksums(place, check_name(name))
    if fingerprint is not None and fingerprint.lower() != sums.fingerprint:
        raise DataError(
            f"expected the fingerprint {fingerprint}, found {sums.fingerprint} at {place.describe(name)}; "
            "ask whoever gave it to you, and do not use the bundle until that is clear"
        )
    folder = output / name
    with pulled(place, name, sums, folder) as partial:
        for file in sums.files:
            path = partial / file
            if path.suffix == SAFE_SUFFIX and safetensors_to_checkpoint(path) is not None:
                path.unlink()
    vouched = trusted or fingerprint is not None
    if vouched:
        trust(folder)
    return Pulled(folder, sums.fingerprint, vouched)
