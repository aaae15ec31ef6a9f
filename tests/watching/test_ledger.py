"""Tests of the ledger by itself."""

import os
from pathlib import Path

import pytest

from pipelines.core.errors import OutputError
from pipelines.watching.ledger import Ledger, Stamp, State, content_id


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_claims_are_counted_and_given_back(ledger: Ledger) -> None:
    assert [ledger.claim("a", folder="x", kind="heart", origin="o") for _ in range(2)] == [1, 2]
    ledger.give_back("a")
    row = ledger.study("a")
    assert row is not None
    assert (row.tries, row.state) == (1, State.WAITING)


def test_a_file_is_known_until_it_changes(ledger: Ledger) -> None:
    path = Path(os.fsdecode(b"/data/\xff name\n.nii"))
    ledger.ignore_files({path: Stamp(5, 7)})
    assert ledger.knows(path, Stamp(5, 7))
    assert not ledger.knows(path, Stamp(5, 8))
    assert not ledger.knows(path, Stamp(6, 7))


def test_what_is_forgotten_is_new_again(ledger: Ledger) -> None:
    ledger.claim("a", folder="x", kind="heart", origin="o")
    ledger.end("a", State.QUARANTINED, reason="bad", sources={Path("/f"): Stamp(1, 2)}, dicom_study="1.2")
    assert ledger.files_of("1.2") == [Path("/f")]
    ledger.forget("a")
    assert ledger.study("a") is None
    assert not ledger.knows(Path("/f"), Stamp(1, 2))


def test_earlier_studies_of_the_same_origin_are_found(ledger: Ledger) -> None:
    for identity in "abc":
        ledger.claim(identity, folder=f"folder-{identity}", kind="heart", origin="series")
    ledger.end("a", State.DONE)
    assert ledger.earlier("series", "b") == ["folder-a"]
    assert ledger.earlier("series", "a") == []


def test_segmentations_are_to_be_sent_until_they_are(ledger: Ledger) -> None:
    ledger.claim("a", folder="x", kind="heart", origin="o")
    ledger.end("a", State.DONE, to_send=True)
    assert [row.id for row in ledger.to_send()] == ["a"]
    assert ledger.counts()["to_send"] == 1
    ledger.sent("a")
    assert ledger.to_send() == []


def test_everything_is_there_after_opening_again(ledger: Ledger) -> None:
    ledger.claim("a", folder="x", kind="heart", origin="o")
    ledger.fetched({"1.2": 12})
    again = Ledger(ledger.path, read_only=True)
    assert [row.id for row in again.in_state(State.WORKING)] == ["a"]
    assert (again.fetched_instances("1.2"), again.fetched_instances("1.3")) == (12, 0)
    with pytest.raises(OutputError, match="readonly"):
        again.sent("a")


def test_a_damaged_ledger_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(OutputError, match=r"remove it: the folders in 'studies' tell what is done"):
        Ledger(path)


def test_identity_is_that_of_the_content_whatever_the_order() -> None:
    assert content_id(["b", "a", "a"]) == content_id(["a", "b"]) != content_id(["a"])
