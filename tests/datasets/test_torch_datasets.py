from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.transforms import Compose, Transform

from pipelines.datasets.torch_datasets import SliceDataset, cache_folder


def test_equal_settings_share_a_folder(tmp_path: Path) -> None:
    first = cache_folder(tmp_path, {"spacing_mm": 1.5, "field_px": [192, 192]})
    assert first == cache_folder(tmp_path, {"field_px": [192, 192], "spacing_mm": 1.5})
    assert first.parent == tmp_path


@pytest.mark.parametrize("settings", [[1.5, [192, 160]], [1.25, [192, 192]], [1.5], None])
def test_changed_settings_have_another_folder(tmp_path: Path, settings: object) -> None:
    assert cache_folder(tmp_path, settings) != cache_folder(tmp_path, [1.5, [192, 192]])


@pytest.mark.parametrize("changed", ["monai.__version__", "FORMAT"])
def test_other_code_has_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    now = cache_folder(tmp_path, [1.5])
    monkeypatch.setattr(f"pipelines.datasets.torch_datasets.{changed}", 0)
    assert cache_folder(tmp_path, [1.5]) != now


class Preprocessing(Transform):
    """Two channels of two 8 x 4 slices; the heart is the pixel in row 1 and column 3 of slice 1."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, item: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        self.calls.append(item["image"])
        label = torch.zeros(1, 8, 4, 2)
        label[0, 1, 3, 1] = 3 if item["image"] != "empty" else 0
        return {"image": torch.arange(2 * 8 * 4 * 2.0).reshape(2, 8, 4, 2), "label": label}


def dataset(
    tmp_path: Path, transform: Transform, *, image: str = "a", fingerprint: str = "1", settings: Any = 1.5
) -> SliceDataset:
    data = [{"image": image, "label": "a_gt", "fingerprint": fingerprint}]
    return SliceDataset(data, transform, tmp_path, settings)


def test_each_slice_of_each_volume_is_an_item(tmp_path: Path) -> None:
    data = [{"image": name, "label": "", "fingerprint": name} for name in "ab"]
    slices = SliceDataset(data, Preprocessing(), tmp_path, None)
    assert len(slices) == 4
    item = slices[1]
    assert (item["image"].shape, item["image"].dtype) == ((2, 8, 4), torch.float16)
    assert (item["label"].shape, item["label"].dtype) == ((1, 8, 4), torch.uint8)
    assert torch.equal(item["image"].float(), torch.arange(128.0).reshape(2, 8, 4, 2)[..., 1])
    assert item["label"].nonzero().tolist() == [[0, 1, 3]]
    assert not slices[0]["label"].any()


def test_the_centre_of_the_heart_is_the_same_for_all_slices_of_a_volume(tmp_path: Path) -> None:
    slices = dataset(tmp_path, Preprocessing())
    # pixel centres lie at (2 i + 1) / n - 1: (2 * 1 + 1) / 8 - 1 and (2 * 3 + 1) / 4 - 1
    for item in (slices[0], slices[1]):
        assert torch.allclose(item["center"], torch.tensor([-0.625, 0.75]))


def test_a_volume_without_a_heart_is_centred_in_its_middle(tmp_path: Path) -> None:
    assert torch.equal(dataset(tmp_path, Preprocessing(), image="empty")[0]["center"], torch.zeros(2))


def test_preprocessing_is_done_once(tmp_path: Path) -> None:
    transform = Preprocessing()
    first, second = dataset(tmp_path, transform), dataset(tmp_path, transform)
    assert transform.calls == ["a"]
    assert torch.equal(first[1]["image"], second[1]["image"])


def test_preprocessing_that_is_nested_is_done_once_too(tmp_path: Path) -> None:
    transform = Preprocessing()
    for _ in range(2):
        dataset(tmp_path, Compose([Compose([Compose([transform])])]))
    assert transform.calls == ["a"]


def test_the_cache_notices_changed_data_and_changed_settings(tmp_path: Path) -> None:
    transform = Preprocessing()
    dataset(tmp_path, transform)
    dataset(tmp_path, transform, fingerprint="2")
    assert len(transform.calls) == 2
    dataset(tmp_path, transform, settings=1.25)
    assert len(transform.calls) == 3
    dataset(tmp_path, transform)
    assert len(transform.calls) == 3
