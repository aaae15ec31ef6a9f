"""When jobs of the server began and ended."""

from datetime import UTC, datetime


def job_time() -> str:
    """The time of now in UTC, as MONAI Label writes it in the status of a job."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
