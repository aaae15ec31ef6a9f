"""All steps of a recipe in order, each from what those before it found."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.files import output_folder
from pipelines.core.manifest import write_manifest
from pipelines.core.progress import Progress
from pipelines.datasets.prepare import DATALIST_NAME, load_or_prepare
from pipelines.models.bundle import load_config
from pipelines.training.checks.case import RECIPE_NAME, Case, Record
from pipelines.training.checks.long_run import check_early, run_long
from pipelines.training.checks.rates import SMOKE, Sizes, search_grid, sizes_for, sweep
from pipelines.training.checks.sanity import TOLERANCE, check_data, check_initial_loss, check_overfit
from pipelines.training.launch import check_settings

CHECK_VOLUMES: Final = 12
"""Volumes that the data and the initial loss are checked on."""

SMOKE_SETTINGS: Final = {"batch_size": 4, "patch_px": [64, 64]}


def run_recipe(
    root: Path,
    output: Path,
    *,
    network: str,
    minutes: float = 240.0,
    smoke: bool = False,
    fold: int = 0,
    keep_going: bool = False,
    address: str | None = None,
    concurrency: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    on_step: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Perform and check the steps from data to a trained network.

    A step that fails ends the recipe, for what comes after it would be wasted. What `output` holds of
    the same recipe is not done again. The test section of the datalist is never looked at.

    Args:
        root: Labelled folder in ACDC's layout, or a prepared one.
        output: Folder for `recipe.json` and the runs; made if it does not exist.
        network: Network of the ACDC bundle.
        minutes: Time for all steps, about; reading the data comes on top.
        smoke: Seconds instead, to see that all works; a failed step does not end it then.
        fold: Fold of validation, 0 to 4.
        keep_going: Go on after a step that failed.
        address: Existing Ray cluster for the grid search, or None for this machine.
        concurrency: Trials of the grid at a time on this machine, 0 for one a core.
        settings: Settings that replace those of the bundle, by their id.
        progress: Called with the steps done, their number and the name of the next.
        on_step: Called when `recipe.json` has a further step, and at the end.

    Returns:
        Content of `recipe.json`.

    Raises:
        ConfigError: If a setting is unknown, Ray is missing, or `output` holds another recipe.
        DataError: If the data cannot be used.
        OutputError: If the results cannot be written.
        KeyboardInterrupt: If it was interrupted; the same call goes on.
    """
    given = (SMOKE_SETTINGS if smoke else {}) | dict(settings or {})
    check_settings(given, network)
    output = output_folder(output.resolve())
    prepared = root if (root / DATALIST_NAME).is_file() else output / "prepared"
    datalist = load_or_prepare(root, prepared)
    head = {"network": network, "minutes": minutes, "smoke": smoke, "fold": fold}
    head |= {"split_hash": datalist["split_hash"], "fingerprint": datalist["fingerprint"]}
    head |= {"settings": given}
    record = Record(output, head)
    case = Case(network, prepared, output, given, fold)
    recipe = _Steps(case, record, None if smoke else minutes, address, concurrency)
    write_manifest(output, **head, finished=False)
    steps = recipe.in_order()
    for done, (title, perform) in enumerate(steps.items()):
        if progress is not None:
            progress(done, len(steps), title)
        entry = perform(title)
        if on_step is not None:
            on_step()
        if not (entry["passed"] or smoke or keep_going):
            break
    else:
        record.content["finished"] = True
    record.write()
    write_manifest(output, **head, finished=record.content["finished"], outputs=[RECIPE_NAME])
    if on_step is not None:
        on_step()
    return record.content


@dataclass(frozen=True)
class _Steps:
    """The steps, each with the settings on which its finding depends."""

    case: Case
    record: Record
    minutes: float | None
    address: str | None
    concurrency: int

    def in_order(self) -> dict[str, Callable[[str], dict[str, Any]]]:
        """What performs each step, by its heading."""
        return {
            "The data": self._data,
            "Loss of the untrained network": self._initial_loss,
            "A handful by heart": self._overfit,
            "Sweep of learning rates": self._sweep,
            "Grid around the best rate": self._grid,
            "Early evaluation": self._early,
            "The long run": self._long,
        }

    def _found(self, name: str) -> dict[str, Any]:
        details: dict[str, Any] = self.record.content["steps"][name]["details"]
        return details

    @property
    def _sizes(self) -> Sizes:
        if self.minutes is None:
            return SMOKE
        return sizes_for(self.minutes, self._found("initial_loss")["seconds_per_step"])

    @property
    def _checked(self) -> int:
        return CHECK_VOLUMES if self.minutes is not None else SMOKE.volumes

    def _data(self, title: str) -> dict[str, Any]:
        key = {"volumes": self._checked}
        return self.record.step("data", title, key, lambda: check_data(self.case, self._checked))

    def _initial_loss(self, title: str) -> dict[str, Any]:
        key = {"volumes": self._checked, "tolerance": TOLERANCE}
        return self.record.step(
            "initial_loss", title, key, lambda: check_initial_loss(self.case, self._checked)
        )

    def _overfit(self, title: str) -> dict[str, Any]:
        sizes = self._sizes
        return self.record.step(
            "overfit",
            title,
            {"steps": sizes.overfit_steps},
            lambda: check_overfit(self.case, sizes.overfit_steps),
        )

    def _sweep(self, title: str) -> dict[str, Any]:
        sizes = self._sizes
        key = {"volumes": sizes.volumes, "steps": sizes.sweep_steps}
        return self.record.step(
            "sweep", title, key, lambda: sweep(self.case, self.record, sizes.volumes, sizes.sweep_steps)
        )

    def _grid(self, title: str) -> dict[str, Any]:
        sizes, found = self._sizes, self._found("sweep")
        config = load_config(self.case.network, ("train",), **self.case.settings)
        start = {
            # If each rate made the loss rise, the configured one is as good a middle as any.
            "optimizer": found["optimizer"] or config["optimizer"],
            "learning_rate": found["learning_rate"] or config["learning_rate"],
            "batch_size": config["batch_size"],
        }
        return self.record.step(
            "grid",
            title,
            {**asdict(sizes), **start},
            lambda: search_grid(self.case, sizes, start, address=self.address, concurrency=self.concurrency),
        )

    def _early(self, title: str) -> dict[str, Any]:
        sizes, best = self._sizes, self._found("grid")["best"]
        return self.record.step(
            "early", title, {**asdict(sizes), **best}, lambda: check_early(self.case, sizes, best)
        )

    def _long(self, title: str) -> dict[str, Any]:
        sizes, best = self._sizes, self._found("grid")["best"]
        baseline = self.record.content["steps"]["early"]["figure"]
        return self.record.step(
            "long",
            title,
            {**asdict(sizes), **best, "baseline": baseline},
            lambda: run_long(self.case, self.record, sizes, best, baseline),
        )
