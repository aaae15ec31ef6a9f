"""Where commands of the documentation run, and how they are found in its pages."""

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from dataset_folders import write_mnms
from dicom_files import write_dicom_series
from preloaded import run_line

from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import prepare_acdc
from pipelines.datasets.prepare_xray import prepare_chest_xray

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
OUTER = {name: value for name, value in os.environ.items() if not re.match("MAKE|MFLAGS$|ARGS$", name)}
"""Without what a make that runs these tests would pass on to the ones that they run."""


@dataclass(frozen=True)
class Command:
    """A command of the documentation: the folder it is given in, relative to the root, and its text."""

    folder: str
    text: str


def commands_of(page: str, root: str = ".") -> list[Command]:
    """The commands of a page in order; each block begins in `root`, and `cd` holds until it ends."""
    commands = []
    for block in re.findall(r"^ *```console\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL):
        folder = root
        for line in re.findall(r"^ *\$ (.*)$", block, re.MULTILINE):
            if line.startswith("cd "):
                folder = line.removeprefix("cd ")
            else:
                commands.append(Command(folder, line))
    return commands


CARDS = sorted((ROOT / "bundles").glob("*/docs/README.md"))
"""Of the bundles; their commands are given in the root of the bundle."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *CARDS]

COMMANDS = list(
    dict.fromkeys(
        command
        for page in PAGES
        for command in commands_of(
            page.read_text(encoding="utf-8"),
            str(page.parents[1].relative_to(ROOT)) if page in CARDS else ".",
        )
    )
)


@dataclass(frozen=True)
class Workspace:
    """A stand-in for the root of the repository, and the paths for the placeholders in the pages."""

    folder: Path
    paths: dict[str, Path]

    def run(self, command: Command, *more: str) -> str:
        """Run a command with the placeholders filled in; its output."""
        text = " ".join([command.text, *more])
        for placeholder, path in self.paths.items():
            text = text.replace(placeholder, shlex.quote(str(path)))
        folder = self.folder / command.folder
        environment = {**OUTER, "PATH": f"{BIN}{os.pathsep}{OUTER['PATH']}", "OMP_NUM_THREADS": "1"}
        environment["XDG_CONFIG_HOME"] = str(self.folder / "config")
        output = self.folder / "output.txt"
        code = run_line(text, folder, environment, output)
        shown = output.read_text(encoding="utf-8")
        assert code == 0, f"{text}\n{shown[-4000:]}"
        return shown


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(
        ROOT / "bundles", folder / "bundles", ignore=shutil.ignore_patterns("runs", "__pycache__")
    )
    shutil.copytree(ROOT / ".ci" / "node", folder / ".ci" / "node")
    for name in ("Makefile", ".pre-commit-config.yaml"):
        shutil.copy(ROOT / name, folder)
    write_phantom_cohort(folder / "acdc", patients=5, frames=3, cine=False)
    write_phantom_cohort(folder / "two", patients=2, seed=1, frames=3, cine=False)
    write_mnms(folder / "two", folder / "mnms")
    write_phantom_cohort(folder / "cine", patients=1, frames=3)
    cine = folder / "cine" / "training" / "patient001" / "patient001_4d.nii.gz"
    write_dicom_series(cine, folder / "dicom")
    (folder / "studies").mkdir()
    (folder / "incoming").mkdir()
    shutil.copy(cine, folder / "incoming")
    (folder / "images").mkdir()
    one = folder / "two" / "training" / "patient001" / "patient001_frame01.nii.gz"
    shutil.copy(one, folder / "images" / "case.nii.gz")
    (folder / "test_patients.txt").write_text("patient002\n", encoding="utf-8")
    (folder / "cohort.csv").write_text(f"study,path\nanna,{cine}\n", encoding="utf-8")
    prepare_acdc(folder / "acdc", folder / "runs" / "acdc")
    write_phantom_xrays(folder / "chest_xray", patients=30, images=1, side_px=96)
    prepare_chest_xray(folder / "chest_xray", folder / "runs" / "xray")
    one_xray = next((folder / "chest_xray").rglob("*.jpeg"))
    paths = {
        "/path/to/prepared-xray": folder / "runs" / "xray",
        "/path/to/chest_xray": folder / "chest_xray",
        "/path/to/one_xray.png": one_xray,
        "/path/to/prepared": folder / "runs" / "acdc",
        "/path/to/ACDC": folder / "acdc",
        "/path/to/dataset": folder / "mnms",
        "/path/to/cohort.csv": folder / "cohort.csv",
        "/path/to/cine.nii.gz": cine,
        "/path/to/dicom": folder / "dicom",
        "/path/to/incoming": folder / "incoming",
        "/path/to/studies": folder / "studies",
        "/path/to/store": folder / "store",
        "/path/to/images": folder / "images",
    }
    return Workspace(folder, paths)
