"""A result as a document: sections of sentences, tables and pictures, in words of several languages."""

import base64
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from pipelines.core.errors import ConfigError, DataError

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
        phrases: Translations of the English sentences that commands store and renderers write; `{}` stands
            for any text, which is translated too, and `{n}` for a number.
    """

    code: str
    direction: Literal["ltr", "rtl"]
    texts: Mapping[str, str]
    phrases: Mapping[str, str] = field(default_factory=dict)

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
        if self.phrases:
            values = {
                name: self.translated(value) if isinstance(value, str) else value
                for name, value in values.items()
            }
        if self.is_rtl:
            values = {name: _isolated(value) for name, value in values.items()}
        return self.texts[key].format(**values)

    def translated(self, text: str) -> str:
        """An English text in this language, as far as `phrases` has it; other texts as they are.

        A text that is no phrase is translated sentence by sentence, then part by part.
        """
        if not self.phrases or not re.search("[A-Za-z]{2}", text) or re.search(f"[{RIGHT_TO_LEFT}]", text):
            return text
        bare = text.rstrip()
        if bare in self.phrases:
            return self.phrases[bare]
        for pattern, phrase in _patterns(self.code):
            if found := pattern.fullmatch(bare):
                return phrase.format(*map(self.translated, found.groups()))
        for mark, own in SEPARATORS:
            parts = re.split(mark, bare)
            done = [self.translated(part) for part in parts] if len(parts) > 1 else parts
            if done != parts:
                return own.join(done)
        return f"{self.translated(bare[:-1])}." if bare.endswith(".") else text

    def titles(self, *keys: str) -> list[str]:
        """Words of each key, as for a header; what is no key stands for itself."""
        return [self.texts.get(key, key) for key in keys]

    def name(self, key: str, of: str) -> str:
        """Words for a name in the results, e.g. of a structure; the name itself where there are none."""
        return self.texts.get(f"{key}.{of}", of)


def _isolated(value: object) -> object:
    """A foreign sentence in marks of its own; its colon would end it otherwise."""
    if isinstance(value, str) and ": " in value and not re.search(f"[{RIGHT_TO_LEFT}]", value):
        return f"{ISOLATE}{value}{POP_ISOLATE}"
    return value


SEPARATORS: Final = ((r"(?<=\.) ", " "), ("; ", "؛ "), (", ", "، "), (": ", ": "))
"""What divides a text into parts, and what stands between these in a language from right to left."""


@functools.cache
def _patterns(code: str) -> list[tuple[re.Pattern[str], str]]:
    """Phrases with places for values, those with most words of their own first.

    A place holds a part of one sentence; at an end and after a colon it may hold a list.
    """
    phrases = [item for item in read_language(code).phrases.items() if "{" in item[0]]
    phrases.sort(key=lambda item: -len(re.sub(r"\{n?\}", "", item[0])))
    patterns = []
    for source, phrase in phrases:
        pieces = re.split(r"(\{n?\})", source)
        for index in range(1, len(pieces), 2):
            is_list = pieces[index - 1].endswith(": ") or "".join(pieces[index + 1 :]) in ("", ".")
            stop = r"\. [A-Z]" if is_list or "; " in source else r"\. [A-Z]|; "
            stop += "" if is_list or ": " in source else "|: "
            text = "(.+?)" if ". " in source else f"((?:(?!{stop}).)+?)"
            pieces[index] = r"([+-]?[\d.,]+%?)" if pieces[index] == "{n}" else text
        pieces[::2] = map(re.escape, pieces[::2])
        patterns.append((re.compile("".join(pieces)), phrase.replace("{n}", "{}")))
    return patterns


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
    import yaml  # here, for a quick `thorax --help`

    content = yaml.safe_load((LANGUAGES / f"{code}.yaml").read_text(encoding="utf-8"))
    return Language(code, content["direction"], content["texts"], content.get("phrases", {}))


Cell = str | float | int | None

MISSING = "–"
"""Shown for a value that is not defined."""


class Format(StrEnum):
    """A medium that a report is written in."""

    HTML = "html"
    PDF = "pdf"
    PPTX = "pptx"
    MD = "md"

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return "slides.pptx" if self is Format.PPTX else f"report.{self}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first column names the rows.

    Attributes:
        caption: What the table shows, with units that its header does not have.
        header: Column titles, units included.
        rows: One cell a column; floats are shown with one digit, None as not defined.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def texts(self) -> list[list[str]]:
        """Text of each cell, empty for None.

        Raises:
            DataError: If a row does not fit the header.
        """
        wrong = [len(row) for row in self.rows if len(row) != len(self.header)]
        if wrong:
            raise DataError(
                f"expected {len(self.header)} cells in each row of {self.caption!r}, found {wrong[0]}"
            )
        return [["" if cell is None else cell_text(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with a caption.

    Attributes:
        path: PNG file, which must exist.
        alt: Description for those who do not see it.
        caption: Text below the picture.
        of_patient: It shows a patient: pages to publish leave it out.
    """

    path: Path
    alt: str
    caption: str = ""
    of_patient: bool = False

    def data_uri(self) -> str:
        """The picture's bytes as a `data:` address.

        Raises:
            DataError: If the file is missing.
        """
        return "data:image/png;base64," + base64.b64encode(self.content()).decode("ascii")

    def content(self) -> bytes:
        """The picture's bytes.

        Raises:
            DataError: If the file is missing.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"expected a picture at {self.path}, found {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class BarChart(Picture):
    """A picture of bars that a program for slides can draw itself.

    Attributes:
        categories: Names along the axis.
        series: Values of each series by its name, one a category; None where there is none.
    """

    categories: Sequence[str] = ()
    series: Sequence[tuple[str, Sequence[float | None]]] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A work or a page that the text cites.

    Attributes:
        text: The citation.
        url: Where it is.
    """

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document under its own heading.

    Attributes:
        title: Heading, unique in the document.
        paragraphs: Plain text.
        points: Short sentences, a list below the paragraphs.
        tables: Below the points.
        pictures: Below the tables.
        references: Links, a list.
        listing: Preformatted text at the end.
        level: 2 for a chapter, 3 for a part of the chapter before it.
        block: Name of the marked lines of a page that take this section, see `markdown.fill`.
        chapter: Chapter of a report that takes the section; that of its kind without it.
        is_detail: Slides leave it to the report.
    """

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    references: Sequence[Reference] = ()
    listing: str = ""
    level: Literal[2, 3] = 2
    block: str = ""
    chapter: str = ""
    is_detail: bool = False

    def without_patients(self) -> "Section":
        """The section without its pictures of patients."""
        return replace(self, pictures=[one for one in self.pictures if not one.of_patient])


@dataclass(frozen=True, slots=True)
class Document:
    """A result, or a report on several, before it is written.

    Attributes:
        title: Title.
        lead: First paragraph.
        sections: In order.
        limits: What its values do not show, a sentence each.
        suggestions: What follows from its values by rule, a sentence each.
        is_sheet: Laid out on one page, without contents.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    limits: Sequence[str] = ()
    suggestions: Sequence[str] = ()
    is_sheet: bool = False


