"""What was found is kept, and done again only if its settings changed."""

from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.training.checks.case import RECIPE_NAME, Record, Verdict

HEAD = {"network": "unet"}
FOUND = Verdict(True, 1.0, "figure", "one", "as it should be", {"more": [1, 2]})


def refuse() -> Verdict:
    raise AssertionError("done twice")


def test_a_finished_step_is_not_done_again(tmp_path: Path) -> None:
    Record(tmp_path, HEAD).step("a", "A", {"steps": 3}, lambda: FOUND)
    entry = Record(tmp_path, HEAD).step("a", "A", {"steps": 3}, refuse)
    assert (entry["finding"], entry["details"]) == ("as it should be", {"more": [1, 2]})


def test_a_step_with_other_settings_is_done_again_and_so_are_those_after_it(tmp_path: Path) -> None:
    record = Record(tmp_path, HEAD)
    for name in "abc":
        record.step(name, name, {"steps": 3}, lambda: FOUND)
    record.step("b", "b", {"steps": 4}, lambda: FOUND)
    assert list(Record(tmp_path, HEAD).content["steps"]) == ["a", "b"]


def test_parts_of_an_interrupted_step_are_kept(tmp_path: Path) -> None:
    record = Record(tmp_path, HEAD)

    def interrupted() -> Verdict:
        record.part("first", lambda: 7)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record.step("a", "A", {}, interrupted)
    again = Record(tmp_path, HEAD)
    assert again.content["steps"] == {}
    assert again.part("first", refuse) == 7


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    Record(tmp_path, HEAD).write()
    with pytest.raises(ConfigError, match="expected a recipe of the same network and data"):
        Record(tmp_path, {"network": "vnet"})


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / RECIPE_NAME).write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a recipe to go on with"):
        Record(tmp_path, HEAD)
