"""What is kept of accepted labels."""

import errno
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import OutputError
from pipelines.core.volume import Volume
from pipelines.server.history import FINAL, ORIGINAL, Automatic, LabelStore

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
