import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from report_folders import page_of

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.volume import Volume
from pipelines.evaluation.comparison import Model
from pipelines.evaluation.cross_dataset import (
    Target,
    cross_evaluate,
    parse_target,
    phantom_targets,
)

AFFINE = np.diag([1.5, 1.5, 10.0, 1.0])


@dataclass
class Segmented:
    mask: np.ndarray


class Threshold:
    """Reads the label off images whose grey value is 100 times the label, if it knows that contrast."""

    def __init__(self, *, knows: bool) -> None:
        self.knows = knows
        self.volumes = 0

    def predict(self, volume: Volume) -> Segmented:
        self.volumes += 1
        mask = np.rint(volume.array / 100).astype(np.uint8)
        return Segmented(mask if self.knows else np.where(mask == 1, 0, mask))


def write_cohort(root: Path, patients: int = 2) -> Path:
    label = np.zeros((12, 8, 2), np.uint8)
    label[1:4, 2:6], label[5:7, 2:6], label[8:11, 2:6] = 1, 2, 3
    for number in range(1, patients + 1):
        folder = root / f"patient{number:03d}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 2\nGroup: NOR\n", encoding="utf-8")
        for frame in (1, 2):
            stem = folder / f"{folder.name}_frame{frame:02d}"
            nib.save(nib.Nifti1Image(label.astype(np.float32) * 100 + 0.25, AFFINE), f"{stem}.nii.gz")
            nib.save(nib.Nifti1Image(label, AFFINE), f"{stem}_gt.nii.gz")
    return root


@pytest.fixture
def loader() -> tuple[Callable[[Model], Threshold], dict[str, Threshold]]:
    """Makes a predictor by the model's name, and keeps those that were made."""
    made: dict[str, Threshold] = {}

    def load(model: Model) -> Threshold:
        if model.name == "broken":
            raise ConfigError("weights do not fit")
        made[model.name] = Threshold(knows=model.name == "good")
        return made[model.name]

    return load, made


Loader = tuple[Callable[[Model], Threshold], dict[str, Threshold]]
GOOD, BAD, BROKEN = (Model(name, (("unet", None),)) for name in ("good", "bad", "broken"))


def test_the_table_holds_every_model_on_every_dataset(tmp_path: Path, loader: Loader) -> None:
    targets = [Target("near", "acdc", write_cohort(tmp_path / "a"))]
    targets.append(Target("far", "acdc", write_cohort(tmp_path / "b", patients=3)))
    content = cross_evaluate([GOOD, BAD], targets, tmp_path / "out", loader[0])
    assert [(cell["model"], cell["dataset"]) for cell in content["cells"]] == [
        ("good", "near"),
        ("good", "far"),
        ("bad", "near"),
        ("bad", "far"),
    ]
    good, bad = content["cells"][0], content["cells"][3]
    assert good["dice"] == {"rv": 1, "myo": 1, "lv": 1, "mean": 1}
    # The RV is missing everywhere: 0, 1 and 1, the same in every patient.
    assert bad["dice"]["mean"] == pytest.approx(2 / 3)
    assert bad["interval"]["mean"] == pytest.approx([2 / 3, 2 / 3])
    assert (bad["patients"], bad["volumes"], bad["error"]) == (3, 6, None)
    assert (
        json.loads((tmp_path / "out" / "cross.json").read_text(encoding="utf-8"))["cells"][3]["dice"]
        == bad["dice"]
    )
    with (tmp_path / "out" / "cross.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["dice_mean"][:5] for row in rows] == ["1.0", "1.0", "0.666", "0.666"]


def test_cells_that_are_there_are_kept_and_changed_ones_measured_again(
    tmp_path: Path, loader: Loader
) -> None:
    load, made = loader
    targets = [Target("near", "acdc", write_cohort(tmp_path / "a"))]
    first = cross_evaluate([GOOD], targets, tmp_path / "out", load)
    made.clear()
    assert cross_evaluate([GOOD], targets, tmp_path / "out", load) == first
    assert made == {}
    targets.append(Target("far", "acdc", write_cohort(tmp_path / "b")))
    cross_evaluate([GOOD], targets, tmp_path / "out", load)
    assert made["good"].volumes == 4
    made.clear()
    cross_evaluate([replace(GOOD, parts=(("vnet", None),))], targets, tmp_path / "out", load)
    assert made["good"].volumes == 8


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path, loader: Loader) -> None:
    targets = [
        Target("none", "acdc", tmp_path / "none"),
        Target("near", "acdc", write_cohort(tmp_path / "a")),
    ]
    content = cross_evaluate([BROKEN, GOOD], targets, tmp_path / "out", loader[0])
    errors = [cell["error"] for cell in content["cells"]]
    assert "found nothing at" in errors[0]
    assert errors[1] == "ConfigError: weights do not fit"
    assert "found nothing at" in errors[2]
    assert errors[3] is None
    page = page_of(tmp_path / "docs", tmp_path / "out")
    assert "| good | not measured | 1.000 (1.000 to 1.000) |" in page
    assert "- broken on near was not measured: ConfigError: weights do not fit" in page
    with pytest.raises(DataError, match="expected a cell that can be measured, found none of 2"):
        cross_evaluate([BROKEN], targets, tmp_path / "out", loader[0])


