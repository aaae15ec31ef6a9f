import json
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner
from watched_stand_ins import FAST, copier, leaky, moody

from pipelines.cli.main import app
from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.files import exclusive_lock, file_sha256, is_locked
from pipelines.watching.ledger import Ledger, State
from pipelines.watching.service import check_alive, read_status
from pipelines.watching.studies import Heartbeat
from pipelines.watching.worker import Limits

from .conftest import Watched


def test_every_file_is_done_once_and_copies_not_again(watched: Watched, id_of: Callable[[str], str]) -> None:
    for name, content in (("a.nii", "one"), ("b.nii", "two"), ("sub/copy.nii", "one")):
        watched.put(name, content)
    said = watched.run(copier)
    assert watched.ids() == sorted([id_of("one"), id_of("two")])
    watched.check_whole()
    assert "copy: the same as a-" in said[-1]
    watched.put("late.nii", "three")
    assert [line.split(":")[0] for line in watched.run(copier)] == ["late"]


def test_a_failing_study_is_skipped_with_its_reason_and_the_others_go_on(watched: Watched) -> None:
    bad, _ = watched.put("bad.nii", "bad"), watched.put("good.nii", "good")
    watched.run(moody)
    (folder,) = watched.quarantined
    reason = json.loads((folder / "reason.json").read_text(encoding="utf-8"))
    assert (reason["reason"], reason["tries"]) == ("expected a good file, found a bad one", 1)
    assert reason["sources"][0]["path"] == str(bad)
    assert (
        (folder / "input" / "bad.nii").read_text(encoding="utf-8") == "bad" == bad.read_text(encoding="utf-8")
    )
    assert len(watched.done) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("die", "was killed by SIGKILL"),
        ("raise", "unexpected RuntimeError: nobody foresaw this"),
        ("hang", "took longer than 0 s"),
        ("swell", "expected at most 300 MB of memory, found"),
    ],
)
def test_crashes_and_limits_are_tried_again_and_then_skipped(
    watched: Watched, content: str, reason: str
) -> None:
    watched.put("x.nii", content)
    limits = Limits(study_s=0.4 if content == "hang" else 20, memory_mb=300)
    said = watched.run(moody, replace(FAST, limits=limits, tries=2))
    assert len(said) == 2
    assert said[0].endswith("try 1 of 2")
    told = json.loads((watched.quarantined[0] / "reason.json").read_text(encoding="utf-8"))
    assert reason in told["reason"]
    assert told["tries"] == 2


def test_a_removed_quarantine_folder_means_another_try(watched: Watched) -> None:
    path = watched.put("x.nii", "bad")
    watched.run(moody)
    assert watched.run(moody) == []
    (folder,) = watched.quarantined
    for file in (folder / "input" / path.name, folder / "reason.json"):
        file.unlink()
    (folder / "input").rmdir()
    folder.rmdir()
    assert len(watched.run(copier)) == 1
    assert len(watched.done) == 1


def test_results_that_were_taken_away_are_not_made_again(watched: Watched) -> None:
    watched.put("x.nii", "one")
    watched.run(copier)
    watched.done[0].rename(watched.output.parent / "archived")
    assert watched.run(copier) == []
    assert watched.done == []


def test_a_lost_ledger_is_made_again_from_the_folders(watched: Watched) -> None:
    watched.put("x.nii", "one")
    watched.put("y.nii", "bad")
    watched.run(moody)
    (watched.output / ".watch" / "ledger.sqlite").unlink()
    said = watched.run(moody)
    assert [": the same as " in line for line in said] == [True, True]
    assert (len(watched.done), len(watched.quarantined)) == (1, 1)


@pytest.mark.parametrize("state", [State.WORKING, State.WAITING])
def test_a_folder_that_was_renamed_but_not_recorded_counts(watched: Watched, state: State) -> None:
    watched.put("x.nii", "one")
    watched.run(copier)
    with sqlite3.connect(watched.output / ".watch" / "ledger.sqlite") as base:
        base.execute("UPDATE studies SET state = ?", (str(state),))
        base.execute("DELETE FROM sources")
    said = watched.run(copier)
    assert "the same as" in said[0]
    ledger = Ledger(watched.output / ".watch" / "ledger.sqlite")
    assert ledger.counts()["done"] == 1


def test_an_output_that_cannot_be_written_stops_and_costs_no_try(watched: Watched) -> None:
    watched.put("x.nii", "full")
    for _ in range(4):
        with pytest.raises(OutputError, match="No space left"):
            watched.run(moody)
    assert watched.quarantined == []
    watched.run(copier)
    assert len(watched.done) == 1


