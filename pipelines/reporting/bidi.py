"""Foreign words and figures in text that runs from right to left."""

import re

from markupsafe import Markup, escape

from pipelines.reporting.language import ISOLATE, POP_ISOLATE, RIGHT_TO_LEFT, Language

_RUN = re.compile(
    f"{ISOLATE}[^{POP_ISOLATE}]*{POP_ISOLATE}"
    f"|[+\\-]?[A-Za-z0-9](?:(?:(?!: )[^{RIGHT_TO_LEFT}{ISOLATE}])*[A-Za-z0-9%])?"
)
"""A marked sentence, or words and figures up to a colon: what follows it belongs to the text around."""

RIGHT_TO_LEFT_MARK, EMBED, POP = "\u200f", "\u202a", "\u202c"
"""For programs that know no isolation: a letter of no width, and the ends of an embedding."""


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
    return Markup("").join(
        Markup('<bdi dir="ltr">{}</bdi>').format(piece) if is_run else escape(piece)
        for piece, is_run in split_runs(text)
    )


def marked(text: str, language: Language) -> str:
    """Text for programs without isolation: foreign runs are embedded, and a mark keeps the next apart."""
    if not language.is_rtl:
        return text
    if is_foreign(text, language):
        return f"{EMBED}{text}{POP}"
    return "".join(
        f"{EMBED}{piece}{POP}{RIGHT_TO_LEFT_MARK}" if is_run else piece for piece, is_run in split_runs(text)
    )


def split_runs(text: str) -> list[tuple[str, bool]]:
    """Pieces of a text in their order, each with whether it runs from left to right."""
    pieces: list[tuple[str, bool]] = []
    start = 0
    while found := _RUN.search(text, start):
        begin, end = found.span()
        run = found[0].strip(ISOLATE + POP_ISOLATE)
        # A bracket that opens within a run closes right after it, or is not part of it.
        if not found[0].startswith(ISOLATE) and run.count("(") > run.count(")"):
            if text[end : end + 1] == ")":
                end += 1
            else:
                end = begin + len(run[: run.rindex("(")].rstrip())
            run = text[begin:end]
        if begin > start:
            pieces.append((text[start:begin], False))
        pieces.append((run, True))
        start = end
    if start < len(text):
        pieces.append((text[start:], False))
    return pieces
