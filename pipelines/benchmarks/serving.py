"""What the labelling server adds to an inference, and how long it takes to start."""

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from pipelines.core.errors import ConfigError
from pipelines.core.volume import read_volume
from pipelines.models.bundle import NETWORKS
from pipelines.models.heart import Predictor

START_TIMEOUT_S: Final = 180.0
"""Longest wait for a server's first answer, s."""

REST_S: Final = 0.3
"""Pause before each measurement, s: the threads of the process that was just busy still spin for a while."""


@dataclass(frozen=True, slots=True)
class ServingTimes:
    """Seconds of a request over loopback beside those of the bare inference.

    Attributes:
        request_s: Median from the request of a label map to its last byte.
        request_p95_s: 95th percentile of the same.
        bare_s: Median to read the same file and segment it in this process.
        start_s: From the command to the first answer.
    """

    request_s: float
    request_p95_s: float
    bare_s: float
    start_s: float

    @property
    def request_over_bare(self) -> float:
        """Median of the request by that of the bare inference."""
        return self.request_s / self.bare_s


@contextmanager
def running_server(studies: Path, *options: str) -> Iterator[str]:
    """Address of `thorax serve` in a process of its own, which ends with the block.

    Args:
        studies: Existing studies folder; `server.log` is written beside it.
        *options: Further options of the command.

    Raises:
        ConfigError: If it ends or does not answer; the last line of its log is in the message.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address, log = f"http://127.0.0.1:{port}", studies.parent / "server.log"
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "serve"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "--studies", str(studies), "--port", port, *options],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.perf_counter() + START_TIMEOUT_S
        while not _answers(address):
            if process.poll() is not None or time.perf_counter() > end:
                last = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
                raise ConfigError(f"expected 'thorax serve' to answer, found: {last}")
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def time_serving(
    image: Path, work_dir: Path, *, rounds: int = 9, progress: Callable[[int, int], None] | None = None
) -> ServingTimes:
    """Times of requests for automatic contours, in turns with bare inferences of the same file.

    Args:
        image: Existing short-axis volume (NIfTI).
        work_dir: Existing folder for a studies folder.
        rounds: Number of counted rounds; a first one is not counted.
        progress: Called with rounds done and rounds in all.

    Raises:
        ConfigError: If the bundle has no weights, or the server does not start.
    """
    with tempfile.TemporaryDirectory(dir=work_dir) as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        volume = Path(shutil.copyfile(image, studies / "volume.nii.gz"))
        predictor = Predictor.load(NETWORKS[0])
        start = time.perf_counter()
        with running_server(studies) as address:
            start_s = time.perf_counter() - start
            url = f"{address}/infer/{NETWORKS[0]}?image=volume"
            requests, bare = [], []
            for done in range(rounds + 1):
                time.sleep(REST_S)
                mark = time.perf_counter()
                predictor.predict(read_volume(volume))
                bare.append(time.perf_counter() - mark)
                time.sleep(REST_S)
                mark = time.perf_counter()
                with urlopen(Request(url, b"params=%7B%7D")) as answer:
                    answer.read()
                requests.append(time.perf_counter() - mark)
                if progress is not None:
                    progress(done + 1, rounds + 1)
    slow = statistics.quantiles(requests[1:], n=20, method="inclusive")[-1] if rounds > 1 else requests[1]
    return ServingTimes(statistics.median(requests[1:]), slow, statistics.median(bare[1:]), start_s)


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/auth/", timeout=5):
            return True
    except (URLError, OSError):
        return False
