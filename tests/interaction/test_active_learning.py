import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.progress import progress_to
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.interaction import active_learning
from pipelines.interaction.active_learning import (
    Plan,
    active_learning_benchmark,
    disagreement,
    most_uncertain,
)


def masks(*columns: list[int]) -> list[np.ndarray]:
    return [np.array(column, dtype=np.uint8).reshape(-1, 1, 1) for column in columns]


def test_masks_that_agree_do_not_disagree() -> None:
    assert disagreement(masks([0, 1, 2, 3], [0, 1, 2, 3])) == 0.0


def test_structures_that_neither_mask_has_count_as_agreement() -> None:
    assert disagreement(masks([0, 0], [0, 0])) == 0.0


def test_it_is_one_minus_the_mean_dice_of_the_structures_over_all_pairs() -> None:
    # LV: 1 of 1 and 2 voxels; RV and myocardium in none. The third mask is the first.
    first, second = [3, 0, 0], [3, 3, 0]
    pair = 1 - (1 + 1 + 2 / 3) / 3
    assert disagreement(masks(first, second)) == pytest.approx(pair)
    assert disagreement(masks(first, second, first)) == pytest.approx(2 * pair / 3)


SMALL = Plan(start=1, add=1, most=2, seeds=1, first_steps=2, steps=1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_phantom_cohort(folder / "acdc", patients=8, frames=3, cine=False)
    return prepare_acdc(folder / "acdc", folder / "prepared").datalist.parent


def test_the_most_uncertain_come_first_and_equal_ones_by_name() -> None:
    assert most_uncertain({"c": 0.2, "b": 0.2, "a": 0.1, "d": 0.5}, 3) == ["d", "b", "c"]


@pytest.mark.slow
def test_curves_share_their_start_and_go_on_after_a_stop(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []
    train = active_learning.train_network

    def counted(network: str, dataset_dir: Path, run: Path, **settings: Any) -> Path:
        trained.append(dataset_dir)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(network, dataset_dir, run, **settings)

    monkeypatch.setattr(active_learning, "train_network", counted)
    with pytest.raises(KeyboardInterrupt):
        active_learning_benchmark(prepared, tmp_path, SMALL)
    told: list[tuple[int, int]] = []
    with progress_to(lambda done, total, name: told.append((done, total))):
        content = active_learning_benchmark(prepared, tmp_path, SMALL)
    assert [folder.name for folder in trained] == ["start1", "random2", "uncertainty2", "uncertainty2"]
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert json.loads((tmp_path / "active_learning.json").read_text(encoding="utf-8")) == content
    by_random, by_uncertainty = content["curves"]
    assert by_random["rounds"][0] == by_uncertainty["rounds"][0]
    sections = {
        name: {item["patient"] for item in select(read_datalist(prepared), name, 0)}
        for name in ("training", "validation", "test")
    }
    assert set(content["pool"]) == sections["training"]
    for curve in content["curves"]:
        first, second = curve["rounds"]
        assert set(first["labelled"]) < set(second["labelled"]) <= sections["training"]
        assert second["added"] == sorted(set(second["labelled"]) - set(first["labelled"]))
        assert 0 <= second["dice"]["mean"] <= 1
        assert 0 <= curve["hold_out"]["mean"] <= 1
    step = by_uncertainty["rounds"][1]
    assert set(step["scores"]) == sections["training"] - set(by_uncertainty["rounds"][0]["labelled"])
    assert step["added"] == [max(step["scores"], key=lambda name: step["scores"][name])]
    assert sorted(path.name for path in (tmp_path / "rounds" / "seed0" / "random2").iterdir()) == [
        "datalist.json",
        "hold_out.json",
        "model.pt",
        "round.json",
    ]
    # Nothing is trained again, and another plan in the same folder is refused.
    assert active_learning_benchmark(prepared, tmp_path, SMALL) == content
    assert len(trained) == 4
    with pytest.raises(ConfigError, match="found another add"):
        active_learning_benchmark(prepared, tmp_path, Plan(**{**active_learning.asdict(SMALL), "add": 2}))


def test_a_pool_that_is_too_small_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 20 patients to choose from, found"):
        active_learning_benchmark(prepared, tmp_path, Plan())
