"""Trainings that the server starts: one at a time, each a process of its own that gives way to inference."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from pipelines.core.files import is_locked, output_folder
from pipelines.server.fine_tuning import (
    DEFAULT_BATCH,
    DEFAULT_EPOCHS,
    LOCK_NAME,
    STATUS_NAME,
    TRAINING_FOLDER,
)
from pipelines.server.images import WORK_FOLDER
from pipelines.server.job_time import job_time

COMMAND: Final = (
    sys.executable,
    "-c",
    "from pipelines.server.server_watch import end_with_server; end_with_server(); "
    "from pipelines.cli.main import main; main()",
    "fine-tune",
)

LOG_NAME: Final = "training.log"
NICENESS: Final = 10
STOP_S: Final = 5.0
"""Time that a training has to end by itself before it is killed, s."""

DETAIL_LINES: Final = 20


class Trainings:
    """Starts and stops trainings on the accepted labels of a studies folder.

    Args:
        studies: Studies folder.
        networks: Networks that can be trained.
        device: `"auto"` or a torch device.
    """

    def __init__(self, studies: Path, networks: tuple[str, ...], *, device: str = "auto") -> None:
        self.networks = networks
        self._studies = studies
        self._device = device
        self._folder = studies / WORK_FOLDER / TRAINING_FOLDER
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._task: dict[str, Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a training runs that this server has started."""
        return self._process is not None and self._process.poll() is None

    def start(self, network: str, *, epochs: int, batch_size: int) -> dict[str, Any] | None:
        """Start a training.

        Args:
            network: One of `networks`.
            epochs: How often each slice is shown.
            batch_size: Slices at a time.

        Returns:
            What `status` tells, or None if one runs already, of whatever server.

        Raises:
            OutputError: If the studies folder cannot be written to.
        """
        with self._lock:
            if self.is_running or is_locked(self._folder / LOCK_NAME):
                return None
            (self._folder / network / STATUS_NAME).unlink(missing_ok=True)
            options = {"--epochs": epochs, "--batch-size": batch_size, "--device": self._device}
            words = [str(word) for option in options.items() for word in option]
            with (output_folder(self._folder) / LOG_NAME).open("wb") as log:
                self._process = subprocess.Popen(
                    [*COMMAND, str(self._studies), network, *words],
                    stdin=subprocess.PIPE,  # ends when this process does; see `end_with_server`
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
            self._task = {
                "id": str(uuid.uuid4()),
                "status": "RUNNING",
                "model": network,
                "request": {"model": network, "max_epochs": epochs, "batch_size": batch_size},
                "start_ts": job_time(),
            }
        return self.status()

    def status(self) -> dict[str, Any] | None:
        """The latest training in MONAI Label's words, None if there was none.

        Returns:
            `status` is RUNNING, DONE, STOPPED or ERROR; `details` are the last lines of its log, of which
            the last one is `result` too.
        """
        with self._lock:
            if self._task is None or self._process is None:
                return None
            code = self._process.poll()
            if code is not None and self._task["status"] == "RUNNING":
                self._task |= {"status": "DONE" if code == 0 else "ERROR", "end_ts": job_time()}
            text = (self._folder / LOG_NAME).read_text(encoding="utf-8", errors="replace")
            lines = [line.strip() for line in text.splitlines() if line.strip()][-DETAIL_LINES:]
            details = lines or [f"training of {self._task['model']}: {self._task['status']}"]
            return self._task | {"details": details, "result": details[-1]}

    def stop(self) -> dict[str, Any] | None:
        """End the training that runs, if one does; what is served stays.

        Returns:
            What `status` tells.
        """
        with self._lock:
            if self._process is not None and self._task is not None and self.is_running:
                self._process.terminate()
                try:
                    self._process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
                self._task |= {"status": "STOPPED", "end_ts": job_time()}
        return self.status()

    def stats(self, network: str) -> dict[str, Any]:
        """How far the latest training of a network is or went, `{}` if there was none.

        Returns:
            `best_metric`, mean Dice on the validation patients; `epoch`; `total_epochs`; `dice_before` and
            `dice` by structure, of the served and the new weights; once it is over `total_time` in s and
            `published`, the number of the new version or None.
        """
        path = self._folder / network / STATUS_NAME
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def latest_first(self, stats: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Statistics by network, those of the latest training first: the module shows no others."""
        latest = self._task["model"] if self._task else None
        return dict(sorted(stats.items(), key=lambda item: item[0] != latest))


class FineTuning(TrainTask):
    """Training of one network on the accepted labels, as MONAI Label's task.

    Args:
        network: Name of the network.
        trainings: Where it is started.
    """

    def __init__(self, network: str, trainings: Trainings) -> None:
        super().__init__(f"Go on with the weights of {network} on the accepted labels")
        self.network = network
        self._trainings = trainings

    def config(self) -> dict[str, int]:
        """What a client may choose, with its defaults."""
        return {"max_epochs": DEFAULT_EPOCHS, "batch_size": DEFAULT_BATCH}

    def stats(self) -> dict[str, Any]:
        """See `Trainings.stats`."""
        return self._trainings.stats(self.network)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Start it with `max_epochs` and `batch_size`; None if a training runs already."""
        return self._trainings.start(
            self.network, epochs=request["max_epochs"], batch_size=request["batch_size"]
        )