def test_names_must_differ(tmp_path: Path, loader: Loader) -> None:
    target = Target("near", "acdc", tmp_path)
    with pytest.raises(ConfigError, match="expected datasets, each with a name of its own"):
        cross_evaluate([GOOD], [target, target], tmp_path / "out", loader[0])
    with pytest.raises(ConfigError, match="expected models"):
        cross_evaluate([], [target], tmp_path / "out", loader[0])


def test_models_and_datasets_are_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "best.pt").touch()
    weights = tmp_path / "best.pt"
    assert Model.parse(f"ACDC={tmp_path}") == Model("ACDC", (("unet", weights),))
    assert Model.parse(f"my run=vnet:{weights}") == Model("my run", (("vnet", weights),))
    assert parse_target("mnms=/data/mnms") == Target("mnms", "mnms", Path("/data/mnms"))
    assert parse_target("test set:acdc=/data/acdc") == Target("test set", "acdc", Path("/data/acdc"))


@pytest.mark.parametrize(
    ("text", "message"), [("acdc", "as READER=ROOT"), ("abc=/data", "expected a reader among acdc")]
)
def test_a_dataset_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_target(text)


def test_phantoms_have_the_same_hearts_and_are_written_once(tmp_path: Path) -> None:
    targets = phantom_targets(tmp_path, patients=1)
    assert [target.name for target in targets] == [
        "phantom-cine",
        "phantom-low-contrast",
        "phantom-late-enhancement",
        "phantom-dark-blood",
    ]
    truths = {(target.root / "truth.csv").read_text(encoding="utf-8") for target in targets}
    assert len(truths) == 1
    before = (targets[0].root / "truth.csv").stat().st_mtime_ns
    (targets[1].root / "truth.csv").unlink()
    assert phantom_targets(tmp_path, patients=1) == targets
    assert (targets[0].root / "truth.csv").stat().st_mtime_ns == before
    assert (targets[1].root / "truth.csv").is_file()


def test_the_page_has_no_path_of_the_machine(tmp_path: Path, loader: Loader) -> None:
    weights = tmp_path / "unet" / "best.pt"
    weights.parent.mkdir()
    weights.touch()
    target = Target("near", "acdc", write_cohort(tmp_path / "a"))
    cross_evaluate([replace(GOOD, parts=(("unet", weights),))], [target], tmp_path / "out", loader[0])
    command = ["thorax", "compare", "--dataset", f"near:acdc={tmp_path}/a", "--model", f"good=unet:{weights}"]
    (tmp_path / "out" / "manifest.json").write_text(json.dumps({"command": command}), encoding="utf-8")
    page = page_of(tmp_path / "docs", tmp_path / "out")
    assert str(tmp_path) not in page
    assert "near:acdc=/path/to/a --model good=unet:runs/unet/best.pt" in page
