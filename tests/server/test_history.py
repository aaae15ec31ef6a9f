"""What is kept of accepted labels."""

import errno
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import OutputError
from pipelines.core.volume import Volume
from pipelines.server import history
from pipelines.server.history import (
    FINAL,
    ORIGINAL,
    Automatic,
    LabelStore,
    StaleError,
    UnconfirmedError,
)

IMAGE = Volume(np.zeros((4, 5, 2), np.float32), np.diag([10.0, 10.0, 10.0, 1.0]), (10.0, 10.0, 10.0))


def mask(voxels: int) -> np.ndarray:
    """So many millilitres of LV: a voxel of `IMAGE` is one."""
    array = np.zeros(IMAGE.array.shape, np.uint8)
    array.flat[:voxels] = 3
    return array


def test_the_first_label_comes_after_the_automatic_contour(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    record = store.accept("a", mask(5), IMAGE, author="anna", automatic=Automatic(mask(3), "unet", "1.0"))
    assert (record.number, record.author, record.model, record.changed_voxels) == (1, "anna", "unet 1.0", 2)
    assert record.before is not None
    assert record.before["tag"] == ORIGINAL
    assert record.before["volumes_ml"]["lv"] == 3.0
    assert record.after["volumes_ml"]["lv"] == 5.0
    assert int(store.read("a", ORIGINAL).array.sum()) == 9


def test_a_label_drawn_from_nothing_has_nothing_before(tmp_path: Path) -> None:
    record = LabelStore(tmp_path).accept("a", mask(5), IMAGE, author="anna")
    assert (record.before, record.model, record.changed_voxels) == (None, None, None)


def test_every_version_stays_and_tells_what_it_replaced(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    for author, voxels in (("anna", 5), ("ben", 6), ("anna", 4)):
        store.accept("a", mask(voxels), IMAGE, author=author)
    records = store.history("a")
    assert [record["author"] for record in records] == ["anna", "ben", "anna"]
    assert [record["changed_voxels"] for record in records] == [None, 1, 2]
    files = [tmp_path / "labels" / record["after"]["file"] for record in records]
    assert [int((np.asarray(nib.load(file).dataobj) == 3).sum()) for file in files] == [5, 6, 4]
    assert records[2]["before"]["sha256"] == records[1]["after"]["sha256"]
    assert records[2]["before"]["tag"] == FINAL


def test_an_interrupted_write_leaves_the_label_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LabelStore(tmp_path)
    store.accept("a", mask(5), IMAGE, author="anna")

    def full(image: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(nib, "save", full)
        with pytest.raises(OutputError, match="No space left"):
            store.accept("a", mask(6), IMAGE, author="anna")
    assert int((store.read("a").array == 3).sum()) == 5
    assert len(store.history("a")) == 1
    assert [path for path in tmp_path.rglob("*") if "part" in path.name] == []
    assert store.accept("a", mask(6), IMAGE, author="anna").number == 2


def test_a_record_that_cannot_be_written_leaves_the_label_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LabelStore(tmp_path)
    store.accept("a", mask(5), IMAGE, author="anna")

    def full(path: Path, content: Any) -> None:
        raise OutputError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(history, "write_json", full)
        with pytest.raises(OutputError, match="no space left"):
            store.accept("a", mask(6), IMAGE, author="ben", base=1)
    assert int((store.read("a").array == 3).sum()) == 5
    assert store.accept("a", mask(6), IMAGE, author="anna", base=1).before["author"] == "anna"


def test_a_label_that_cannot_take_its_name_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LabelStore(tmp_path)
    store.accept("a", mask(5), IMAGE, author="anna")
    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == store.path("a"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="No space left"):
            store.accept("a", mask(6), IMAGE, author="ben", base=1)
    assert (store.number("a"), int((store.read("a").array == 3).sum())) == (1, 5)
    assert store.accept("a", mask(6), IMAGE, author="ben", base=1).number == 2


def heart(voxels: int) -> np.ndarray:
    """A millilitre of RV and of myocardium, and so many of LV."""
    array = mask(voxels)
    array.flat[-2:] = (1, 2)
    return array


def test_a_save_that_begins_with_an_older_version_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.accept("a", mask(5), IMAGE, author="anna", base=0)
    store.accept("a", mask(6), IMAGE, author="ben", base=1)
    with pytest.raises(
        StaleError, match="expected version 1 to be the newest .* found version 2 by ben"
    ) as stale:
        store.accept("a", mask(4), IMAGE, author="anna", base=1)
    assert stale.value.facts["label_version"] == 2
    assert stale.value.facts["author"] == "ben"
    assert int((store.read("a").array == 3).sum()) == 6
    assert len(store.history("a")) == 2
    assert store.accept("a", mask(4), IMAGE, author="anna", base=2).number == 3


def test_a_version_that_was_never_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match="found no version"):
        LabelStore(tmp_path).accept("a", mask(4), IMAGE, author="anna", base=1)


def test_a_client_that_knows_no_versions_makes_a_new_one_that_names_what_it_replaced(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.accept("a", mask(5), IMAGE, author="ben", base=0)
    record = store.accept("a", mask(3), IMAGE, author="anna")
    assert (record.number, record.base) == (2, None)
    assert record.before is not None
    assert (record.before["number"], record.before["author"]) == (1, "ben")


def test_a_version_keeps_the_model_and_the_contour_that_it_began_with(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.accept("a", mask(5), IMAGE, author="anna", automatic=Automatic(mask(3), "unet", "1.0"), base=0)
    store.accept("a", mask(6), IMAGE, author="anna", base=1, inherits=True)
    store.accept("a", mask(7), IMAGE, author="ben", automatic=Automatic(mask(8), "vnet", "1.0"), base=2)
    first, second, third = store.history("a")
    assert [record["model"] for record in (first, second, third)] == ["unet 1.0", "unet 1.0", "vnet 1.0"]
    assert second["original"] == first["original"]
    for record, voxels in ((first, 3), (third, 8)):
        original = nib.load(tmp_path / "labels" / record["original"]["file"])
        assert int((np.asarray(original.dataobj) == 3).sum()) == voxels
    assert int((store.read("a", ORIGINAL).array == 3).sum()) == 8


def test_what_cannot_be_a_heart_is_kept_only_if_it_is_confirmed_or_nobody_could_ask(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    for wrong, told in ((mask(0), "the label map is empty"), (mask(5), "RV is empty; myocardium is empty")):
        with pytest.raises(UnconfirmedError, match=told):
            store.accept("a", wrong, IMAGE, author="anna", confirmed=False)
    assert store.history("a") == []
    unasked = store.accept("a", mask(0), IMAGE, author="anna")
    assert (unasked.doubts, unasked.confirmed) == (["the label map is empty"], False)
    meant = store.accept("a", mask(5), IMAGE, author="anna", confirmed=True)
    assert (meant.doubts, meant.confirmed) == (["RV is empty", "myocardium is empty"], True)
    assert not store.can_teach("a")
    whole = store.accept("a", heart(20), IMAGE, author="anna", confirmed=False)
    assert (whole.doubts, whole.confirmed) == ([], False)
    assert store.can_teach("a")


def test_nine_litres_of_blood_are_no_heart(tmp_path: Path) -> None:
    affine = np.diag([100.0, 100.0, 100.0, 1.0])
    wide = Volume(IMAGE.array, affine, (100.0, 100.0, 100.0))
    with pytest.raises(UnconfirmedError, match="LV volume of 9000 mL is above 500 mL"):
        LabelStore(tmp_path).accept("a", heart(9), wide, author="anna", confirmed=False)
