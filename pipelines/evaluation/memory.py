"""Peak memory of a job, measured in a process of its own.

Run as `python -m pipelines.evaluation.memory RESULT MODULE:FUNCTION ARGUMENT...`; the peak, and what the
function returns, are written to the JSON file RESULT.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from pkgutil import resolve_name
from typing import Final

from pipelines.core.errors import ConfigError
from pipelines.core.files import read_json, write_json

PREDICT: Final = "pipelines.evaluation.comparison:predict_twice"
"""Job of `cost_of_predicting`."""


def peak_memory_of(job: str, *arguments: str | Path, result: Path) -> float:
    """Peak resident memory in MB (1e6 bytes) of a job in a new process.

    Args:
        job: Function as `module:name` that takes texts, and returns nothing or figures by name.
        *arguments: Given to it as texts.
        result: JSON file that the process writes.

    Raises:
        ConfigError: If the process fails; its last line is in the message.
    """
    return _run(job, *arguments, result=result)["peak_mb"]


def cost_of_predicting(model: str, image: Path, device: str) -> dict[str, float]:
    """Cost of segmenting one image by a model, in a new process.

    Args:
        model: As `pipelines.evaluation.comparison.Model.parse` reads it.
        image: NIfTI file of one volume.
        device: `"auto"`, or a torch device.

    Returns:
        `peak_mb`, peak resident memory in MB (1e6 bytes) with Python and its libraries, and
        `cpu_seconds`, processor time of all threads for the second prediction in s, which depends
        on other work of the machine far less than wall time.

    Raises:
        ConfigError: If the process fails; its last line is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _run(PREDICT, model, image, device, result=Path(folder) / "cost.json")


def _run(job: str, *arguments: str | Path, result: Path) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, str(result), job, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if run.returncode != 0:
        last = run.stderr.strip().rpartition("\n")[2] or f"exit code {run.returncode}"
        raise ConfigError(f"expected '{job.rpartition(':')[2]}' to run for the benchmark, found: {last}")
    content: dict[str, float] = read_json(result)
    return content


def own_peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB (1e6 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux ru_maxrss is that of the parent at the fork where that was larger; VmHWM starts anew.
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if peak:
            return int(peak[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(result: str, job: str, *arguments: str) -> None:
    """Do the job and write what it found and this process's peak memory."""
    found: dict[str, float] | None = resolve_name(job)(*arguments)
    write_json(Path(result), (found or {}) | {"peak_mb": own_peak_memory_mb()})


if __name__ == "__main__":
    main(*sys.argv[1:])
