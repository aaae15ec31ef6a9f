from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from fake_hub import Hub, serve_hub
from fake_s3 import serve_s3

from pipelines.core.files import write_json, write_text


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, which huggingface_hub talks to without a token."""
    with serve_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
        yield hub


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Objects of an object store on this machine, which is told of as to other tools of AWS."""
    with serve_s3() as (address, objects):
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "user",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }.items():
            monkeypatch.setenv(name, value)
        yield objects
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(params=["folder", "memory", "s3", "hub"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each kind of store, empty."""
    if request.param == "hub":
        request.getfixturevalue("hub")
        yield "hf://clinic"
    elif request.param == "s3":
        request.getfixturevalue("objects")
        yield "s3://bucket/kept"
    elif request.param == "memory":
        yield "memory://kept"
        fsspec.filesystem("memory").store.clear()
    else:
        yield str(tmp_path / "kept")


@pytest.fixture(autouse=True)
def no_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trusted yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write_bundle(folder: Path, *, seed: int = 0) -> Path:
    """A bundle whose network holds two tensors under three names, in 16 bits."""
    torch.manual_seed(seed)
    weight = torch.randn(3, 4).half()
    write_json(folder / "configs" / "metadata.json", {"version": "0.1.0"})
    write_text(folder / "configs" / "inference.yaml", "network_def:\n  _target_: torch.nn.Identity\n")
    write_text(folder / "LICENSE", "free\n")
    (folder / "models" / "tiny").mkdir(parents=True)
    state = {"head.weight": weight, "body.bias": torch.arange(3), "copy.weight": weight}
    torch.save({"model": state}, folder / "models" / "tiny" / "model.pt")
    write_json(folder / "models" / "tiny" / "network.json", {"architecture": "tiny", "settings": {}})
    write_text(folder / "runs" / "unet" / "log.txt", "of a run\n")
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "tiny_segmentation")
