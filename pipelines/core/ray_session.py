"""Ray, joined where it runs or started here, for the time of a block."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from pipelines.core.errors import ConfigError
from pipelines.core.install import missing_extra

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
    try:
        import ray

        import_module(part)
    except ImportError as error:
        raise missing_extra(part, extra, error) from error
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
