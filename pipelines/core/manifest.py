"""A machine-readable record of what a run was: versions, command, data, device."""

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pipelines
from pipelines.core.files import write_json

MANIFEST_NAME = "manifest.json"
PACKAGES = ("torch", "monai", "pytorch-ignite", "nibabel", "numpy")


def write_manifest(folder: Path, **details: Any) -> Path:
    """Write `manifest.json` and return its path.

    The folder's name goes into it: pages keep it when the folder is renamed.

    Args:
        folder: Folder of the run.
        **details: What the run adds, e.g. `seed`, `split_hash`, `fingerprint`, `device`, `outputs`.

    Raises:
        OutputError: If it cannot be written.
    """
    import torch  # here, for commands that only look for a manifest

    path = folder / MANIFEST_NAME
    write_json(
        path,
        {
            "name": folder.resolve().name,
            "thorax": pipelines.__version__,
            "python": platform.python_version(),
            "packages": package_versions(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **details,
        },
    )
    return path


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that figures depend on most, None for one that is not there."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
