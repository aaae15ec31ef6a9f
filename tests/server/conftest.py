"""A studies folder with small volumes, and the app on it with a network that needs no weights."""

import importlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from torch import nn

from pipelines.benchmarks.speed import running_server
from pipelines.core.volume import Volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.interaction.corrector import Corrector
from pipelines.models.bundle import ACDC_BUNDLE, CORRECTOR, load_config
from pipelines.models.heart import Member, Prediction
from pipelines.server.api import make_server
from pipelines.server.launch import load_app
from pipelines.server.users import Role, Tokens, Users, add_user

PASSWORD = "correct horse battery"
PLUGIN = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel"
VERSION = json.loads((ACDC_BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 8.0, 1.0]) if affine is None else affine), path)
    return path


def heart(radius: float = 4.0) -> np.ndarray:
    """`(24, 20, 5)` float32: LV 30 inside a ring 20, RV 10 beside it, 0 elsewhere, faint noise on all."""
    x, y = np.meshgrid(np.arange(24), np.arange(20), indexing="ij")
    distance = np.hypot(x - 9, y - 10)
    plane = np.where(distance < radius + 2, 20.0, 0.0)
    plane[distance < radius] = 30.0
    plane[(np.abs(x - 18) < 3) & (np.abs(y - 10) < 4)] = 10.0
    noise = np.random.default_rng(0).uniform(0, 0.5, (24, 20, 5))
    return (plane[:, :, None] + noise).astype(np.float32)


def true_mask(array: np.ndarray) -> np.ndarray:
    """What a perfect network would find in `heart`."""
    return np.round(array / 10.0 - 0.02).astype(np.uint8)


def axis_orders() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The 48 ways in which a volume's axes can be ordered and turned around."""
    return list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


class RoundAClick(nn.Module):
    """Gives each pixel the label of a click within some millimetres, else the one it has."""

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        present = channels[:, 3:6]
        background = 1 - present.sum(dim=1, keepdim=True)
        return 4 * torch.cat((background, present), dim=1) + 8 * (channels[:, 12:16] + channels[:, 16:20])


@pytest.fixture(scope="session")
def corrector() -> Corrector:
    """A corrector that needs no weights and treats all directions alike."""
    get = load_config(CORRECTOR).get_parsed_content
    steps = {name: get(name) for name in ("preprocessing", "to_label_map")}
    return Corrector(Member(RoundAClick(), None, **steps, device=torch.device("cpu"), dtype=None))


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """One patient in ACDC's layout with ED and ES, and one volume of unknown phase."""
    folder = tmp_path / "studies"
    patient = folder / "patient001"
    write_nifti(patient / "patient001_frame01.nii.gz", heart(4.0))
    write_nifti(patient / "patient001_frame03.nii.gz", heart(3.0))
    (patient / "Info.cfg").write_text("ED: 1\nES: 3\nGroup: NOR\n", encoding="utf-8")
    write_nifti(folder / "lone.nii.gz", heart(4.0))
    return folder


@pytest.fixture
def app(studies: Path, corrector: Corrector, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = load_app(studies)

    def predict(name: str, volume: Volume) -> Prediction:
        seconds = dict.fromkeys(("preprocess", "network", "postprocess"), 0.0)
        return Prediction(true_mask(volume.array), seconds)

    monkeypatch.setattr(made.predictors, "predict", predict)
    monkeypatch.setattr(made.predictors, "load", lambda name: None)
    monkeypatch.setattr(made.predictors, "load_corrector", lambda: None)
    monkeypatch.setattr(made.predictors, "open", corrector.open)
    return made


@pytest.fixture
def client(app: Any) -> TestClient:
    """A client of a server without login."""
    return TestClient(make_server(app), base_url="http://127.0.0.1:8000")


@pytest.fixture(scope="session")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.json"
    for role in Role:
        add_user(path, role.name.lower(), PASSWORD, role)
    return path


@pytest.fixture
def secure(app: Any, users_file: Path) -> Callable[..., TestClient]:
    """Makes a client of a server with login that sends the token of a role, or none."""
    tokens = Tokens()
    users = Users(users_file)
    server = make_server(app, users=users, tokens=tokens)

    def make(role: Role | None = None) -> TestClient:
        name = role.name.lower() if role else ""
        headers = {"Authorization": f"Bearer {tokens.issue(name, users.mark(name))}"} if role else {}
        return TestClient(server, base_url="http://127.0.0.1:8000", headers=headers)

    return make


@pytest.fixture(scope="module")
def library() -> Any:
    """The client's part of the module, as Slicer loads it."""
    sys.path.insert(0, str(PLUGIN))
    try:
        return importlib.import_module("MONAILabelLib.client")
    finally:
        sys.path.remove(str(PLUGIN))


@pytest.fixture(scope="module")
def client_class(library: Any) -> Any:
    return library.MONAILabelClient


@pytest.fixture(scope="module")
def refusal_class(library: Any) -> Any:
    return library.MONAILabelClientException


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    url: str
    studies: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    studies = tmp_path_factory.mktemp("live") / "studies"
    write_phantom_cohort(studies, patients=2, frames=3)
    with running_server(studies) as url:
        yield Running(url, studies)
    assert "Traceback" not in (studies.parent / "server.log").read_text(encoding="utf-8")


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(300):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it never came to be so")
