"""The fixed words of reports in several languages: one file a language, the same keys in each."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import yaml

from pipelines.core.errors import ConfigError

LANGUAGES: Final = Path(__file__).parent / "languages"
"""Folder of the files: `fa.yaml` makes the language `fa` known."""

DEFAULT: Final = "en"

RIGHT_TO_LEFT: Final = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
"""Letters that run from right to left: Hebrew, Arabic and their like."""

ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
"""Characters around a foreign sentence in a text that runs from right to left."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language that reports are written in.

    Attributes:
        code: Tag of BCP 47, e.g. `"fa"`.
        direction: How its lines run.
        texts: Words by key; `{name}` in them stands for a value.
    """

    code: str
    direction: Literal["ltr", "rtl"]
    texts: Mapping[str, str]

    @property
    def is_rtl(self) -> bool:
        """Whether lines run from right to left."""
        return self.direction == "rtl"

    def __call__(self, key: str, **values: object) -> str:
        """Words with their values.

        Args:
            key: Key in the language's file.
            **values: What stands for the `{name}` in them.

        Raises:
            KeyError: If there is no such key or a value is missing.
        """
        if self.is_rtl:
            values = {name: _isolated(value) for name, value in values.items()}
        return self.texts[key].format(**values)

    def name(self, key: str, of: str) -> str:
        """Words for a name in the results, e.g. of a structure; the name itself where there are none."""
        return self.texts.get(f"{key}.{of}", of)


def _isolated(value: object) -> object:
    """A foreign sentence in marks of its own; its colon would end it otherwise."""
    if isinstance(value, str) and ": " in value and not re.search(f"[{RIGHT_TO_LEFT}]", value):
        return f"{ISOLATE}{value}{POP_ISOLATE}"
    return value


def known_languages() -> list[str]:
    """Codes of the languages that have a file."""
    return sorted(path.stem for path in LANGUAGES.glob("*.yaml"))


@functools.cache
def read_language(code: str) -> Language:
    """Language with a code.

    Raises:
        ConfigError: If it has no file.
    """
    if code not in known_languages():
        raise ConfigError(f"expected a language among {', '.join(known_languages())}, found {code!r}")
    content = yaml.safe_load((LANGUAGES / f"{code}.yaml").read_text(encoding="utf-8"))
    return Language(code, content["direction"], content["texts"])