def test_a_full_disk_under_the_ledger_stops_and_loses_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        watched.put(f"{number:02}.nii", f"content {number}")
    begin = Ledger.__init__

    def small(self: Ledger, *arguments: object) -> None:
        begin(self, *arguments)
        self._base.execute("PRAGMA max_page_count = 12")

    monkeypatch.setattr(Ledger, "__init__", small)
    with pytest.raises(OutputError, match=r"ledger.*full.*free some space"):
        watched.run(copier)
    assert 0 < len(watched.done) < 40
    monkeypatch.undo()
    watched.run(copier)
    assert len(watched.done) == 40
    watched.check_whole()


def test_an_output_that_is_a_file_is_refused(watched: Watched) -> None:
    watched.output.write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="expected an output folder"):
        watched.run(copier)


def test_only_one_watcher_works_on_an_output(watched: Watched) -> None:
    watched.run(copier)
    lock = watched.output / ".watch" / "lock"
    with exclusive_lock(lock, "test"), pytest.raises(ConfigError, match="expected no other 'thorax watch'"):
        watched.run(copier)


@pytest.mark.parametrize("inside", ["", "studies", "quarantine/x"])
def test_results_are_never_watched(watched: Watched, inside: str) -> None:
    (watched.output / inside).mkdir(parents=True)
    with pytest.raises(ConfigError, match="apart from the results"):
        Watched(watched.output / inside, watched.output).run(copier)
    (watched.output / "in").mkdir()
    assert Watched(watched.output / "in", watched.output).run(copier) == []


def test_an_output_inside_of_the_input_is_not_searched(watched: Watched) -> None:
    inner = Watched(watched.incoming, watched.incoming / "out")
    watched.put("x.nii", "bad")
    inner.run(moody)
    assert len(inner.quarantined) == 1
    assert inner.run(moody) == []


def test_a_worker_that_grows_is_replaced(watched: Watched) -> None:
    for number in range(12):
        watched.put(f"{number:02}.nii", f"content {number}")
    watched.run(partial(leaky, 30), replace(FAST, limits=Limits(memory_mb=300)))
    assert len(watched.done) == 12  # 360 MB in one process would have been killed
    beat = json.loads((watched.output / ".watch" / "heartbeat.json").read_text(encoding="utf-8"))
    assert beat["worker_mb"] < 300


def test_a_file_that_cannot_be_read_is_left_and_does_not_hold_up_the_others(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, _ = watched.put("locked.nii", "one"), watched.put("open.nii", "two")

    def read(path: Path) -> str:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return file_sha256(path)

    monkeypatch.setattr("pipelines.watching.studies.file_sha256", read)
    said = watched.run(copier)
    assert any(line.startswith("cannot read locked yet: ") for line in said)
    assert len(watched.done) == 1
    monkeypatch.undo()
    watched.run(copier)
    assert len(watched.done) == 2


def test_a_file_that_changes_while_it_is_worked_on_is_done_as_it_is_at_the_end(
    watched: Watched, id_of: Callable[[str], str]
) -> None:
    path = watched.put("x.nii", "rewrite")
    said = watched.run(moody)
    assert watched.ids() == [id_of(path.read_text(encoding="utf-8"))]
    assert len(said) == 1


def test_a_file_that_changes_while_another_is_worked_on_is_not_taken_half_written(
    watched: Watched, id_of: Callable[[str], str]
) -> None:
    watched.put("a.nii", "write b")
    watched.put("b.nii", "before")
    said = watched.run(moody)
    assert watched.ids() == sorted([id_of("write b"), id_of("half and the rest")])
    assert [line.split(":")[0] for line in said] == ["a", "b"]


@pytest.mark.parametrize("content", ["good", "bad", "raise"])
def test_a_name_that_is_no_utf8_is_no_obstacle(watched: Watched, content: str) -> None:
    watched.put(os.fsdecode(b"h\xe9.v2.nii"), content)
    said = watched.run(moody)
    assert said[-1].startswith("h?.v2: ")
    assert len([*watched.done, *watched.quarantined]) == 1
    assert watched.run(moody) == []


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
    with exclusive_lock(lock, "test"):
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
    said = CliRunner().invoke(app, ["watch", "status", str(finished.output)]).output
    assert "not running" in said
    assert "1 done, 1 quarantined" in said
    assert "expected a good file, found a bad one" in said.replace("\n", " ")
    told = json.loads(CliRunner().invoke(app, ["watch", "status", str(finished.output), "--json"]).output)
    assert told["counts"]["done"] == 1
    checked = CliRunner().invoke(app, ["watch", "status", str(finished.output), "--check"])
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
    watch(watched.incoming, watched.output, copier, FAST, once=True, report=measure)
    assert time.monotonic() - started < 300
    assert len(memory_mb) == 600
    assert memory_mb[-1] - memory_mb[99] < 5  # what 500 more studies need, with the ledger's own cache
