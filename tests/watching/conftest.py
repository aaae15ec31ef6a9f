"""Folders to watch, and what a finished output must look like."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from watched_stand_ins import FAST

from pipelines.watching.ledger import content_id
from pipelines.watching.service import WatchSettings, watch
from pipelines.watching.worker import ProcessorFactory


@dataclass(frozen=True)
class Watched:
    """A folder to watch, and its output."""

    incoming: Path
    output: Path

    def put(self, name: str, content: str) -> Path:
        path = self.incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def run(self, factory: ProcessorFactory, settings: WatchSettings = FAST) -> list[str]:
        """Until nothing is left to do; what was said."""
        said: list[str] = []
        watch(self.incoming, self.output, factory, settings, once=True, report=said.append)
        return said

    @property
    def done(self) -> list[Path]:
        return sorted((self.output / "studies").iterdir())

    @property
    def quarantined(self) -> list[Path]:
        return sorted((self.output / "quarantine").iterdir())

    def check_whole(self) -> None:
        """Every folder holds just the files that it says, as it says; nothing is left beside them."""
        for folder in self.done:
            said = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            found = {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.iterdir()
                if path.name != "result.json"
            }
            assert {file["name"]: file["sha256"] for file in said["files"]} == found
            assert folder.name.endswith(said["id"][:16])
        assert list((self.output / ".watch" / "work").iterdir()) == []

    def ids(self) -> list[str]:
        """Identities of the finished studies."""
        return sorted(
            json.loads((folder / "result.json").read_text(encoding="utf-8"))["id"] for folder in self.done
        )


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "in").mkdir()
    return Watched(tmp_path / "in", tmp_path / "out")


@pytest.fixture
def id_of() -> Callable[[str], str]:
    """The identity of a study that is one file with this content."""
    return lambda content: content_id([hashlib.sha256(content.encode()).hexdigest()])
