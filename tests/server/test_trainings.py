"""Trainings end with their server, and there is never a second one in a folder."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.server import trainings as module
from pipelines.server.trainings import Trainings

from .conftest import until

SLEEP = (
    "from pipelines.server.server_watch import end_with_server; end_with_server(); "
    "import time; time.sleep(60)"
)


def test_a_training_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    starter = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert is_alive(pid)
        server.kill()
    until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_command_of_a_training_watches_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", SLEEP))
    trainings = Trainings(tmp_path, ("unet",))
    assert trainings.start("unet", epochs=1, batch_size=1) is not None
    process = trainings._process
    assert process is not None
    assert process.stdin is not None
    assert trainings.is_running
    process.stdin.close()  # as the system does when the server is gone
    assert process.wait(20) == 1


def test_a_training_of_another_server_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / ".thorax" / "training"
    folder.mkdir(parents=True)
    (folder / "training.log").write_text("epoch 3", encoding="utf-8")
    with (folder / "running").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Trainings(tmp_path, ("unet",)).start("unet", epochs=1, batch_size=1) is None
    assert (folder / "training.log").read_text(encoding="utf-8") == "epoch 3"
