"""Labelled folders as annotators have them: prepare, evaluate and explore read them, or say what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from small_hearts import AFFINE, write_heart

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume
from pipelines.datasets.prepare import prepare_acdc
from pipelines.datasets.readers import read_dataset
from pipelines.evaluation.segmentation import evaluate
from pipelines.exploration.heart import survey_hearts

PATIENTS = 3


class Recall:
    """Gives each image the label map that was drawn on it, as a perfect network would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seconds: list[float] = []

    def predict(self, volume: Volume) -> Any:
        assert volume.path is not None
        label = np.asarray(
            nib.load(volume.path.with_name(volume.path.name.replace(".nii", "_gt.nii"))).dataobj
        )
        return type("Found", (), {"mask": np.round(label).astype(np.uint8), "seconds": {}})


def by_prepare(root: Path, output: Path) -> tuple[int, str]:
    try:
        made = prepare_acdc(root, output)
    except DataError as error:
        return 0, str(error)
    return made.volumes, "; ".join(problem.reason for problem in made.problems)


def by_evaluate(root: Path, output: Path) -> tuple[int, str]:
    try:
        found = evaluate(root, output, Recall(root), overlays=False)
    except DataError as error:
        return 0, str(error)
    return len(found["cases"]), "; ".join(str(problem) for problem in found["problems"])


def by_explore(root: Path, _: Path) -> tuple[int, str]:
    try:
        survey = survey_hearts(read_dataset("acdc", root))
    except DataError as error:
        return 0, str(error)
    labelled = [one for one in survey.volumes if one.label is not None]
    return len(labelled), "; ".join(problem.reason for problem in survey.problems)


COMMANDS = {"prepare": by_prepare, "evaluate": by_evaluate, "explore": by_explore}


def labels(root: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE) -> None:
    for path in root.rglob("*_gt.nii.gz"):
        nib.save(nib.Nifti1Image(change(np.asarray(nib.load(path).dataobj)), affine), path)


def sloped(root: Path) -> None:
    for path in root.rglob("*_gt.nii.gz"):
        image = nib.Nifti1Image((np.asarray(nib.load(path).dataobj) * 85).astype(np.uint8), AFFINE)
        image.header.set_slope_inter(1 / 85, 0)
        image.to_filename(path)


def infos(root: Path, encoding: str = "utf-8", newline: str = "\n", change: str = "") -> None:
    for path in root.rglob("Info.cfg"):
        text = path.read_text(encoding="utf-8") + change
        path.write_text(text, encoding=encoding, newline=newline)


def moved(root: Path) -> None:
    affine = AFFINE.copy()
    affine[1, 3] += 7
    labels(root, lambda label: label, affine)


ALL = 2 * PATIENTS
CASES: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    # How many labelled volumes are read, and what must be told.
    "float32 off by rounding": (
        lambda root: labels(root, lambda one: (one * 1.0000002).astype(np.float32)),
        ALL,
        "",
    ),
    "uint8 with a slope": (sloped, ALL, ""),
    "float64": (lambda root: labels(root, lambda one: one.astype(np.float64)), ALL, ""),
    "LV 1, MYO 2, RV 3": (
        lambda root: labels(root, lambda one: np.array([0, 3, 2, 1], np.uint8)[one]),
        0,
        "--label-values lv=1,myo=2,rv=3",
    ),
    "0, 85, 170, 255": (
        lambda root: labels(root, lambda one: (one * np.uint8(85)).astype(np.uint8)),
        0,
        "expected label values 0 to 3",
    ),
    "header moved": (moved, 0, "the same grid moved by 0.0, 7.0 and 0.0 mm"),
    "Info.cfg with a byte order mark": (lambda root: infos(root, "utf-8-sig"), ALL, ""),
    "Info.cfg with CRLF": (lambda root: infos(root, newline="\r\n"), ALL, ""),
    "Info.cfg with floats": (
        lambda root: [
            path.write_text(path.read_text(encoding="utf-8").replace("ED: 1", "ED: 1.0"), encoding="utf-8")
            for path in root.rglob("Info.cfg")
        ],
        ALL,
        "",
    ),
    "labels of half the slices": (
        lambda root: labels(root, lambda one: one[:, :, :3]),
        0,
        "resample it to the image",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", CASES)
def test_each_command_reads_the_labels_or_tells_what_is_wrong(
    name: str, command: str, tmp_path: Path
) -> None:
    root = tmp_path / "in"
    for number in range(1, PATIENTS + 1):
        write_heart(root, number)
    make, count, words = CASES[name]
    make(root)
    found, told = COMMANDS[command](root, tmp_path / "out")
    assert words in told
    assert found == count
