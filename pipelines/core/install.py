"""How Thorax is installed: where what ships with it lies, and how what it lacks is got."""

from pathlib import Path
from typing import Final

from pipelines.core.errors import ConfigError

DISTRIBUTION: Final = "thorax-imaging"
"""Name that pip knows the package by; the command and the import have their own."""

_IN_WHEEL: Final = Path(__file__).resolve().parents[1] / "shipped"
"""Where the build puts bundles, apps and changelog; a checkout has them at its top level."""

_ROOT: Final = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).resolve().parents[2]


def shipped(*parts: str) -> Path:
    """Path of a file or folder that ships with Thorax, in a checkout or an installed wheel.

    Args:
        *parts: Its place as in the repository, e.g. `"apps", "viewer"`.
    """
    return _ROOT.joinpath(*parts)


def install_line(*extras: str) -> str:
    """The command that installs extras: of a checkout with its constraints, else of the distribution."""
    names = ",".join(extras)
    if _ROOT == _IN_WHEEL:
        return f"pip install '{DISTRIBUTION}[{names}]'"
    return f"pip install -c constraints.txt -e '.[{names}]'"


def missing_extra(part: str, extra: str, error: Exception, otherwise: str = "") -> ConfigError:
    """The error for a package of an extra that cannot be imported.

    Args:
        part: What was expected and what for, e.g. `"OpenVINO"`.
        extra: Extra that brings it.
        error: Why it cannot be imported.
        otherwise: What can be done instead, in a few words.
    """
    instead = f", or {otherwise}" if otherwise else ""
    return ConfigError(f"expected {part}, found {error}; install it: {install_line(extra)}{instead}")
