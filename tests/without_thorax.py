"""Programs that run where `import pipelines` fails, as on a machine that has MONAI and no Thorax."""

import subprocess
import sys
from pathlib import Path

HIDE_THORAX = "import sys, runpy; sys.modules['pipelines'] = None; sys.argv[0] = 'monai.bundle'; "
"""Start of a program in which `import pipelines` fails."""

RUN_MONAI = HIDE_THORAX + "runpy.run_module('monai.bundle', run_name='__main__')"


def run_without_thorax(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program from a folder."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def run_monai(*arguments: str, folder: Path) -> None:
    """Run `python -m monai.bundle` from the root of an exported bundle; it must end well."""
    run = run_without_thorax(RUN_MONAI, *arguments, folder=folder)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
