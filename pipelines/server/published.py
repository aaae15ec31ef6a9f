"""Weights that were learned from the accepted labels of a studies folder, version by version."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path, write_json
from pipelines.server.images import WORK_FOLDER

BUNDLE_VERSION: Final = 0
"""Number of the weights that the bundle ships."""

CURRENT_NAME: Final = "current.json"


class PublishedWeights:
    """Versions of networks' weights in `.thorax/models/<network>/` of a studies folder.

    A version is `0001.pt` with a record, `0001.json`; neither is ever written again. `current.json` names
    the version that is served, and is replaced as a whole, so that there is always exactly one.

    Args:
        root: Studies folder.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / WORK_FOLDER / "models"

    def current(self, network: str) -> int:
        """Number of the version that is served, `BUNDLE_VERSION` for the bundle's own weights."""
        return self._current(network)["version"]

    def path(self, network: str, version: int) -> Path | None:
        """Weights file of a version, None for the bundle's own."""
        if version == BUNDLE_VERSION:
            return None
        return self.folder / network / f"{version:04d}.pt"

    def versions(self, network: str) -> list[dict[str, Any]]:
        """Records of all versions, the oldest first: `version`, `time`, and what `publish` was told."""
        files = sorted((self.folder / network).glob("[0-9]*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in files]

    def publish(self, network: str, weights: Path, record: Mapping[str, Any]) -> int:
        """Keep weights as a new version and serve it from now on.

        Args:
            network: Name of the network.
            weights: Existing file.
            record: How the weights came about, for the version's record.

        Returns:
            Number of the version.

        Raises:
            OutputError: If it cannot be written; what was served before stays.
        """
        before = self.current(network)
        version = max([BUNDLE_VERSION, *(entry["version"] for entry in self.versions(network))]) + 1
        folder = self.folder / network
        with atomic_path(folder / f"{version:04d}.pt") as temporary:
            shutil.copyfile(weights, temporary)
        time = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"version": version, "time": time, "replaces": before}
        write_json(folder / f"{version:04d}.json", about | dict(record))
        write_json(folder / CURRENT_NAME, {"version": version, "before": before})
        return version

    def restore(self, network: str, version: int | None = None) -> int:
        """Serve another version that was kept.

        Args:
            network: Name of the network.
            version: Its number, `BUNDLE_VERSION` for the bundle's own weights; None for the one that was
                served before the present one.

        Returns:
            Number of the version that is served now.

        Raises:
            ConfigError: If there is no such version.
            OutputError: If it cannot be written.
        """
        now = self._current(network)
        wanted = now["before"] if version is None else version
        known = [BUNDLE_VERSION, *(entry["version"] for entry in self.versions(network))]
        if wanted not in known:
            raise ConfigError(
                f"expected a version of {network} among {', '.join(map(str, known))} (0: the bundle's own), "
                f"found {wanted}"
            )
        write_json(self.folder / network / CURRENT_NAME, {"version": wanted, "before": now["version"]})
        return int(wanted)

    def _current(self, network: str) -> dict[str, int]:
        path = self.folder / network / CURRENT_NAME
        if not path.is_file():
            return {"version": BUNDLE_VERSION, "before": BUNDLE_VERSION}
        known: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        return known
