"""Settings and fixtures that every test shares."""

import ctypes
import gc
import os
from collections.abc import Iterator
from pathlib import Path

# Tests run beside other work: one thread each is faster than several that wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

torch.set_num_threads(1)

pytest_plugins = ["acdc_fixtures", "dicom_fixtures"]


@pytest.fixture(scope="module", autouse=True)
def freed_memory() -> Iterator[None]:
    """Networks of a file do not stay in memory: hundreds of files would need more than CI has."""
    yield
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


@pytest.fixture(scope="session", autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither see nor change which bundles the user trusts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def thorax_data() -> Path:
    """Folder with the real datasets: `acdc/training/...` below it."""
    folder = os.environ.get("THORAX_DATA")
    if not folder:
        pytest.skip("THORAX_DATA is not set: it names the folder that contains acdc/training")
    if not (Path(folder) / "acdc" / "training").is_dir():
        pytest.skip(f"THORAX_DATA is {folder}, which has no acdc/training")
    return Path(folder)
