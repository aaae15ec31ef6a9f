"""Commands of the documentation, and the folder in which they are tried."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

BIN = Path(sys.executable).parent
OUTER = {
    name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"
}
"""Without what a make that runs these tests would pass on to the ones that they run."""


@dataclass(frozen=True)
class Command:
    """A command of the documentation: the folder it is given in, relative to the root, and its text."""

    folder: str
    text: str


def commands_of(page: str) -> list[Command]:
    """The commands of a page in order; `cd` holds until its block ends."""
    commands = []
    for block in re.findall(r"^ *```console\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL):
        folder = "."
        for line in re.findall(r"^ *\$ (.*)$", block, re.MULTILINE):
            if line.startswith("cd "):
                folder = line.removeprefix("cd ")
            else:
                commands.append(Command(folder, line))
    return commands


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
        run = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder / command.folder,
            env={**OUTER, "PATH": f"{BIN}{os.pathsep}{OUTER['PATH']}", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            check=False,
        )
        assert run.returncode == 0, f"{text}\n{run.stdout[-4000:]}"
        return run.stdout


def write_dicom_series(cine: Path, folder: Path) -> None:
    """The first frame of a cine as a DICOM series, one file a slice."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    stack = np.asarray(nib.load(cine).dataobj)[..., 0]
    for z in range(stack.shape[2]):
        image = sitk.GetImageFromArray(stack[:, :, z].T.astype(np.uint16))
        image.SetSpacing((1.4, 1.4))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
            "0008|0018": f"1.2.3.4.{z + 1}",  # of the image
            "0008|0060": "MR",
            "0010|0020": "phantom",
            "0020|000d": "1.2.3",  # of the study
            "0020|000e": "1.2.3.4",  # of the series
            "0020|0013": str(z + 1),
            "0020|0032": f"0\\0\\{8 * z}",  # position
            "0020|0037": "1\\0\\0\\0\\1\\0",  # direction
            "0018|0050": "8",  # slice thickness, mm
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{z:03}.dcm"))
        writer.Execute(image)
