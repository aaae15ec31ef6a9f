"""Bundles in a store: weights travel as safetensors, and come back as the files that the configs name."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.core.errors import DataError
from pipelines.core.progress import Progress
from pipelines.models.bundle import trust
from pipelines.store.checksums import Checksums, files_below, sum_of
from pipelines.store.places import check_name, open_place
from pipelines.store.transfer import (
    CHECKPOINT_SUFFIXES,
    SAFE_SUFFIX,
    checkpoint_to_safetensors,
    kept_checksums,
    pulled,
    push_files,
    safetensors_to_checkpoint,
    unsafe_files,
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


def push_bundle(
    bundle: Path,
    store: str,
    *,
    name: str | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Pushed:
    """Keep a bundle in a store, with the SHA-256 of each file; its configs are not run.

    Args:
        bundle: Existing root folder of a bundle, layered or exported; its runs are left out.
        store: As for `open_place`.
        name: Name to keep it under, by default the folder's.
        replace: Take the place of another bundle of this name.
        progress: Told of each file.

    Raises:
        ConfigError: If the name or the store is none, something else is kept under the name, or a checkpoint
            holds more than weights.
        DataError: If the folder is no bundle.
        OutputError: If the store cannot be written to.
    """
    files = files_below(bundle, without=NOT_PUSHED)
    if "configs/metadata.json" not in files:
        raise DataError(f"expected a bundle with configs/metadata.json, found none in {bundle}")
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
        push_files(place, name, files, sums, replace=replace, progress=progress)
    return Pushed(place.describe(name), sums.fingerprint, tuple(left_out))


def pull_bundle(
    store: str,
    name: str,
    output: Path,
    *,
    fingerprint: str | None = None,
    trusted: bool = False,
    progress: Progress | None = None,
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
        progress: Told of each file.

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
    with pulled(place, name, sums, folder, progress=progress) as partial:
        for file in sums.files:
            path = partial / file
            if path.suffix == SAFE_SUFFIX and safetensors_to_checkpoint(path) is not None:
                path.unlink()
    vouched = trusted or fingerprint is not None
    if vouched:
        trust(folder)
    return Pulled(folder, sums.fingerprint, vouched)
