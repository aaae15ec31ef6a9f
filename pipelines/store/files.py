"""Folders and object stores, through fsspec."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.progress import Progress
from pipelines.store.checksums import CHECKSUMS_NAME, Checksums, Kind
from pipelines.store.places import checksums_file, parse_kept, reading, writing

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

    def put(
        self, name: str, files: Mapping[str, Path], sums: Checksums, progress: Progress | None = None
    ) -> None:
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
                if progress:
                    progress(index, len(files), file)
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
