"""A Hugging Face hub, through huggingface_hub."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError
from pipelines.core.progress import Progress
from pipelines.store.checksums import CHECKSUMS_NAME, Checksums, Kind
from pipelines.store.places import (
    HUB_OWN_FILES,
    HUB_SCHEME,
    checksums_file,
    import_extra,
    parse_kept,
    reading,
    writing,
)

REPO_TYPES: dict[Kind, str] = {"bundle": "model", "data": "dataset"}


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
        self._hub = import_extra("huggingface_hub", "store")
        self._api = self._hub.HfApi()
        self._kind = kind
        self._type = REPO_TYPES[kind]
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

    def put(
        self, name: str, files: Mapping[str, Path], sums: Checksums, progress: Progress | None = None
    ) -> None:
        """Keep files under a name, in one commit that also deletes what was there and is not now.

        Large files that the hub has are not sent again, so a push that was interrupted goes on.

        Raises:
            OutputError: If the hub refuses, or cannot be reached.
        """
        repo = self._repo(name)
        with writing(self.describe(name)), checksums_file(sums) as listed:
            if progress:
                progress(0, len(files), name)
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
        return set(
            self._api.list_repo_files(
                self._repo(name), revision=self._revisions.get(name), repo_type=self._type
            )
        )

    def _download(self, name: str, file: str, target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            found = self._api.hf_hub_download(
                self._repo(name),
                file,
                repo_type=self._type,
                revision=self._revisions.get(name),
                local_dir=folder,
            )
            shutil.move(found, target)

    def _repo(self, name: str) -> str:
        return f"{self._owner}/{name}"
