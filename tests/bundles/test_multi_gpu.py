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

from pipelines.bundle import config_files, load_config
from pipelines.datasets.phantom import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc


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
    assert handlers[0]["_target_"].endswith("EpochSeeder")
    assert "@rank" in handlers[0]["seed"]
    assert [handler["_target_"] for handler in handlers if "_disabled_" in handler] == [
        "pipelines.training.monitor.TrainingMonitor"
    ]


def test_overlay_changes_nothing_of_the_network_the_loss_and_the_validation() -> None:
    single, several = load_config("unet", ["train"]).get(), overlaid()
    for key in ("network_def", "validate", "averaged", "preprocessing"):
        assert single[key] == several[key]
    assert single["train"]["loss"] == several["train"]["loss"]


def test_monitor_is_left_out_of_all_processes_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    for rank, count in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        parser = load_config("unet", ["train", "multi_gpu_train"])
        monitor = parser["train"]["handlers"][5]
        parser["train::handlers"] = [{"_target_": "torch.nn.Identity", "_disabled_": monitor["_disabled_"]}]
        assert len(parser.get_parsed_content("train::handlers")) == count


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
