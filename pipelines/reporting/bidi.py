"""Foreign words and figures in text that runs from right to left."""

import re

from markupsafe import Markup, escape

from pipelines.reporting.language import Language

RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
"""Letters that run from right to left: Hebrew, Arabic and their like."""

_RUN = re.compile(f"[+\\-]?[A-Za-z0-9](?:(?:(?!: )[^{RIGHT_TO_LEFT}])*[A-Za-z0-9%])?")
"""A run ends before a colon: what follows belongs to the sentence around it."""

RIGHT_TO_LEFT_MARK = "\u200f"


def is_foreign(text: str, language: Language) -> bool:
    """Whether words of another direction stand in a text of a right-to-left language alone."""
    return language.is_rtl and not re.search(f"[{RIGHT_TO_LEFT}]", text)


def isolate(text: str, language: Language) -> Markup:
    """Escaped text whose foreign words and figures keep their order and leave their surroundings alone.

    Args:
        text: Plain text.
        language: Of the text around it. Nothing but escaping is done where it runs from left to right.

    References:
        Unicode Bidirectional Algorithm, https://www.unicode.org/reports/tr9/.
    """
    if not language.is_rtl:
        return escape(text)
    if is_foreign(text, language):
        return Markup('<bdi dir="ltr" lang="en">{}</bdi>').format(text)
    pieces = []
    for piece, is_run in split_runs(text):
        pieces.append(Markup('<bdi dir="ltr">{}</bdi>').format(piece) if is_run else escape(piece))
    return Markup("").join(pieces)


def marked(text: str, language: Language) -> str:
    """Text for programs without isolation: a mark after each foreign run keeps the next one apart."""
    if not language.is_rtl or is_foreign(text, language):
        return text
    return "".join(piece + RIGHT_TO_LEFT_MARK * is_run for piece, is_run in split_runs(text))


def split_runs(text: str) -> list[tuple[str, bool]]:
    """Pieces of a text in their order, each with whether it runs from left to right."""
    pieces: list[tuple[str, bool]] = []
    start = 0
    while found := _RUN.search(text, start):
        end = found.end()
        run = found[0]
        # A bracket that opens within the run closes within it.
        if run.count("(") > run.count(")") and text[end : end + 1] == ")":
            end += 1
        if found.start() > start:
            pieces.append((text[start : found.start()], False))
        pieces.append((text[found.start() : end], True))
        start = end
    if start < len(text):
        pieces.append((text[start:], False))
    return pieces
