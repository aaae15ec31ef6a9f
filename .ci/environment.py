"""The environment that every make target needs: checks the prerequisites, then installs into a venv.

Runs before anything is installed and on whatever Python is there, so it uses the standard library only
and no syntax newer than Python 3.7.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PYTHON_VERSION = (3, 11)
FREE_DISK_GB = 12
LOCK_NAME = "requirements.lock"
"""Every package with its version and the SHA-256 of its files; `make lock` writes it."""
TOOLS_LOCK_NAME = "tools.lock"
"""The same for the tools that look at the environment from outside."""
TORCH_PAIR = ("torch==2.14.1", "torchvision==0.29.1")
"""They belong together: torchvision's operators load only beside the torch they were built for."""
BUILD_TOOL = "setuptools==84.2.1"
"""Builds what is offered as source only, so that no build downloads a tool that is not in the lock."""
BUILT_HERE = "sam2==1.1.0"
"""Needed by MONAI Label and offered as source only. It is built with the PyTorch that is there: by itself
pip would download another one, with all CUDA libraries, for the build alone."""
EXTRAS = "cluster,dev,docs,int8,label,onnx,report,s3,store,transfer,tune,watch"


def main() -> None:
    """Make the environment named on the command line, or exit with what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment")
    parser.add_argument("--tools", action="store_true", help="only the tools of make audit, sbom and lock")
    arguments = parser.parse_args()
    folder = arguments.venv
    root = Path(__file__).resolve().parents[1]
    try:
        check_python(sys.version_info[:2], sys.executable)
        if arguments.tools:
            make_environment(folder)
            install_tools(folder, root)
            return
        if not has_torch(folder):
            check_disk(shutil.disk_usage(root).free, root)
        make_environment(folder)
        install(folder, root)
    except PrerequisiteError as error:
        sys.exit("\nThorax cannot be set up. " + str(error))


class PrerequisiteError(Exception):
    """The machine lacks something; the message says what, and what to do."""


def check_python(version: tuple[int, ...], executable: str) -> None:
    """Accept only the Python that the locked versions are for.

    Args:
        version: `(major, minor)` of the Python in use.
        executable: Path of that Python, for the message.

    Raises:
        PrerequisiteError: If it is another version than 3.11.
    """
    if version[:2] != PYTHON_VERSION:
        raise PrerequisiteError(
            f"It needs Python 3.11, but {executable} is Python {version[0]}.{version[1]}. Install Python "
            "3.11 (python.org, pyenv, conda or your system's packages), then run "
            "'make PYTHON=/path/to/python3.11' with your target."
        )


def check_disk(free_bytes: int, folder: Path) -> None:
    """Accept only a disk on which PyTorch and the other packages fit.

    Args:
        free_bytes: Free space in bytes.
        folder: Folder on that disk, which must exist, for the message.

    Raises:
        PrerequisiteError: If less than 12 GB (1e9 bytes) are free.
    """
    if free_bytes < FREE_DISK_GB * 1e9:
        raise PrerequisiteError(
            f"It needs {FREE_DISK_GB} GB of free disk, most of it for PyTorch, but the disk of {folder} has "
            f"{free_bytes / 1e9:.1f} GB. Free some space, or put the environment on another disk with "
            "'make VENV=/path/on/it' and your target."
        )


def has_torch(folder: Path) -> bool:
    """Whether the environment in `folder`, which need not exist, already holds PyTorch."""
    return any(folder.glob("[Ll]ib*/**/site-packages/torch/version.py"))


def make_environment(folder: Path) -> None:
    """Create the virtual environment unless `folder` already holds one of the right Python.

    Raises:
        PrerequisiteError: If an environment of another Python is there, or the venv module cannot make one.
    """
    python = environment_python(folder)
    if python.exists():
        found = subprocess.run(
            [str(python), "-c", "import sys; print(*sys.version_info[:2])"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        if found.stdout.split() != [str(part) for part in PYTHON_VERSION]:
            raise PrerequisiteError(
                f"{folder} holds an environment of another Python. Remove that folder and run make again."
            )
        return
    try:
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PrerequisiteError(
            f"No virtual environment can be made in {folder}: {error}. On Debian and Ubuntu install "
            "python3.11-venv; elsewhere see that the folder can be written to."
        ) from error


def install(folder: Path, root: Path) -> None:
    """Install the locked packages and Thorax itself, editable, into the environment.

    pip takes only files whose SHA-256 is in the lock. Thorax itself is a folder, which has none.

    Args:
        folder: Folder of the environment, which must exist.
        root: Folder of the repository.

    Raises:
        PrerequisiteError: If pip fails.
    """
    lock = (root / LOCK_NAME).read_text(encoding="utf-8")
    first, others, last = lock_parts(lock, (*TORCH_PAIR, BUILD_TOOL), (BUILT_HERE,))
    if not _install_locked(folder, first):
        raise PrerequisiteError(torch_message())
    itself = [*_pip(folder), "--no-deps", "--no-build-isolation", "--editable", str(root)]
    if (
        not _install_locked(folder, others)
        or not _install_locked(folder, last)
        or subprocess.call(itself) != 0
    ):
        raise PrerequisiteError(_lock_message(LOCK_NAME))


def install_tools(folder: Path, root: Path) -> None:
    """Install the locked tools of `make audit`, `make sbom` and `make lock` into an environment of their own.

    Args:
        folder: Folder of that environment, which must exist.
        root: Folder of the repository.

    Raises:
        PrerequisiteError: If pip fails.
    """
    if not _install_locked(folder, (root / TOOLS_LOCK_NAME).read_text(encoding="utf-8")):
        raise PrerequisiteError(_lock_message(TOOLS_LOCK_NAME))


def lock_parts(lock: str, first: tuple[str, ...], last: tuple[str, ...]) -> tuple[str, str, str]:
    """The lock in three: what goes first, all others, what goes last.

    Args:
        lock: Text of a lock: `name==version`, and below it, indented, the hashes.
        first: Entries, as `name==version`, of the first part.
        last: Entries of the last part.

    Raises:
        PrerequisiteError: If an entry of `first` or `last` is not in the lock.
    """
    parts: dict[str, list[str]] = {"first": [], "others": [], "last": []}
    missing = {*first, *last}
    for block in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE):
        entry = block.split()[0] if block.strip() else ""
        missing.discard(entry)
        parts["first" if entry in first else "last" if entry in last else "others"].append(block)
    if missing:
        raise PrerequisiteError(
            f"The lock has no {', '.join(sorted(missing))}: .ci/environment.py and {LOCK_NAME} do not "
            "belong together. Get both from the same commit, or write the lock anew with 'make lock'."
        )
    return "".join(parts["first"]), "".join(parts["others"]), "".join(parts["last"])


def _install_locked(folder: Path, lock: str) -> bool:
    """Whether pip installed what a part of the lock names, and nothing else."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / LOCK_NAME
        path.write_text(lock, encoding="utf-8")
        # The lock is complete, so pip has nothing to look for; what it builds, it builds with what is there.
        exact = ["--require-hashes", "--no-deps", "--no-build-isolation", "--requirement", str(path)]
        return subprocess.call([*_pip(folder), *exact], env={**os.environ, "SAM2_BUILD_CUDA": "0"}) == 0


def _pip(folder: Path) -> list[str]:
    return [str(environment_python(folder)), "-m", "pip", "install", "--disable-pip-version-check"]


def _lock_message(name: str) -> str:
    return (
        f"pip could not install the packages of {name}; its message above says which. See that the package "
        "index can be reached ('pip config list' shows the settings) and run make again. Where pip says that "
        "hashes do not match, a file is not the one that was locked: do not use it, find out why."
    )


def torch_message() -> str:
    """What to do when pip finds no PyTorch for this machine."""
    return (
        f"pip could not install {' '.join(TORCH_PAIR)} (its message above says why). The two belong together "
        f"and need ready-made wheels for Python 3.11 on {platform.system()} {platform.machine()}. See that "
        "the package index can be reached ('pip config list' shows proxy and index settings) and that the "
        "disk is not full. Where PyPI has no wheel for this system, get the same two versions from "
        "https://pytorch.org/get-started/locally/, install them into the environment with its own pip, and "
        "run make again."
    )


def environment_python(folder: Path) -> Path:
    """Path of the Python in an environment, which need not exist."""
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


if __name__ == "__main__":
    main()
