"""What the steps of a recipe found, kept so that none is done twice."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_json

RECIPE_NAME: Final = "recipe.json"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step found.

    Attributes:
        passed: Whether the figure is as expected.
        figure: The figure, None if there is none.
        measures: What the figure is, with its unit.
        expectation: What was expected of it, and why.
        finding: What it means and what to do, in plain words.
        details: Further figures.
    """

    passed: bool
    figure: float | None
    measures: str
    expectation: str
    finding: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Record:
    """Findings of the steps in `recipe.json`, written after each step and each part of one.

    A step or part that was finished with the same settings is taken from the file.

    Args:
        folder: Folder of the recipe; made if it does not exist.
        head: What the recipe is about; kept beside the steps.

    Raises:
        ConfigError: If the folder holds a recipe of something else or an unreadable one.
        OutputError: If it cannot be written.
    """

    def __init__(self, folder: Path, head: Mapping[str, Any]) -> None:
        self.path = output_folder(folder) / RECIPE_NAME
        self.content: dict[str, Any] = {**head, "finished": False, "steps": {}, "parts": {}}
        if self.path.is_file():
            try:
                found = json.loads(self.path.read_text(encoding="utf-8"))
                same = {name: found[name] for name in head} == json.loads(json.dumps(dict(head)))
                self.content["steps"], self.content["parts"] = found["steps"], found["parts"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"expected a recipe to go on with in {self.path}, found {error!r}"
                ) from error
            if not same:
                raise ConfigError(
                    f"expected a recipe of the same network and data in {self.path}, found another; "
                    "choose another folder by --output"
                )

    def step(
        self, name: str, title: str, settings: Mapping[str, Any], perform: Callable[[], Verdict]
    ) -> dict[str, Any]:
        """Finding of a step, which is performed unless it was with these settings.

        Args:
            name: Name of the step.
            title: Its heading.
            settings: All that its finding depends on, as JSON can hold it.
            perform: Does the step.

        Returns:
            The verdict with `title`, `settings` and `seconds`.
        """
        key = json.loads(json.dumps(dict(settings)))
        known: dict[str, Any] | None = self.content["steps"].get(name)
        if known is not None and known["settings"] == key:
            return known
        if known is not None:  # what comes after rests on it
            names = list(self.content["steps"])
            for later in names[names.index(name) :]:
                del self.content["steps"][later]
        begin = time.perf_counter()
        verdict = perform()
        entry = {"title": title, "settings": key, **asdict(verdict), "seconds": time.perf_counter() - begin}
        self.content["steps"][name] = entry
        self.write()
        return entry

    def part(self, key: str, compute: Callable[[], Any]) -> Any:
        """Result of a part of a step, computed unless it was.

        Args:
            key: Name of the part with all that it depends on.
            compute: Gives what JSON can hold.
        """
        if key not in self.content["parts"]:
            self.content["parts"][key] = compute()
            self.write()
        return self.content["parts"][key]

    def write(self) -> None:
        """Write `recipe.json`."""
        write_json(self.path, self.content)
