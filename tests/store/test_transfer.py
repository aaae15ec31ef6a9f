"""Weights without pickles."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.core.errors import ConfigError, DataError
from pipelines.models.bundle import NETWORKS, load_config
from pipelines.models.weights import load_weights
from pipelines.store.transfer import checkpoint_to_safetensors, safetensors_to_checkpoint, unsafe_files


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_layout_of_a_checkpoint_comes_back(wrapped: bool, tmp_path: Path) -> None:
    state = {"b": torch.arange(6).reshape(2, 3).t(), "a": torch.tensor(2.5)}
    torch.save({"model": state} if wrapped else state, tmp_path / "best.pth")
    checkpoint_to_safetensors(tmp_path / "best.pth", tmp_path / "safe" / "best.safetensors")
    path = safetensors_to_checkpoint(tmp_path / "safe" / "best.safetensors")
    assert path == tmp_path / "safe" / "best.pth"
    found = torch.load(path, weights_only=True)
    found = found["model"] if wrapped else found
    assert list(found) == ["b", "a"]
    torch.testing.assert_close(found["b"], torch.tensor([[0, 3], [1, 4], [2, 5]]))
    torch.testing.assert_close(found["a"], torch.tensor(2.5))


def test_parts_of_one_tensor_stay_apart(tmp_path: Path) -> None:
    whole = torch.arange(4.0)
    torch.save({"first": whole[:2], "second": whole[2:], "all": whole}, tmp_path / "model.pt")
    checkpoint_to_safetensors(tmp_path / "model.pt", tmp_path / "model.safetensors")
    found = load_file(tmp_path / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "first": [0.0, 1.0],
        "second": [2.0, 3.0],
        "all": [0.0, 1.0, 2.0, 3.0],
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_the_bundle_s_own_weights_come_back_and_fit_their_network(network: str, tmp_path: Path) -> None:
    own = Path(load_config(network).get_parsed_content("weights"))
    safe = tmp_path / "model.safetensors"
    checkpoint_to_safetensors(own, safe)
    path = safetensors_to_checkpoint(safe)
    assert path is not None
    before, after = (torch.load(file, weights_only=True)["model"] for file in (own, path))
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert safe.stat().st_size < 1.05 * own.stat().st_size  # heads under two names are stored once
    load_weights(load_config(network).get_parsed_content("network_def"), path)


def test_safetensors_that_were_no_checkpoint_stay_what_they_are(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert safetensors_to_checkpoint(tmp_path / "model.safetensors") is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match="expected weights as safetensors"):
        safetensors_to_checkpoint(tmp_path / "model.safetensors")
    origin = '{"suffix": "/../../evil", "wrapped": true, "shared": {}, "order": ["a"]}'
    save_file({"a": torch.zeros(2)}, tmp_path / "odd.safetensors", metadata={"thorax_checkpoint": origin})
    with pytest.raises(DataError, match="the suffix"):
        safetensors_to_checkpoint(tmp_path / "odd.safetensors")
    (tmp_path / "model.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match="expected a PyTorch weights file"):
        checkpoint_to_safetensors(tmp_path / "model.pt", tmp_path / "out.safetensors")


def test_a_checkpoint_is_known_by_its_content_too(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "int8.bin")
    (tmp_path / "int8.xml").write_text("<net/>", encoding="utf-8")
    files = {path.name: path for path in tmp_path.iterdir()}
    assert unsafe_files(files) == ["int8.bin"]
    assert unsafe_files({"model.ts": tmp_path / "int8.xml"}) == ["model.ts"]
