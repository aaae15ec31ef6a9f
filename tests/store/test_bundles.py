"""Bundles there and back, and what is refused on the way."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import torch

from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.models.bundle import read_trusted
from pipelines.store.checksums import CHECKSUMS_NAME, Checksums, FileSum, files_below, sum_of
from pipelines.store.places import FilesPlace
from pipelines.store.transfer import pull_bundle, push_bundle

NAME = "tiny_segmentation"


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    content: dict[str, dict[str, torch.Tensor]]
    content = torch.load(folder / "models" / "tiny" / "model.pt", weights_only=True)
    assert set(content) == {"model"}
    return content["model"]


def test_a_bundle_comes_back_as_it_was_from_each_kind_of_store(
    store: str, bundle: Path, tmp_path: Path
) -> None:
    pushed = push_bundle(bundle, store)
    pulled = pull_bundle(store, NAME, tmp_path / "out")
    assert pulled.fingerprint == pushed.fingerprint
    assert pulled.folder == tmp_path / "out" / NAME
    expected = {name for name in files_below(bundle) if not name.startswith("runs/")}
    assert set(files_below(pulled.folder)) == expected
    for name in expected - {"models/tiny/model.pt"}:
        assert (pulled.folder / name).read_bytes() == (bundle / name).read_bytes()
    before, after = state_of(bundle), state_of(pulled.folder)
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name: tensor.dtype for name, tensor in before.items()} == {
        name: tensor.dtype for name, tensor in after.items()
    }
    assert after["head.weight"].data_ptr() == after["copy.weight"].data_ptr()


def test_no_pickle_is_in_the_store(bundle: Path, tmp_path: Path) -> None:
    push_bundle(bundle, str(tmp_path / "kept"))
    kept = tmp_path / "kept" / NAME
    names = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert "models/tiny/model.safetensors" in names
    assert [name for name in names if name.endswith(".pt")] == []
    assert not any(zipfile.is_zipfile(kept / name) for name in names)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [NAME]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda kept: damage(kept / "configs" / "inference.yaml"), "changed configs/inference.yaml"),
        (
            lambda kept: damage(kept / "models/tiny/model.safetensors"),
            "changed models/tiny/model.safetensors",
        ),
        (lambda kept: (kept / "LICENSE").unlink(), "missing LICENSE"),
        (
            lambda kept: (kept / "configs" / "more.yaml").write_text("a: 1", encoding="utf-8"),
            "additional configs/more.yaml",
        ),
    ],
)
def test_a_damaged_missing_or_additional_file_is_refused_and_named(
    change: Callable[[Path], object], told: str, bundle: Path, tmp_path: Path
) -> None:
    push_bundle(bundle, str(tmp_path / "kept"))
    change(tmp_path / "kept" / NAME)
    with pytest.raises(DataError, match=f"expected the files that were pushed, found others .*: {told}$"):
        pull_bundle(str(tmp_path / "kept"), NAME, tmp_path / "out")
    assert not (tmp_path / "out" / NAME).exists()


def rewrite_checksums(kept: Path, change: Callable[[dict[str, dict[str, object]]], object]) -> None:
    """As somebody who owns the store could: with a fingerprint that fits."""
    content = json.loads((kept / CHECKSUMS_NAME).read_text(encoding="utf-8"))
    change(content["files"])
    files = {name: FileSum(**entry) for name, entry in content["files"].items()}
    (kept / CHECKSUMS_NAME).write_text(Checksums("bundle", files).to_json(), encoding="utf-8")


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["models/evil.pt", "models/evil.pkl", "models/evil.bin"])
def test_a_pickle_with_a_right_checksum_is_refused_and_never_loaded(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    push_bundle(bundle, str(tmp_path / "kept"))
    kept = tmp_path / "kept" / NAME
    mark = tmp_path / "ran"
    if name.endswith(".bin"):
        torch.save(Payload(mark), kept / name)
    else:
        (kept / name).write_bytes(pickle.dumps(Payload(mark)))
    found = sum_of(kept / name)
    rewrite_checksums(kept, lambda files: files.update({name: {"sha256": found.sha256, "size": found.size}}))
    with pytest.raises(DataError, match=f"expected files that run no code .*found {name}"):
        pull_bundle(str(tmp_path / "kept"), NAME, tmp_path / "out")
    assert not mark.exists()
    assert not (tmp_path / "out" / NAME).exists()


@pytest.mark.parametrize("name", ["../evil.yaml", "/evil.yaml", "configs/../../evil.yaml", "C:/evil", "a\\b"])
def test_a_file_outside_of_the_bundle_is_refused(name: str, bundle: Path, tmp_path: Path) -> None:
    push_bundle(bundle, str(tmp_path / "kept"))
    one = {"sha256": "0" * 64, "size": 1}
    rewrite_checksums(tmp_path / "kept" / NAME, lambda files: files.update({name: one}))
    with pytest.raises(DataError, match="expected files inside of the folder"):
        pull_bundle(str(tmp_path / "kept"), NAME, tmp_path / "out")


def test_a_push_that_did_not_end_is_no_bundle_and_goes_on_when_repeated(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fsspec.filesystem("memory")
    put: list[str] = []
    original = type(files).put_file

    def fail_at_the_third(self: object, source: str, target: str, **more: object) -> None:
        put.append(target)
        if len(put) == 4:
            raise OSError("no more network")
        original(self, source, target, **more)

    monkeypatch.setattr(type(files), "put_file", fail_at_the_third)
    with pytest.raises(OutputError, match="cannot write memory://.*no more network.*it resumes"):
        push_bundle(bundle, "memory://kept")
    with pytest.raises(DataError, match="the push did not end"):
        pull_bundle("memory://kept", NAME, tmp_path / "out")
    first, put[:] = list(put), []
    put += ["already failed"] * 5
    push_bundle(bundle, "memory://kept")
    assert first[1] not in put  # the draft of the checksums was the very first
    assert first[3] in put
    assert pull_bundle("memory://kept", NAME, tmp_path / "out").folder.is_dir()
    files.store.clear()


def test_a_pull_that_was_interrupted_goes_on_and_leaves_nothing_behind(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_bundle(bundle, str(tmp_path / "kept"))
    fetched: list[str] = []
    original = FilesPlace.fetch

    def fail_at_the_third(self: FilesPlace, name: str, file: str, target: Path) -> None:
        fetched.append(file)
        if len(fetched) == 3:
            target.write_bytes(b"half")
            raise DataError("no more network")
        original(self, name, file, target)

    monkeypatch.setattr(FilesPlace, "fetch", fail_at_the_third)
    with pytest.raises(DataError, match="no more network"):
        pull_bundle(str(tmp_path / "kept"), NAME, tmp_path / "out")
    assert not (tmp_path / "out" / NAME).exists()
    pull_bundle(str(tmp_path / "kept"), NAME, tmp_path / "out")
    assert [fetched.count(file) for file in fetched[:3]] == [1, 1, 2]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [NAME]


def test_something_else_is_replaced_only_when_asked_for(store: str, bundle: Path, tmp_path: Path) -> None:
    first = push_bundle(bundle, store)
    assert push_bundle(bundle, store) == first
    (bundle / "LICENSE").unlink()
    (bundle / "LICENSE.txt").write_text("other\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"found {first.fingerprint[:12]}.*--overwrite"):
        push_bundle(bundle, store)
    second = push_bundle(bundle, store, replace=True)
    pulled = pull_bundle(store, NAME, tmp_path / "out")
    assert pulled.fingerprint == second.fingerprint != first.fingerprint
    assert (pulled.folder / "LICENSE.txt").is_file()
    assert not (pulled.folder / "LICENSE").exists()


def test_a_pull_vouches_for_configs_only_by_a_fingerprint_or_by_the_user(
    bundle: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "kept")
    pushed = push_bundle(bundle, store)
    assert not pull_bundle(store, NAME, tmp_path / "one").trusted
    assert read_trusted() == {}
    with pytest.raises(DataError, match="expected the fingerprint 0000"):
        pull_bundle(store, NAME, tmp_path / "two", fingerprint="0" * 64)
    assert not (tmp_path / "two").exists()
    assert pull_bundle(store, NAME, tmp_path / "two", fingerprint=pushed.fingerprint).trusted
    assert pull_bundle(store, NAME, tmp_path / "three", trusted=True).trusted
    assert set(read_trusted()) == {str(tmp_path / folder / NAME) for folder in ("two", "three")}


def test_programs_beside_the_weights_stay_where_they_are(bundle: Path, tmp_path: Path) -> None:
    (bundle / "models" / "tiny" / "model.ts").write_bytes(b"PK")
    pushed = push_bundle(bundle, str(tmp_path / "kept"))
    assert pushed.left_out == ("models/tiny/model.ts",)
    assert "models/tiny/model.ts" not in files_below(tmp_path / "kept" / NAME)


def test_what_is_no_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected a bundle with configs/metadata\.json"):
        push_bundle(tmp_path / "empty", str(tmp_path / "kept"))
    with pytest.raises(DataError, match="expected a folder, found none"):
        push_bundle(tmp_path / "none", str(tmp_path / "kept"))
    with pytest.raises(ConfigError, match="expected a name"):
        push_bundle(bundle, str(tmp_path / "kept"), name="../elsewhere")
    torch.save({"model": {"weight": torch.zeros(1)}, "epoch": 3}, bundle / "models" / "tiny" / "model.pt")
    with pytest.raises(ConfigError, match="expected weights and nothing else"):
        push_bundle(bundle, str(tmp_path / "kept"))


def test_a_folder_that_is_there_is_not_overwritten(bundle: Path, tmp_path: Path) -> None:
    push_bundle(bundle, str(tmp_path / "kept"))
    pull_bundle(str(tmp_path / "kept"), NAME, tmp_path / "out")
    with pytest.raises(ConfigError, match="found one; move it away"):
        pull_bundle(str(tmp_path / "kept"), NAME, tmp_path / "out")
