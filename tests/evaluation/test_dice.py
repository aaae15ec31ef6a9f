from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.volume import Volume
from pipelines.evaluation.dice import mean_dice, structure_dice
from pipelines.models.predictor import Prediction


def test_a_structure_that_neither_mask_has_is_none_and_does_not_count_in_the_mean() -> None:
    found, truth = (np.array(values).reshape(4, 1, 1) for values in ([3, 3, 0, 2], [3, 0, 0, 0]))
    dice = structure_dice(found, truth)
    assert dice == {"rv": None, "myo": 0.0, "lv": pytest.approx(2 / 3), "mean": pytest.approx(1 / 3)}


def test_each_structure_is_averaged_over_the_volumes_that_have_it(tmp_path: Path) -> None:
    class Same:
        def predict(self, volume: Volume) -> Prediction:
            return Prediction(volume.array.astype(np.uint8), {})

    items = []
    for name, image, label in (("one", [1, 3], [1, 3]), ("two", [3, 0], [0, 3])):
        paths = {"image": tmp_path / f"{name}.nii.gz", "label": tmp_path / f"{name}_seg.nii.gz"}
        for key, values in (("image", image), ("label", label)):
            array = np.array(values, dtype=np.uint8).reshape(2, 1, 1)
            nib.save(nib.Nifti1Image(array, np.eye(4)), paths[key])
        items.append(paths)
    assert mean_dice(Same(), items) == {"rv": 1.0, "myo": None, "lv": 0.5, "mean": 0.75}
    assert mean_dice(Same(), []) == dict.fromkeys(("rv", "myo", "lv", "mean"))
