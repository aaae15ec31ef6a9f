"""Datasets there and back, under their terms."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import patient_records, prepare_acdc, read_datalist, select
from pipelines.store.checksums import CHECKSUMS_NAME
from pipelines.store.data import pull_data, push_data, verify_data
from pipelines.store.places import FilesPlace
from pipelines.store.transfer import push_bundle


def accepted(terms: Mapping[str, str]) -> bool:
    return bool(terms["terms"])


@pytest.fixture
def hearts(tmp_path: Path) -> Path:
    """A dataset with its own terms."""
    folder = tmp_path / "hearts"
    for name in ("one", "two", "three"):
        (folder / name).mkdir(parents=True)
        (folder / name / "image.nii.gz").write_bytes(name.encode() * 100)
    (folder / "LICENCE.txt").write_text("For those who asked.\n", encoding="utf-8")
    return folder


def test_what_is_pulled_is_what_was_pushed(store: str, hearts: Path, tmp_path: Path) -> None:
    pushed = push_data(hearts, store, accept=accepted)
    pulled = pull_data(store, "hearts", tmp_path / "out", accept=accepted)
    assert (pulled.fingerprint, pulled.files) == (pushed.fingerprint, 4)
    folder = tmp_path / "out" / "hearts"
    for name in ("one/image.nii.gz", "two/image.nii.gz", "LICENCE.txt"):
        assert (folder / name).read_bytes() == (hearts / name).read_bytes()
    assert not verify_data(folder)
    assert not verify_data(folder, store=store)


def test_every_missing_changed_or_additional_file_is_named(hearts: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "kept")
    push_data(hearts, store, accept=accepted)
    pull_data(store, "hearts", tmp_path / "out", accept=accepted)
    folder = tmp_path / "out" / "hearts"
    (folder / "one" / "image.nii.gz").unlink()
    (folder / "two" / "image.nii.gz").write_bytes(b"TWO" + b"two" * 99)
    (folder / ".hidden").write_text("more", encoding="utf-8")
    expected = ["missing one/image.nii.gz", "changed two/image.nii.gz", "additional .hidden"]
    assert verify_data(folder).lines() == expected
    assert verify_data(folder, store=store).lines() == expected


def test_checksums_that_were_changed_with_a_file_are_found_by_those_in_the_store(
    hearts: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "kept")
    push_data(hearts, store, accept=accepted)
    pull_data(store, "hearts", tmp_path / "out", accept=accepted)
    (hearts / "two" / "image.nii.gz").write_bytes(b"other")
    push_data(hearts, str(tmp_path / "other"), accept=accepted)
    folder = tmp_path / "out" / "hearts"
    shutil.copy(hearts / "two" / "image.nii.gz", folder / "two")
    shutil.copy(tmp_path / "other" / "hearts" / CHECKSUMS_NAME, folder)
    assert not verify_data(folder)
    assert verify_data(folder, store=store).lines() == ["changed two/image.nii.gz"]


def test_terms_are_shown_and_accepted_before_anything_moves(hearts: Path, tmp_path: Path) -> None:
    shown: list[Mapping[str, str]] = []

    def refuse(terms: Mapping[str, str]) -> bool:
        shown.append(terms)
        return False

    store = str(tmp_path / "kept")
    with pytest.raises(ConfigError, match="--accept-licence"):
        push_data(hearts, store, accept=refuse)
    assert not (tmp_path / "kept").exists()
    push_data(hearts, store, accept=accepted)
    with pytest.raises(ConfigError, match="--accept-licence"):
        pull_data(store, "hearts", tmp_path / "out", accept=refuse)
    assert not (tmp_path / "out").exists()
    assert shown == [{"terms": "For those who asked.\n"}] * 2


def test_terms_are_the_folder_s_own_or_the_reader_s_or_a_file_s(hearts: Path, tmp_path: Path) -> None:
    shown: list[Mapping[str, str]] = []

    def accept(terms: Mapping[str, str]) -> bool:
        shown.append(terms)
        return True

    (tmp_path / "terms.md").write_text("Of a file.\n", encoding="utf-8")
    store = str(tmp_path / "kept")
    push_data(hearts, store, accept=accept, reader="acdc", name="both")
    push_data(hearts, store, accept=accept, licence=tmp_path / "terms.md", name="file")
    (hearts / "LICENCE.txt").unlink()
    push_data(hearts, store, accept=accept, reader="acdc", name="reader")
    with pytest.raises(ConfigError, match="expected the terms of the data, found none"):
        push_data(hearts, store, accept=accept)
    assert [terms["terms"] for terms in shown] == [
        "For those who asked.\n",
        "Of a file.\n",
        "CC BY-NC-SA 4.0",
    ]
    assert "Cardiac Diagnosis" in shown[2]["dataset"]
    pull_data(store, "reader", tmp_path / "out", accept=accept)
    assert shown[3] == shown[2]


def test_an_interrupted_pull_fetches_only_what_is_missing(
    hearts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    original = FilesPlace.fetch

    def fail_once(self: FilesPlace, name: str, file: str, target: Path) -> None:
        fetched.append(file)
        if len(fetched) == 3:
            raise KeyboardInterrupt
        original(self, name, file, target)

    monkeypatch.setattr(FilesPlace, "fetch", fail_once)
    push_data(hearts, str(tmp_path / "kept"), accept=accepted)
    with pytest.raises(KeyboardInterrupt):
        pull_data(str(tmp_path / "kept"), "hearts", tmp_path / "out", accept=accepted)
    assert not (tmp_path / "out" / "hearts").exists()
    pull_data(str(tmp_path / "kept"), "hearts", tmp_path / "out", accept=accepted)
    assert [fetched.count(name) for name in fetched[:4]] == [1, 1, 2, 2]
    assert not verify_data(tmp_path / "out" / "hearts")


def test_a_prepared_folder_travels_with_the_images_that_it_lists(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "acdc", patients=5, frames=3, cine=False)
    (tmp_path / "acdc" / "notes.txt").write_text("not listed", encoding="utf-8")
    prepare_acdc(tmp_path / "acdc", tmp_path / "prepared")
    store = str(tmp_path / "kept")
    push_data(tmp_path / "prepared", store, accept=accepted, reader="acdc", name="phantom")
    kept = (tmp_path / "kept" / "phantom" / "datalist.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in kept
    pull_data(store, "phantom", tmp_path / "out", accept=accepted)
    shutil.rmtree(tmp_path / "acdc")  # the link to the dataset is dead
    folder = tmp_path / "out" / "phantom"
    before, after = read_datalist(tmp_path / "prepared"), read_datalist(folder)
    assert (before["fingerprint"], before["split_hash"]) == (after["fingerprint"], after["split_hash"])
    records = patient_records(select(after, "test", 0))
    assert records
    images = [volume.image for record in records for volume in record.volumes]
    assert all(image.is_relative_to(folder / "data") and image.is_file() for image in images)
    assert not list(folder.rglob("notes.txt"))
    assert not verify_data(folder)
    content = json.loads((folder / "datalist.json").read_text(encoding="utf-8"))
    content["volumes"][0]["part"] = 1 if content["volumes"][0]["part"] == 0 else 0
    (folder / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
    assert verify_data(folder).lines() == ["changed datalist.json"]


def test_a_program_or_a_link_among_the_data_is_refused(hearts: Path, tmp_path: Path) -> None:
    (hearts / "one" / "cache.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="what could run code: one/cache.pkl"):
        push_data(hearts, str(tmp_path / "kept"), accept=accepted)
    (hearts / "one" / "cache.pkl").unlink()
    (hearts / "one" / "link.nii.gz").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match="found links: one/link.nii.gz"):
        push_data(hearts, str(tmp_path / "kept"), accept=accepted)


def test_a_folder_without_checksums_cannot_be_verified(hearts: Path) -> None:
    with pytest.raises(DataError, match=r"expected checksums\.json"):
        verify_data(hearts)


def test_a_bundle_is_not_pulled_as_data(bundle: Path, tmp_path: Path) -> None:
    push_bundle(bundle, str(tmp_path / "kept"))
    with pytest.raises(DataError, match="expected a data in .*found a bundle"):
        pull_data(str(tmp_path / "kept"), bundle.name, tmp_path / "out", accept=accepted)
