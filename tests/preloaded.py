"""Python commands in processes of their own that need not import the large libraries again.

A server process imports them once and forks for each command. Nothing else is shared, so a command sees a
fresh interpreter as a user's does, seconds earlier.
"""

import multiprocessing
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LIBRARIES = ["monai.bundle", "pipelines.cli.main", "pipelines.models.heart", "pipelines.training.run"]

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(LIBRARIES)


def run_line(text: str, folder: Path, environment: Mapping[str, str], output: Path) -> int:
    """Run a command line, one call of `thorax` or `python -m` without a shell; its exit code.

    Args:
        text: Command line.
        folder: Where it runs.
        environment: Variables that it sees.
        output: File that gets what it prints.
    """
    if not re.fullmatch(r"(thorax|python -m) [^&|;<>$*`]+", text):
        with output.open("wb") as stream:
            return subprocess.run(
                ["bash", "-c", text],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
    process = SERVER.Process(target=_run, args=(shlex.split(text), folder, dict(environment), output))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(arguments: list[str], folder: Path, environment: dict[str, str], output: Path) -> None:
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for shown in (1, 2):
        os.dup2(stream, shown)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if arguments[0] == "thorax":
        from pipelines.cli.main import main

        sys.argv = arguments
        main()
        return
    sys.argv = arguments[2:]
    sys.path[0:0] = [str(folder)]
    runpy.run_module(arguments[2], run_name="__main__", alter_sys=True)
