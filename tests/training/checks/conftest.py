"""A prepared phantom cohort and what a recipe is told of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_cohort import COARSE, NARROW, write_small_cohort

from pipelines.datasets.prepare import DATALIST_NAME, prepare_acdc
from pipelines.training.checks.case import Case

SMALL = {**COARSE, **NARROW["unet"]}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantom patients, prepared."""
    root = tmp_path_factory.mktemp("recipe")
    write_small_cohort(root / "acdc", patients=6)
    prepare_acdc(root / "acdc", root / "prepared")
    return root / "prepared"


@pytest.fixture(scope="session")
def make_case(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Case]:
    """Makes a case of a prepared folder; given settings replace the usual ones."""

    def make(prepared: Path, **given: Any) -> Case:
        return Case("unet", prepared, tmp_path_factory.mktemp("case"), SMALL | given)

    return make


@pytest.fixture
def change_datalist(prepared: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a datalist whose volumes were changed; its folder."""

    def change(edit: Callable[[list[dict[str, Any]]], None]) -> Path:
        content = json.loads((prepared / DATALIST_NAME).read_text(encoding="utf-8"))
        edit(content["volumes"])
        (tmp_path / DATALIST_NAME).write_text(json.dumps(content), encoding="utf-8")
        return tmp_path

    return change
