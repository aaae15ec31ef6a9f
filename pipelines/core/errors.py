"""Exceptions a caller may catch; each message says what was expected, what was found and what to do."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError


class ThoraxError(Exception):
    """Base of every error that Thorax raises on purpose."""


class DataError(ThoraxError):
    """An image, label, table or folder is not what the task needs."""


class ConfigError(ThoraxError):
    """A setting, network name, weights file or prerequisite does not fit."""


class OutputError(ThoraxError):
    """A result cannot be written where it was asked for."""


def cause(error: Exception) -> str:
    """What was found wrong, in plain words, for the message of the error that takes this one's place."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "no such file"
        case IsADirectoryError():
            return "a folder"
        case OSError(strerror=str(reason)):
            return reason.lower()
        case JSONDecodeError():
            return "no JSON"
        case UnicodeDecodeError():
            return f"no text in {error.encoding.upper()}"
        case KeyError():
            return f"no {error.args[0]!r} in it"
        case IndexError():
            return "nothing in it"
    return f"{error}" or type(error).__name__


@contextmanager
def expecting(wanted: str, kind: type[ThoraxError] = DataError, advice: str = "") -> Iterator[None]:
    """Name in one error whatever is wrong with a file that the block reads.

    Args:
        wanted: What it should hold, and where it lies.
        kind: Error that is raised.
        advice: What to do.

    Raises:
        ThoraxError: Of this kind, if the file is missing or damaged; errors of this package pass.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise kind(f"expected {wanted}, found {cause(error)}{advice and f'; {advice}'}") from error
