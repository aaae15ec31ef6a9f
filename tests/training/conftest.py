"""A small phantom cohort and settings that make training take seconds."""

from pathlib import Path
from typing import Any

import pytest
from small_cohort import COARSE, NARROW, write_small_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantom patients with three slices each and every second pixel, in ACDC's layout."""
    return write_small_cohort(tmp_path_factory.mktemp("cohort"), patients=4)


@pytest.fixture
def small(cohort: Path, tmp_path: Path) -> Any:
    """Makes settings, by id, of a run of a network that takes seconds; given ones replace the usual ones."""

    def settings(network: str, **given: Any) -> dict[str, Any]:
        return {
            "dataset_dir": str(cohort),
            "output_dir": str(tmp_path / "run"),
            "cache_dir": str(tmp_path / "cache"),
            **COARSE,
            "max_epochs": 1,
            "val_interval": 1,
            **NARROW[network],
            **given,
        }

    return settings
