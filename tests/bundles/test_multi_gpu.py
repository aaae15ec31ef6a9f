from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
import torch.distributed as dist
from monai.bundle import ConfigWorkflow
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc
from pipelines.models.bundle import config_files, load_config


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A process group of one over gloo, with the variables that torchrun sets."""
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    if dist.is_initialized():
        idist.sync()
        idist.finalize()


def overlaid() -> Any:
    return load_config("unet", ["train", "multi_gpu_train"]).get()


def test_overlay_parses_and_addresses_the_handlers_it_means() -> None:
    config = overlaid()
    handlers = config["train"]["handlers"]
    assert handlers[1]["_target_"].endswith("EpochSeeder")
    assert "@rank" in handlers[1]["seed"]
    ours = "pipelines.training.distributed."
    assert {index: h["_target_"] for index, h in enumerate(handlers) if ours in str(h)} == {
        3: f"{ours}RankWeightAverager",
        6: f"{ours}RankMonitor",
    }


@pytest.mark.parametrize("network", ["unet", "resnet18"])
def test_handlers_of_the_overlay_stand_where_those_of_one_process_stand(network: str) -> None:
    single = load_config(network, ["train"]).get()["train"]
    several = load_config(network, ["train", "multi_gpu_train"]).get()["train"]
    kinds = {"RankWeightAverager": "WeightAverager", "RankMonitor": "TrainingMonitor"}
    for alone, shared in zip(single["handlers"], several["handlers"], strict=True):
        if isinstance(alone, str):
            assert alone == shared == "@train#checkpoint"
            continue
        name = shared["_target_"].rpartition(".")[2]
        assert alone["_target_"].rpartition(".")[2] == kinds.get(name, name)
        assert set(shared) - set(alone) <= {"_disabled_"}


def test_overlay_changes_nothing_of_the_network_the_loss_and_how_a_volume_is_validated() -> None:
    single, several = load_config("unet", ["train"]).get(), overlaid()
    assert "share(@validation_items)" in several["validate"]["dataset"].pop("data")
    assert single["validate"]["dataset"].pop("data") == "@validation_items"
    for key in ("network_def", "validate", "averaged", "preprocessing", "validation_items"):
        assert single[key] == several[key]
    assert single["train"]["loss"] == several["train"]["loss"]


@pytest.mark.slow
def test_one_process_trains_and_leaves_the_files_of_a_run(tmp_path: Path, one_process: None) -> None:
    write_phantom_cohort(tmp_path / "acdc", patients=5, frames=3, cine=False)
    prepare_acdc(tmp_path / "acdc", tmp_path / "prepared")
    workflow = ConfigWorkflow(
        config_files("unet", "train", "smoke", "multi_gpu_train"),
        logging_file=False,
        run_id="training",
        dataset_dir=str(tmp_path / "prepared"),
        output_dir=str(tmp_path / "run"),
        max_epochs=1,
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    assert isinstance(trainer.network, DistributedDataParallel)
    assert isinstance(trainer.data_loader.sampler, DistributedSampler)
    workflow.run()
    workflow.finalize()
    assert not dist.is_initialized()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"best.pt", "last.pt", "history.csv", "manifest.json", "tensorboard"} <= names
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=False)
    assert last["epoch"] == 1
    assert not any(key.startswith("module.") for key in last["model"])