UNTRANSLATED: Final = ("path", "url", "listing", "block", "chapter", "categories", "series")
"""Fields of the parts of a document that are no words for the reader."""


def rewritten(document: Document, rewrite: Callable[[str], str]) -> Document:
    """The document with each sentence, heading, cell and caption as `rewrite` returns it."""

    def turned(part: Any) -> Any:
        if isinstance(part, str):
            return rewrite(part)
        if isinstance(part, list | tuple):
            return [turned(one) for one in part]
        if not is_dataclass(part) or isinstance(part, type):
            return part
        own = {one.name: getattr(part, one.name) for one in fields(part) if one.name not in UNTRANSLATED}
        return replace(part, **{name: turned(value) for name, value in own.items()})

    whole: Document = turned(document)
    return whole


def without_marks(text: str) -> str:
    """A text without the marks of Markdown for bold words and code, which other media show as they are."""
    return re.sub(r"(\*\*|`)(.+?)\1", r"\2", text)


def cell_text(value: Cell) -> str:
    """Text of a cell: floats with one digit, and a dash for what is not defined."""
    if value is None or value != value:  # NaN alone differs from itself
        return MISSING
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def number(value: float | None, digits: int, sign: str = "") -> str | None:
    """A value with so many digits after the point, None for None or NaN.

    Args:
        value: The value.
        digits: Digits after the point.
        sign: `"+"` shows the sign of positive values too.
    """
    return None if value is None or value != value else f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def interval(ends: Sequence[float | None] | None, digits: int, words: Language) -> str | None:
    """Both ends of an interval, None where there is none."""
    if ends is None or None in ends:
        return None
    low, high = (number(end, digits) for end in ends)
    return words("figure.interval", low=low, high=high)


def estimate(
    value: float | None, ends: Sequence[float | None] | None, digits: int, words: Language
) -> str | None:
    """A value with its interval in brackets, where it has one."""
    shown, between = number(value, digits), interval(ends, digits, words)
    return f"{shown} ({between})" if shown and between else shown


def p_text(p_value: float | None) -> str | None:
    """A p-value with three digits."""
    return "< 0.001" if p_value is not None and p_value < 0.001 else number(p_value, 3)


def duration(seconds: float | None) -> str | None:
    """Seconds in hours and minutes."""
    if seconds is None:
        return None
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
