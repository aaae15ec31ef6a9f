"""Automatic segmentation as clients get it, and the choice of the next case."""

import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import OutputError
from pipelines.core.volume import Volume, read_volume
from pipelines.models.heart import Prediction
from pipelines.server import tasks
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.history import Automatic
from pipelines.server.label_file import read_sent_label
from pipelines.server.predictors import Predictors
from pipelines.server.tasks import AutomaticSegmentation, FirstUnlabelled, RandomPatient

from .conftest import VERSION, axis_orders, heart, true_mask, write_nifti

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.4, -0.3, 0.7) @ np.diag([2.0, 2.0, 8.0]), (-31.0, 12.0, 55.0)
)


class PerfectPredictors(Predictors):
    """Finds the true mask."""

    def __init__(self) -> None:
        super().__init__(("unet",))

    def predict(self, name: str, volume: Volume) -> Prediction:
        seconds = dict.fromkeys(("preprocess", "network", "postprocess"), 0.1)
        return Prediction(true_mask(volume.array), seconds)


@pytest.fixture
def store(studies: Path) -> StudiesDatastore:
    return StudiesDatastore(studies, lambda cine: (0, 1))


@pytest.fixture
def task(store: StudiesDatastore) -> AutomaticSegmentation:
    return AutomaticSegmentation("unet", PerfectPredictors(), store)


def run(task: AutomaticSegmentation, path: Path, **request: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The label map on the image's grid, whose geometry is checked, and the measures."""
    file, told = task({"image": str(path), **request})
    mask = read_sent_label(Path(file), read_volume(path))
    Path(file).unlink()
    return mask, told


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_the_label_map_lies_on_the_image_for_every_order_of_axes(
    task: AutomaticSegmentation, tmp_path: Path, suffix: str
) -> None:
    for number, (order, signs) in enumerate(axis_orders()):
        orientation = np.stack([order, signs], axis=1)
        image = nib.Nifti1Image(heart(), OBLIQUE).as_reoriented(orientation)
        path = write_nifti(tmp_path / f"{number}.nii.gz", np.asarray(image.dataobj), image.affine)
        mask, told = run(task, path, result_extension=suffix)
        np.testing.assert_array_equal(mask, true_mask(np.asarray(image.dataobj)))
        assert told["volumes_ml"]["lv"] == pytest.approx((true_mask(heart()) == 3).sum() * 0.032, abs=0.01)


def test_the_answer_names_labels_model_version_and_time_of_each_step(
    task: AutomaticSegmentation, studies: Path
) -> None:
    _, told = run(task, studies / "lone.nii.gz")
    assert told["label_names"] == {"rv": 1, "myo": 2, "lv": 3}
    assert (told["model"], told["version"]) == ("unet", VERSION)
    steps = {"read", "preprocess", "network", "postprocess", "measure", "write", "total"}
    assert set(told["latencies"]) == steps
    assert told["indices"]["lv_ef_percent"] is None
    assert told["indices"]["reason"] == "one volume of unknown phase, EF needs ED and ES"


def test_an_answer_that_cannot_be_written_leaves_no_file(
    task: AutomaticSegmentation, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))

    def full(*_: Any) -> None:
        raise OutputError("no space left")

    for name in ("write_nrrd", "write_label"):
        monkeypatch.setattr(tasks, name, full)
    for suffix in (".nrrd", ".nii.gz"):
        with pytest.raises(OutputError, match="no space left"):
            task({"image": str(studies / "lone.nii.gz"), "result_extension": suffix})
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_second_phase_brings_the_ejection_fraction(
    task: AutomaticSegmentation, store: StudiesDatastore
) -> None:
    ed, es = (store.image(name).path for name in ("patient001_frame01", "patient001_frame03"))
    _, first = run(task, ed)
    assert first["indices"]["reason"] == "no ES label map"
    _, second = run(task, es)
    ed_voxels, es_voxels = ((true_mask(heart(radius)) == 3).sum() for radius in (4.0, 3.0))
    expected = 100.0 * (ed_voxels - es_voxels) / ed_voxels
    assert second["indices"]["lv_ef_percent"] == pytest.approx(expected, abs=0.01)


def test_an_accepted_label_of_the_other_phase_counts_before_the_automatic_one(
    task: AutomaticSegmentation, store: StudiesDatastore
) -> None:
    ed = read_volume(store.image("patient001_frame01").path)
    store.remember("patient001_frame01", "", Automatic(true_mask(ed.array), "unet", "0.1.0"))
    twice = np.zeros(ed.array.shape, np.uint8)
    twice[4:16, 4:16] = 3
    store.labels.accept("patient001_frame01", twice, ed, author="anna")
    _, told = run(task, store.image("patient001_frame03").path)
    assert told["indices"]["lv_edv_ml"] == pytest.approx((twice == 3).sum() * 0.032)


def test_an_implausible_mask_is_reported(task: AutomaticSegmentation, tmp_path: Path) -> None:
    split = heart()
    split[2:4, 2:4] = 30.0
    _, told = run(task, write_nifti(tmp_path / "split.nii.gz", split))
    assert any("LV is in 2 separate pieces" in warning for warning in told["warnings"])


def test_first_goes_through_the_volumes_and_ends(store: StudiesDatastore) -> None:
    served = []
    while found := FirstUnlabelled()({}, store):
        served.append(found["id"])
        accept(store, found["id"])
    assert sorted(served) == sorted(store.list_images())
    assert served.index("patient001_frame03") == served.index("patient001_frame01") + 1


def test_random_serves_the_other_phase_of_a_patient_that_was_begun(store: StudiesDatastore) -> None:
    accept(store, "patient001_frame03")
    assert {RandomPatient()({}, store)["id"] for _ in range(10)} == {"patient001_frame01"}


def test_random_begins_a_patient_with_ed(store: StudiesDatastore) -> None:
    assert {RandomPatient()({}, store)["id"] for _ in range(60)} == {"patient001_frame01", "lone"}


def accept(store: StudiesDatastore, name: str) -> None:
    image = read_volume(store.image(name).path)
    store.labels.accept(name, true_mask(image.array), image, author="anna")
