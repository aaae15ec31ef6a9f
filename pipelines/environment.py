"""The environment that every make target needs: checks the prerequisites, then installs into a venv.

Runs before anything is installed and on whatever Python is there, so it uses the standard library only
and no syntax newer than Python 3.7.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PYTHON_VERSION = (3, 11)
FREE_DISK_GB = 12
TORCH_PAIR = ("torch==2.14.1", "torchvision==0.29.1")
"""Installed first and together: torchvision's operators load only beside the torch they were built for."""
BUILD_TOOL = "setuptools==84.2.1"
BUILT_HERE = "sam2==1.1.0"
"""Needed by MONAI Label and offered as source only. It is built with the PyTorch that is there: by itself
pip would download another one, with all CUDA libraries, for the build alone."""
EXTRAS = "cluster,dev,docs,int8,label,onnx,report,tune,watch"


def main() -> None:
    """Make the environment named on the command line, or exit with what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment")
    folder = parser.parse_args().venv
    root = Path(__file__).resolve().parents[1]
    try:
        check_python(sys.version_info[:2], sys.executable)
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

    Args:
        folder: Folder of the environment, which must exist.
        root: Folder of the repository.

    Raises:
        PrerequisiteError: If pip fails.
    """
    pip = [str(environment_python(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--constraint", str(root / "constraints.txt")]
    if subprocess.call([*pip, *TORCH_PAIR, BUILD_TOOL]) != 0:
        raise PrerequisiteError(torch_message())
    without_cuda = {**os.environ, "SAM2_BUILD_CUDA": "0"}
    build = [*pip, "--no-build-isolation", "--no-deps", BUILT_HERE]
    if (
        subprocess.call(build, env=without_cuda) != 0
        or subprocess.call([*pip, "--editable", f"{root}[{EXTRAS}]"]) != 0
    ):
        raise PrerequisiteError(
            "pip could not install the packages of constraints.txt; its message above says which. See that "
            "the package index can be reached ('pip config list' shows the settings) and run make again."
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
