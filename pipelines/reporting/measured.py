"""Pages that are made from what a command measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import DataError

Page = TypeVar("Page")


def page_of_measured(
    path: Path, command: str, make: Callable[[dict[str, Any]], Page]
) -> tuple[dict[str, Any], Page]:
    """Content of a command's JSON file, and what `make` makes of it.

    Args:
        path: File that the command wrote.
        command: The command, as a user types it.
        make: Turns the content into a page.

    Raises:
        DataError: If there is no such file, or it lacks what this version reads.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content, make(content)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"expected {path} of '{command}', found {error!r}; measure again") from error
