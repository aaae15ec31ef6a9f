"""What a command measured is read, or it is said which command to run again."""

from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.reporting.measured import page_of_measured


def test_the_content_and_what_is_made_of_it_come_back(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text('{"dice": 0.5}')
    assert page_of_measured(path, "thorax x", lambda content: f"Dice {content['dice']}") == (
        {"dice": 0.5},
        "Dice 0.5",
    )


@pytest.mark.parametrize("text", [None, "no JSON", "{}", "[]"])
def test_what_is_missing_damaged_or_of_another_version_names_the_command(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "measured.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"expected .*measured\.json of 'thorax x', found .*; measure again"):
        page_of_measured(path, "thorax x", lambda content: content["dice"])
