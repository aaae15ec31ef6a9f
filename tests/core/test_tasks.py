from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.tasks import HEART, NETWORKS, TASKS, XRAY, Task, task_of
from pipelines.models.bundle import BUNDLES


def test_each_network_has_one_task() -> None:
    assert [task_of(network).name for network in ("vnet", "corrector", "resnet50")] == [
        "heart",
        "heart",
        "xray",
    ]
    assert len(set(NETWORKS)) == len(NETWORKS)


def test_an_unknown_network_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"expected a network among unet, .*resnet50, found 'resnet'"):
        task_of("resnet")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_bundle_of_a_task_has_a_layer_for_each_of_its_networks_and_no_other(task: Task) -> None:
    layers = {path.stem for path in (BUNDLES / task.bundle / "configs").glob("network_*.yaml")}
    assert layers == {f"network_{network}" for network in (*task.networks, *task.helpers)}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("role", ["model", "records", "evaluate", "check_int8"])
def test_what_a_task_names_is_there(task: Task, role: str) -> None:
    assert callable(task.find(role))


def test_a_folder_that_was_not_prepared_has_no_records(tmp_path: Path) -> None:
    assert [task.find("records")(tmp_path, "test", 0) for task in TASKS] == [None, None]


def test_radiographs_have_no_further_fold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected fold 0"):
        XRAY.find("records")(tmp_path, "test", 1)
    assert HEART.find("records")(tmp_path, "test", 1) is None
