"""Peak memory of a job, measured in a process of its own.

Run as `python -m pipelines.benchmarks.memory RESULT train NETWORK DATASET_DIR RUN_DIR` or
`... RESULT segment WEIGHTS CINE OUTPUT_DIR`; the peak is written to the JSON file RESULT.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from pipelines.errors import ConfigError
from pipelines.files import write_json

TRAINING_MINUTES: Final = 0.25
"""Minutes of training steps, after which memory no longer grows."""


def peak_memory_of(job: str, *arguments: str | Path, result: Path) -> float:
    """Peak resident memory in MB (1e6 bytes) of a job in a new process.

    Args:
        job: `"train"` or `"segment"`.
        *arguments: Of the job, see the module's docstring.
        result: JSON file that the process writes.

    Raises:
        ConfigError: If the process fails; its last line is in the message.
    """
    command = [sys.executable, "-m", __name__, str(result), job, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if run.returncode != 0:
        last = run.stderr.strip().rpartition("\n")[2] or f"exit code {run.returncode}"
        raise ConfigError(f"expected '{job}' to run for the benchmark, found: {last}")
    peak: float = json.loads(result.read_text(encoding="utf-8"))["peak_mb"]
    return peak


def own_peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB (1e6 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux ru_maxrss is that of the parent at the fork where that was larger; VmHWM starts anew.
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def train_a_little(network: str, dataset_dir: Path, run_dir: Path) -> None:
    """Some steps and a validation with the batches and all the data of a real training."""
    from pipelines.training.launch import train_network

    train_network(network, dataset_dir, run_dir, overlays=["timed"], minutes=TRAINING_MINUTES)


def segment_cine(weights: Path, cine: Path, output: Path) -> None:
    """All frames of a cine, as `thorax segment` does it."""
    from pipelines.inference.predictor import Predictor
    from pipelines.inference.segment import segment

    segment([cine], output, Predictor.load(weights=weights))


def main(result: str, job: str, first: str, second: str, third: str) -> None:
    """Do the job and write this process's peak memory."""
    if job == "train":
        train_a_little(first, Path(second), Path(third))
    else:
        segment_cine(Path(first), Path(second), Path(third))
    write_json(Path(result), {"peak_mb": own_peak_memory_mb()})


if __name__ == "__main__":
    main(*sys.argv[1:])
