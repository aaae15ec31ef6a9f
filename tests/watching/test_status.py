"""Tests of what is told of a watched folder, by the functions and by the command."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner
from watched_stand_ins import moody

from pipelines.cli.main import app
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import is_locked, only_one
from pipelines.watching.heartbeat import Heartbeat
from pipelines.watching.status import check_alive, read_status

from .conftest import Watched


@pytest.fixture
def finished(watched: Watched) -> Watched:
    """One study done, one in quarantine."""
    watched.put("good.nii", "good")
    watched.put("bad.nii", "bad")
    watched.run(moody)
    return watched


def test_status_counts_and_lists(finished: Watched) -> None:
    status = read_status(finished.output)
    assert status.counts == {
        "working": 0,
        "waiting": 0,
        "done": 1,
        "quarantined": 1,
        "passed_over": 0,
        "to_send": 0,
    }
    assert not status.is_running
    assert status.beat_age_s is not None
    assert 0 <= status.beat_age_s < 60
    assert status.mean_seconds is not None
    assert [(row["tries"], row["reason"]) for row in status.quarantined] == [
        (1, "expected a good file, found a bad one")
    ]
    assert status.now["ended"] is True


def test_a_watcher_that_holds_the_lock_is_running(finished: Watched) -> None:
    lock = finished.output / ".watch" / "lock"
    with only_one(lock, "test"):
        assert read_status(finished.output).is_running
    assert not is_locked(lock)


def test_only_one_that_runs_and_gives_signs_of_life_is_alive(finished: Watched) -> None:
    status = read_status(finished.output)
    with pytest.raises(ConfigError, match="found none; start it"):
        check_alive(status, finished.output)
    check_alive(replace(status, is_running=True), finished.output)
    with pytest.raises(ConfigError, match="found the last one 500 s ago; restart it"):
        check_alive(replace(status, is_running=True, beat_age_s=500.0), finished.output)


def test_a_folder_that_was_never_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none at"):
        read_status(tmp_path)


def test_the_command_tells_the_same(finished: Watched) -> None:
    said = CliRunner().invoke(app, ["watch-status", str(finished.output)]).output
    assert "not running" in said
    assert "1 done, 1 quarantined" in said
    assert "expected a good file, found a bad one" in said.replace("\n", " ")
    told = json.loads(CliRunner().invoke(app, ["watch-status", str(finished.output), "--json"]).output)
    assert told["counts"]["done"] == 1
    checked = CliRunner().invoke(app, ["watch-status", str(finished.output), "--check"])
    assert isinstance(checked.exception, ConfigError)


def test_a_heartbeat_is_written_now_and_then_and_at_once_when_asked(tmp_path: Path) -> None:
    now_s = 0.0
    path = tmp_path / "heartbeat.json"
    heart = Heartbeat(path, every_s=2, clock=lambda: now_s)

    def told(change: Callable[[], None]) -> int:
        change()
        return int(json.loads(path.read_text(encoding="utf-8"))["arriving"])

    assert told(lambda: heart.beat(arriving=1)) == 1
    assert told(lambda: heart.beat(arriving=2)) == 1
    now_s = 2.0
    assert told(lambda: heart.beat()) == 2
    assert told(lambda: heart.beat(at_once=True, arriving=3)) == 3
    assert json.loads(path.read_text(encoding="utf-8"))["own_mb"] > 1


@pytest.mark.slow
def test_memory_of_the_watcher_does_not_grow_with_the_files(watched: Watched) -> None:
    from watched_stand_ins import FAST, copier

    from pipelines.watching.service import watch

    memory_mb: list[float] = []

    def measure(text: str) -> None:
        memory_mb.append(
            json.loads((watched.output / ".watch" / "heartbeat.json").read_text(encoding="utf-8"))["own_mb"]
        )

    for number in range(600):
        watched.put(f"{number:04}.nii", f"content {number}")
    started = time.monotonic()
    watch(watched.incoming, watched.output, copier, FAST, once=True, say=measure)
    assert time.monotonic() - started < 300
    assert len(memory_mb) == 600
    assert memory_mb[-1] - memory_mb[99] < 5  # what 500 more studies need, with the ledger's own cache
