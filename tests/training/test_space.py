from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.models.bundle import XRAY_BUNDLE, load_config
from pipelines.training.space import Choice, Range, read_space


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_ranges_and_choices_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a: {low: 1, high: 2.5}\nb: {low: 1.0e-4, high: 0.1, log: true}\nc: {choice: [[], [8]]}"
    )
    assert read_space(path) == {
        "a": Range(1.0, 2.5),
        "b": Range(1e-4, 0.1, log=True),
        "c": Choice([[], [8]]),
    }


@pytest.mark.parametrize(
    "entry",
    [
        "3",
        "{low: 2, high: 1}",
        "{low: 0, high: 1, log: true}",
        "{low: 1}",
        "{low: a, high: b}",
        "{low: 1, high: 2, step: 1}",
        "{choice: []}",
        "{choice: 3}",
        "{choice: [1], low: 0}",
    ],
)
def test_an_entry_that_is_no_range_is_told_with_its_name(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigError, match=r"expected dropout to be .*found .*space\.yaml"):
        read_space(write(tmp_path, f"dropout: {entry}"))


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b", "a: [1", "{}"])
def test_a_file_without_settings_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected .*space\.yaml"):
        read_space(write(tmp_path, text))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected settings in .*none\.yaml"):
        read_space(tmp_path / "none.yaml")


def test_the_space_of_the_bundle_holds_settings_that_training_has() -> None:
    """A mistyped name would be searched and do nothing."""
    known = load_config("resnet18", ["train"])
    space = read_space(XRAY_BUNDLE / "configs" / "search.yaml")
    assert [name for name in space if name not in known] == []
    assert "learning_rate" in space
