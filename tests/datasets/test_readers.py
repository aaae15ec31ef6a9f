import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.readers import READERS, find_reader, read_dataset


def test_a_dataset_is_read_by_name(tmp_path: Path, write_patient: Callable[..., Path]) -> None:
    write_patient(tmp_path)
    assert read_dataset("acdc", tmp_path) == read_acdc(tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="expected a reader among acdc.* found 'nowhere'"):
        find_reader("nowhere")


@pytest.mark.parametrize("name", READERS)
def test_a_reader_is_found_and_refuses_a_folder_that_is_not_there(name: str, tmp_path: Path) -> None:
    module, function = READERS[name].function.split(":")
    assert callable(getattr(import_module(module), function))
    with pytest.raises(DataError, match="found nothing at"):
        read_dataset(name, tmp_path / "none")


@pytest.mark.parametrize("reader", READERS.values(), ids=str)
def test_every_dataset_tells_all_of_itself(reader: object) -> None:
    told = vars_of(reader)
    assert all(isinstance(value, str) for value in told.pop("options"))
    assert all(isinstance(value, str) and value.strip() for value in told.values())


def test_the_registry_needs_no_library() -> None:
    code = (
        "import sys, pipelines.datasets.readers; "
        "print(sorted({'numpy', 'nibabel', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def vars_of(reader: object) -> dict[str, object]:
    return {name: getattr(reader, name) for name in reader.__slots__}  # type: ignore[attr-defined]
