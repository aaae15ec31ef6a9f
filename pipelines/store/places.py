"""Where bundles and datasets are kept: a folder, an object store, or a Hugging Face hub."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.install import import_extra
from pipelines.core.progress import show_progress
from pipelines.store.checksums import CHECKSUMS_NAME, Checksums, Kind, parse_checksums

if TYPE_CHECKING:
    from collections.abc import Iterator


PART: Final = "the packages for this store"
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

    def put(self, name: str, files: Mapping[str, Path], sums: Checksums) -> None:
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
        return HubPlace(store.removeprefix(HUB_SCHEME), kind)

    fsspec = import_extra("fsspec", "store", PART)
    scheme = store.partition("://")[0] if "://" in store else "file"
    if scheme in OBJECT_STORES:
        import_extra("obstore.fsspec", "s3", PART).register(scheme)
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
            f"cannot write {where}: {error}; see that you may write there, and push again: it resumes"
        ) from error


def library_errors() -> tuple[type[BaseException], ...]:
    """What the libraries of the stores raise where something is missing, refused or out of reach."""
    found: list[type[BaseException]] = [OSError, ValueError]
    for module, name in (("huggingface_hub.errors", "HfHubHTTPError"), ("obstore.exceptions", "BaseError")):
        with suppress(ModuleNotFoundError):
            found.append(getattr(import_module(module), name))
    return tuple(found)


DRAFT_NAME = f"{CHECKSUMS_NAME}.part"
"""The checksums of a push that has begun; what it has put is taken over when the same push goes on."""


class FilesPlace:
    """A folder of a file system that fsspec knows; each thing is a folder in it.

    In a local folder a thing is written beside its place and renamed when whole. Object stores cannot
    rename; there the checksums go first and come back last, so that what is not whole has none.

    Args:
        files: File system of fsspec.
        root: Folder in it; made if it does not exist.
        kind: What is kept there.
        renames: Whether a folder can be renamed in one step.
    """

    def __init__(self, files: Any, root: str, kind: Kind, *, renames: bool) -> None:
        self._files = files
        self._root = root.rstrip("/")
        self._kind = kind
        self._renames = renames

    def describe(self, name: str) -> str:
        """Where a thing is, for messages."""
        folder = self._folder(name)
        return folder if self._renames else str(self._files.unstrip_protocol(folder))

    def checksums(self, name: str) -> Checksums | None:
        """What a thing must hold, None if there is none of this name, or only a part of it.

        Raises:
            DataError: If it cannot be read, is damaged, or of another kind.
        """
        path = f"{self._folder(name)}/{CHECKSUMS_NAME}"
        with reading(self.describe(name)):
            if not self._files.exists(path):
                return None
            raw = self._files.cat_file(path)
        return parse_kept(raw, self, name, self._kind)

    def names_of_files(self, name: str) -> set[str]:
        """The files that are there, without `checksums.json`.

        Raises:
            DataError: If they cannot be listed.
        """
        with reading(self.describe(name)):
            return set(self._sizes(self._folder(name))) - {CHECKSUMS_NAME}

    def fetch(self, name: str, file: str, target: Path) -> None:
        """Copy a file to a path, which may be left half-written by an error.

        Raises:
            DataError: If it cannot be read.
        """
        with reading(f"{self.describe(name)}/{file}"):
            self._files.get_file(f"{self._folder(name)}/{file}", str(target))

    def put(self, name: str, files: Mapping[str, Path], sums: Checksums) -> None:
        """Keep files under a name instead of what was there; complete only once its checksums are there.

        A push that was interrupted goes on where it was: files that it has put are not put again.

        Raises:
            OutputError: If the store cannot be written to.
        """
        final = self._folder(name)
        folder = f"{self._root}/.part-{name}" if self._renames else final
        with writing(self.describe(name)), checksums_file(sums) as listed:
            self._remove(f"{folder}/{CHECKSUMS_NAME}")
            there = self._begin(folder, listed)
            for index, (file, path) in enumerate(files.items()):
                show_progress(index, len(files), file)
                if there.get(file) != path.stat().st_size:
                    self._put_file(path, f"{folder}/{file}")
            for extra in sorted(self._sizes(folder).keys() - files.keys()):
                self._remove(f"{folder}/{extra}")
            self._put_file(listed, f"{folder}/{CHECKSUMS_NAME}")
            if self._renames:
                if self._files.exists(final):
                    self._files.rm(final, recursive=True)
                self._files.mv(folder, final, recursive=True)

    def _begin(self, folder: str, listed: Path) -> dict[str, int]:
        """Leave a draft of the checksums; sizes of what an earlier push of the same has put."""
        draft = f"{folder}/{DRAFT_NAME}"
        if self._files.exists(draft) and self._files.cat_file(draft) == listed.read_bytes():
            return self._sizes(folder)
        self._put_file(listed, draft)
        return {}

    def _put_file(self, path: Path, target: str) -> None:
        """Put a file whole or not at all; an object appears only when it is whole anyway."""
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        if not self._renames:
            self._files.put_file(str(path), target)
            return
        self._files.put_file(str(path), f"{target}.part")
        self._files.mv(f"{target}.part", target)

    def _sizes(self, folder: str) -> dict[str, int]:
        if not self._files.exists(folder):
            return {}
        found = self._files.find(folder, detail=True)
        prefix = self._files._strip_protocol(folder).strip("/") + "/"
        return {path.lstrip("/").removeprefix(prefix): int(entry["size"]) for path, entry in found.items()}

    def _remove(self, path: str) -> None:
        if self._files.exists(path):
            self._files.rm_file(path)

    def _folder(self, name: str) -> str:
        return f"{self._root}/{name}"


class HubPlace:
    """The repositories of a user or organisation; a bundle is a model there, data are a dataset.

    The address of the hub and the token are those of huggingface_hub: `HF_ENDPOINT`, `HF_TOKEN` or
    `hf auth login`. New repositories are private. A push is one commit.

    Args:
        owner: User or organisation.
        kind: What is kept there.

    Raises:
        ConfigError: If `owner` is no name, or the extra `store` is not installed.
    """

    def __init__(self, owner: str, kind: Kind) -> None:
        if not owner or "/" in owner:
            raise ConfigError(f"expected hf://OWNER, found {HUB_SCHEME}{owner}; the name comes after it")
        self._owner = owner
        self._hub = import_extra("huggingface_hub", "store", PART)
        self._api = self._hub.HfApi()
        self._kind = kind
        self._type = "model" if kind == "bundle" else "dataset"
        self._revisions: dict[str, str] = {}

    def describe(self, name: str) -> str:
        """Where a thing is, for messages."""
        return f"{HUB_SCHEME}{self._repo(name)}"

    def checksums(self, name: str) -> Checksums | None:
        """What a thing must hold, None if there is none of this name.

        All that follows is of the commit that was the newest when this was asked.

        Raises:
            DataError: If it cannot be read, is damaged, or of another kind.
        """
        with reading(self.describe(name)):
            try:
                info = self._api.repo_info(self._repo(name), repo_type=self._type)
            except self._hub.errors.RepositoryNotFoundError:
                return None
            self._revisions[name] = info.sha
            if CHECKSUMS_NAME not in self._listed(name):
                return None
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / CHECKSUMS_NAME
                self._download(name, CHECKSUMS_NAME, path)
                raw = path.read_bytes()
        return parse_kept(raw, self, name, self._kind)

    def names_of_files(self, name: str) -> set[str]:
        """The files that are there, without `checksums.json` and what the hub puts there by itself.

        Raises:
            DataError: If they cannot be listed.
        """
        with reading(self.describe(name)):
            return self._listed(name) - {CHECKSUMS_NAME, *HUB_OWN_FILES}

    def fetch(self, name: str, file: str, target: Path) -> None:
        """Copy a file to a path, which may be left half-written by an error.

        Raises:
            DataError: If it cannot be read.
        """
        with reading(f"{self.describe(name)}/{file}"):
            self._download(name, file, target)

    def put(self, name: str, files: Mapping[str, Path], sums: Checksums) -> None:
        """Keep files under a name, in one commit that also deletes what was there and is not now.

        Large files that the hub has are not sent again, so a push that was interrupted goes on.

        Raises:
            OutputError: If the hub refuses, or cannot be reached.
        """
        repo = self._repo(name)
        with writing(self.describe(name)), checksums_file(sums) as listed:
            show_progress(0, len(files), name)
            self._api.create_repo(repo, repo_type=self._type, private=True, exist_ok=True)
            old = set(self._api.list_repo_files(repo, repo_type=self._type))
            sent = {**files, CHECKSUMS_NAME: listed}
            operations: list[Any] = [
                self._hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=str(path))
                for file, path in sent.items()
            ]
            operations += [
                self._hub.CommitOperationDelete(path_in_repo=file)
                for file in sorted(old - sent.keys() - {*HUB_OWN_FILES})
            ]
            message = f"Thorax {sums.kind} {sums.fingerprint[:12]}"
            self._api.create_commit(repo, operations, commit_message=message, repo_type=self._type)

    def _listed(self, name: str) -> set[str]:
        revision = self._revisions.get(name)
        return set(self._api.list_repo_files(self._repo(name), revision=revision, repo_type=self._type))

    def _download(self, name: str, file: str, target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            version = {"repo_type": self._type, "revision": self._revisions.get(name)}
            found = self._api.hf_hub_download(self._repo(name), file, local_dir=folder, **version)
            shutil.move(found, target)

    def _repo(self, name: str) -> str:
        return f"{self._owner}/{name}"
