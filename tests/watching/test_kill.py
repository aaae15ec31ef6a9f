"""The watcher as a process that is killed and asked to end at any moment."""

import hashlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import watched_stand_ins

from pipelines.watching.ledger import Ledger

from .conftest import Watched


def start(watched: Watched, processor: str, *options: str) -> subprocess.Popen[str]:
    script = Path(watched_stand_ins.__file__)
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, str(script), str(watched.incoming), str(watched.output), processor, *options],
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{script.parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def finished(watched: Watched) -> int:
    studies = watched.output / "studies"
    return len(list(studies.iterdir())) if studies.is_dir() else 0


def wait_until(condition: Callable[[], bool], seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def kill_at_random(watched: Watched, files: int, most_between: int, seed: int) -> int:
    """Start the watcher and kill it, or its worker, again and again until all is done; the kills."""
    chance = random.Random(seed)
    kills = 0
    while finished(watched) < files:
        process = start(watched, "copier", "--many-tries")
        goal = min(finished(watched) + chance.randint(0, most_between), files)
        wait_until(lambda goal=goal: finished(watched) >= goal)
        time.sleep(chance.uniform(0, 0.05))
        workers = [one for one in psutil.Process(process.pid).children() if one.cmdline()[-1:] != ["-c"]]
        if workers and chance.random() < 0.3:
            chance.choice(workers).kill()
            kills += 1
            time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
        kills += 1
    last = start(watched, "copier", "--many-tries", "--once")
    assert last.wait(timeout=200) == 0, last.stdout and last.stdout.read()
    return kills


def check_exactly_once(watched: Watched, contents: dict[str, str], id_of: Callable[[str], str]) -> None:
    assert watched.ids() == sorted(id_of(content) for content in contents.values())
    watched.check_whole()
    assert watched.quarantined == []
    for folder in watched.done:
        name = folder.name.rpartition("-")[0]
        halves = [(folder / f"{half}_half.bin").read_text(encoding="utf-8") for half in ("first", "second")]
        assert "".join(halves) == contents[f"{name}.nii"]
    for name, content in contents.items():
        assert (watched.incoming / name).read_text(encoding="utf-8") == content
    counts = Ledger(watched.output / ".watch" / "ledger.sqlite").counts()
    assert (counts["done"], counts["working"], counts["waiting"]) == (len(contents), 0, 0)


def put_files(watched: Watched, number: int) -> dict[str, str]:
    contents = {
        f"f{index:03}.nii": hashlib.sha256(bytes([index])).hexdigest() * 20 for index in range(number)
    }
    for name, content in contents.items():
        watched.put(name, content)
    return contents


def test_a_few_kills_lose_and_double_nothing(watched: Watched, id_of: Callable[[str], str]) -> None:
    contents = put_files(watched, 8)
    assert kill_at_random(watched, 8, most_between=4, seed=1) >= 2
    check_exactly_once(watched, contents, id_of)


@pytest.mark.slow
def test_kills_at_random_over_a_hundred_files_lose_and_double_nothing(
    watched: Watched, id_of: Callable[[str], str]
) -> None:
    contents = put_files(watched, 100)
    assert kill_at_random(watched, 100, most_between=2, seed=2) >= 20
    check_exactly_once(watched, contents, id_of)


def test_a_file_that_the_watcher_dies_on_again_and_again_is_skipped(watched: Watched) -> None:
    watched.put("x.nii", "one")
    work = watched.output / ".watch" / "work"
    for _ in range(3):
        process = start(watched, "endless")
        wait_until(lambda mine=f"{process.pid}-*": any(work.glob(mine)))
        process.kill()
        process.wait()
    last = start(watched, "copier", "--once")
    assert last.wait(timeout=200) == 0
    assert "the watcher ended while it worked on it" in (watched.quarantined[0] / "reason.json").read_text(
        encoding="utf-8"
    )


def test_a_killed_watcher_takes_its_worker_along(watched: Watched) -> None:
    watched.put("x.nii", "one")
    process = start(watched, "endless")
    # The worker, and the process with which multiprocessing keeps track of resources.
    wait_until(lambda: len(psutil.Process(process.pid).children()) == 2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=100)  # a worker that is still importing ends after that
    assert alive == []


@pytest.mark.parametrize(
    ("processor", "options", "done"), [("slow", [], 1), ("endless", ["--hasty"], 0)], ids=["short", "long"]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_finishes_or_leaves_the_study_in_hand(
    watched: Watched, processor: str, options: list[str], done: int, number: signal.Signals
) -> None:
    watched.put("x.nii", "one")
    watched.put("y.nii", "two")
    process = start(watched, processor, *options)
    wait_until(lambda: any((watched.output / ".watch" / "work").glob("*")))
    process.send_signal(number)
    assert process.wait(timeout=200) == 0
    assert finished(watched) == done
    ledger = Ledger(watched.output / ".watch" / "ledger.sqlite")
    assert all(row.tries == 0 for row in ledger.in_state(ledger_state(done)))
    ledger.close()
    watched.run(watched_stand_ins.copier)
    assert len(watched.done) == 2
    watched.check_whole()


def ledger_state(done: int) -> str:
    return "working" if done else "waiting"


@pytest.mark.slow
def test_a_disk_that_is_full_ends_it_and_the_next_start_goes_on(watched: Watched) -> None:
    """On a file system of 600 kB, seen by the commands of this test only."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("unshare --mount is not permitted here, which a file system of its own needs")
    for number in range(30):
        (watched.incoming / f"{number}.nii").write_bytes(random.Random(number).randbytes(30_000))
    watched.output.mkdir()
    script = Path(watched_stand_ins.__file__)
    watcher = shlex.join(
        [sys.executable, str(script), str(watched.incoming), str(watched.output), "copier", "--once"]
    )
    there = shlex.quote(str(watched.output))
    commands = (
        f"mount -t tmpfs -o size=600k tmpfs {there} || exit 77\n"
        f"{watcher} > /dev/null 2> {there}.errors; echo $?; ls {there}/studies | wc -l\n"
        f"mount -o remount,size=20m {there}\n"
        f"{watcher} > /dev/null; echo $?; ls {there}/studies | wc -l; ls {there}/quarantine | wc -l\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", commands],
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{script.parent}"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if run.returncode == 77:
        pytest.skip(f"a file system of its own cannot be mounted here: {run.stderr}")
    first, some, second, every, failed = map(int, run.stdout.split())
    assert (first, second, every, failed) == (1, 0, 30, 0)
    assert 0 < some < 30
    errors = (watched.output.parent / f"{watched.output.name}.errors").read_text(encoding="utf-8")
    assert "OutputError" in errors
    assert "free some space" in errors
