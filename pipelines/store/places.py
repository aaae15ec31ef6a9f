"""Where bundles and datasets are kept: a folder, an object store, or a Hugging Face hub."""

import re
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.install import missing_extra
from pipelines.core.progress import Progress
from pipelines.store.checksums import CHECKSUMS_NAME, Checksums, Kind, parse_checksums

if TYPE_CHECKING:
    from collections.abc import Iterator

HUB_SCHEME: Final = "hf://"
OBJECT_STORES: Final = ("s3", "gs", "az")
"""Schemes of object stores, which the extra `s3` reads and writes."""

HUB_OWN_FILES: Final = (".gitattributes",)
"""What a hub puts into each repository by itself."""


class Place(Protocol):
    """Where things are kept under names; each has files and, once it is whole, its checksums."""

    def describe(self, name: str) -> str:
        """Where a thing is, for messages."""

    def checksums(self, name: str) -> Checksums | None:
        """What a thing must hold, None if there is none of this name, or only a part of it."""

    def names_of_files(self, name: str) -> set[str]:
        """The files that are there, without `checksums.json`."""

    def fetch(self, name: str, file: str, target: Path) -> None:
        """Copy a file to a path, which may be left half-written by an error."""

    def put(
        self, name: str, files: Mapping[str, Path], sums: Checksums, progress: Progress | None = None
    ) -> None:
        """Keep files under a name instead of what was there; complete only once its checksums are there."""


def open_place(store: str, kind: Kind) -> Place:
    """The place that an address names.

    Args:
        store: A folder, `hf://OWNER` for a Hugging Face hub, or an address of fsspec, e.g. `s3://BUCKET/PREFIX`.
        kind: What is kept there.

    Raises:
        ConfigError: If there is no library for such an address.
    """
    if store.startswith(HUB_SCHEME):
        from pipelines.store.hub import HubPlace

        return HubPlace(store.removeprefix(HUB_SCHEME), kind)
    from pipelines.store.files import FilesPlace

    fsspec = import_extra("fsspec", "store")
    scheme = store.partition("://")[0] if "://" in store else "file"
    if scheme in OBJECT_STORES:
        import_extra("obstore.fsspec", "s3").register(scheme)
    try:
        files, root = fsspec.core.url_to_fs(store)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"expected a folder, hf://OWNER or e.g. s3://BUCKET/PREFIX, found {store!r}: {error}"
        ) from error
    return FilesPlace(files, root, kind, renames=scheme == "file")


def check_name(name: str) -> str:
    """A name under which something may be kept: letters, digits, `.`, `_`, `-`.

    Raises:
        ConfigError: If it is another.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", name) or ".." in name:
        raise ConfigError(f"expected a name of letters, digits, '.', '_' and '-', found {name!r}")
    return name


def parse_kept(raw: bytes, place: Place, name: str, kind: Kind) -> Checksums:
    """Checksums as a place keeps them.

    Raises:
        DataError: If they are damaged or of another kind.
    """
    return parse_checksums(raw.decode("utf-8", errors="replace"), place.describe(name), kind=kind)


def import_extra(module: str, extra: str) -> Any:
    """A module of an extra.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise missing_extra("the packages for this store", extra, error) from error


@contextmanager
def checksums_file(sums: Checksums) -> "Iterator[Path]":
    """A temporary `checksums.json`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CHECKSUMS_NAME
        path.write_text(sums.to_json(), encoding="utf-8")
        yield path


@contextmanager
def reading(where: str) -> "Iterator[None]":
    """Turn what libraries raise into a message.

    Raises:
        DataError: If the block cannot read.
    """
    try:
        yield
    except library_errors() as error:
        raise DataError(f"cannot read {where}: {error}; see that it is there and can be reached") from error


@contextmanager
def writing(where: str) -> "Iterator[None]":
    """Turn what libraries raise into a message.

    Raises:
        OutputError: If the block cannot write.
    """
    try:
        yield
    except library_errors() as error:
        raise OutputError(
            f"cannot write {where}: {error}; see that you may write there, and push again: it goes on"
        ) from error


def library_errors() -> tuple[type[BaseException], ...]:
    """What the libraries of the stores raise where something is missing, refused or out of reach."""
    found: list[type[BaseException]] = [OSError, ValueError]
    for module, name in (("huggingface_hub.errors", "HfHubHTTPError"), ("obstore.exceptions", "BaseError")):
        try:
            found.append(getattr(import_module(module), name))
        except ModuleNotFoundError:
            continue
    return tuple(found)
