from pathlib import Path

import pytest

from pipelines.datasets.cache import cache_folder


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
    monkeypatch.setattr(f"pipelines.datasets.cache.{changed}", 0)
    assert cache_folder(tmp_path, [1.5]) != now
