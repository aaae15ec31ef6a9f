"""Steps follow one another, end at a failure, and go on where they were interrupted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_folders import page_of

from pipelines.core.errors import ConfigError
from pipelines.training.checks import recipe
from pipelines.training.checks.case import Verdict
from pipelines.training.checks.recipe import run_recipe

DETAILS = {
    "check_data": {},
    "check_initial_loss": {"seconds_per_step": 1.0},
    "check_overfit": {},
    "sweep": {"optimizer": "sgd", "learning_rate": 0.01, "points": []},
    "search_grid": {"best": {"optimizer": "sgd", "learning_rate": 0.03}, "trials": []},
    "check_early": {},
    "run_long": {"rounds": []},
}
"""What each step finds that others need."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins of the steps: which were done, which fail, and which is interrupted."""
    told: dict[str, Any] = {"done": [], "fail": set(), "interrupt": None}

    def stand_in(name: str) -> Callable[..., Verdict]:
        def perform(*arguments: Any, **options: Any) -> Verdict:
            if told["interrupt"] == name:
                raise KeyboardInterrupt
            told["done"].append(name)
            return Verdict(name not in told["fail"], 0.5, "figure", "more", "found", DETAILS[name])

        return perform

    for name in DETAILS:
        monkeypatch.setattr(recipe, name, stand_in(name))
    return told


def test_all_steps_are_done_in_order(steps: dict[str, Any], prepared: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def count() -> None:
        seen.append(len(json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))["steps"]))

    content = run_recipe(prepared, tmp_path, network="vnet", on_step=count)
    assert steps["done"] == list(DETAILS)
    assert content["finished"]
    assert seen == [1, 2, 3, 4, 5, 6, 7, 7]
    assert "All steps were done; none failed" in page_of(tmp_path / "docs", tmp_path)


def test_a_failed_step_ends_it_unless_asked_to_go_on(
    steps: dict[str, Any], prepared: Path, tmp_path: Path
) -> None:
    steps["fail"] = {"check_overfit"}
    assert not run_recipe(prepared, tmp_path, network="unet")["finished"]
    assert steps["done"][-1] == "check_overfit"
    assert run_recipe(prepared, tmp_path, network="unet", keep_going=True)["finished"]
    assert steps["done"] == list(DETAILS)


def test_an_interrupted_recipe_goes_on_with_the_step_it_was_at(
    steps: dict[str, Any], prepared: Path, tmp_path: Path
) -> None:
    steps["interrupt"] = "check_early"
    with pytest.raises(KeyboardInterrupt):
        run_recipe(prepared, tmp_path, network="unet")
    assert steps["done"] == list(DETAILS)[:5]
    steps["interrupt"] = None
    assert run_recipe(prepared, tmp_path, network="unet")["finished"]
    assert steps["done"] == list(DETAILS)


def test_a_mistyped_setting_is_refused_before_anything_is_done(
    steps: dict[str, Any], prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="found learningrate"):
        run_recipe(prepared, tmp_path, network="unet", settings={"learningrate": 1.0})
    assert steps["done"] == []
