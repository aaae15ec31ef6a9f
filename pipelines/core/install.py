"""How Thorax is installed, and Ray, joined where it runs or started here."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

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


def import_extra(module: str, extra: str, part: str, otherwise: str = "") -> Any:
    """A module that an extra of this package brings.

    Args:
        module: Its full name.
        extra: Extra that brings it.
        part: What it is and what for, e.g. `"highdicom for DICOM SEG"`.
        otherwise: What can be done instead, in a few words.

    Raises:
        ConfigError: If it, or a library of the system that it needs, is not there.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        instead = f", or {otherwise}" if otherwise else ""
        raise ConfigError(
            f"expected {part}, found {error}; install it: {install_line(extra)}{instead}"
        ) from error


OBJECT_STORE_BYTES: Final = 100_000_000
"""Size of Ray's store of objects on this machine, bytes: jobs read their data from files themselves."""


@contextmanager
def ray_session(
    address: str | None, *, cpus: int = 0, part: str = "ray", extra: str = "cluster"
) -> Iterator[None]:
    """Join a Ray cluster or start Ray on this machine; leave it when the block ends.

    Args:
        address: Existing cluster, such as `"auto"` or `"ray://host:10001"`, whose machines all see
            the same folders; None starts Ray on this machine.
        cpus: Cores that Ray started here may use; 0 for all.
        part: Module of Ray that is needed, e.g. `"ray.data"`.
        extra: Extra of this package that brings it.

    Raises:
        ConfigError: If Ray is missing, or no cluster answers at `address`.
    """
    set_environment()
    ray = import_extra("ray", extra, part)
    import_extra(part, extra, part)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",  # else it would join what another job started here, or RAY_ADDRESS names
                num_cpus=cpus or os.cpu_count(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"expected a Ray cluster at {address}, found {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def set_environment() -> None:
    """Variables of Ray that must be there before it starts; those that are set stay."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # at Ray's 15, whatever else runs would starve the workers
