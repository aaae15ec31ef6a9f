"""Where commands of the documentation run, and how they are found in its pages."""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from preloaded import run_line

BIN = Path(sys.executable).parent
OUTER = {name: value for name, value in os.environ.items() if not re.match("MAKE|MFLAGS$|ARGS$", name)}
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
        folder = self.folder / command.folder
        environment = {**OUTER, "PATH": f"{BIN}{os.pathsep}{OUTER['PATH']}", "OMP_NUM_THREADS": "1"}
        output = self.folder / "output.txt"
        code = run_line(text, folder, environment, output)
        shown = output.read_text(encoding="utf-8")
        assert code == 0, f"{text}\n{shown[-4000:]}"
        return shown
