"""Clicks and scribbles on a running server, sent as MONAI Label's module for 3D Slicer sends them."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from pipelines.core.volume import read_volume
from pipelines.server.label_file import read_sent_label

from .conftest import Running, until

pytestmark = pytest.mark.slow

IMAGE = "patient001_4d_ED"
SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8"}


@pytest.fixture
def client(running: Running, client_class: Any, tmp_path: Path) -> Any:
    made = client_class(running.url, str(tmp_path), "anna")
    until(lambda: made.info()["datastore"]["total"] == 4)
    return made


def voxels(path: str) -> np.ndarray:
    """Label map as Slicer's module reads it, `(i, j, k)`."""
    return sitk.GetArrayFromImage(sitk.ReadImage(path)).transpose(2, 1, 0)


def in_the_rim(mask: np.ndarray) -> list[int]:
    """A voxel of the myocardium in a slice in the middle."""
    k = int(np.median(np.unique(np.nonzero(mask == 3)[2])))
    i, j = np.argwhere(mask[:, :, k] == 2)[0]
    return [int(i), int(j), k]


def test_smart_edit_in_the_volume(client: Any) -> None:
    before = voxels(client.infer("unet", IMAGE, dict(SLICER))[0])
    click = in_the_rim(before)
    params = {"rv": [], "myo": [], "lv": [click], "background": [], "label": "lv", "reset_state": True}
    file, told = client.infer("correct_volume", IMAGE, params | SLICER)
    found = voxels(file)
    assert found[tuple(click)] == 3
    changed = np.argwhere(found != before)
    assert np.abs(changed[:, 2] - click[2]).max() <= 1
    assert told["model"] == "correct_volume"
    assert told["label_names"] == {"rv": 1, "myo": 2, "lv": 3}
    params["background"] = [[*click[:2], click[2] - 1]]
    again = voxels(client.infer("correct_volume", IMAGE, params | SLICER)[0])
    assert (again[tuple(click)], again[tuple(params["background"][0])]) == (3, 0)


def test_smart_edit_in_a_slice(client: Any) -> None:
    before = voxels(client.infer("unet", IMAGE, dict(SLICER))[0])
    click = in_the_rim(before)
    params = {"label": "lv", "foreground": [click], "background": [], "slice": click[2]}
    file, told = client.infer("correct_slice", IMAGE, params | SLICER)
    found = voxels(file)
    assert found[tuple(click)] == 1
    assert np.unique(np.nonzero(found)[2]).tolist() == [click[2]]
    assert told["label_names"] == {"lv": 1}


def test_scribbles(client: Any, running: Running, tmp_path: Path) -> None:
    file, _ = client.infer("unet", IMAGE, {"result_extension": ".nii.gz"})
    image = nib.load(file)
    before = np.asarray(image.dataobj)
    click = in_the_rim(before)
    sent = before.copy()
    sent[tuple(click)] = 6
    nib.save(nib.Nifti1Image(sent, image.affine), tmp_path / "scribbles.nii.gz")
    names = ("rv", "myo", "lv", "background", "background_scribbles", "foreground_scribbles")
    params = {
        "roi": [],
        "label_info": [{"name": name, "id": number} for number, name in enumerate(names, start=1)],
        "selected_label_name": "lv",
    }
    file, told = client.infer("scribbles", IMAGE, params | SLICER, str(tmp_path / "scribbles.nii.gz"))
    found = voxels(file)
    assert found[tuple(click)] == 1
    others = [k for k in range(found.shape[2]) if k != click[2]]
    np.testing.assert_array_equal(found[:, :, others] == 1, before[:, :, others] == 3)
    assert told["model"] == "scribbles"


def test_clicks_on_a_session_and_with_the_mask_that_the_client_has(
    client: Any,
    refusal_class: Any,
    running: Running,
    tmp_path: Path,
) -> None:
    source = running.studies / ".thorax" / "images" / "patient002_4d_ES.nii.gz"
    session = client.create_session(str(source))["session_id"]
    image = nib.load(source)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), tmp_path / "none.nii.gz")
    middle = [length // 2 for length in image.shape]
    file, _ = client.infer(
        "correct_volume", "any", {"rv": [middle]}, str(tmp_path / "none.nii.gz"), session_id=session
    )
    found = read_sent_label(Path(file), read_volume(source))
    assert found[tuple(middle)] == 1
    assert (found == 0).mean() > 0.9
    with pytest.raises(refusal_class) as refusal:
        client.infer("correct_volume", "any", {"rv": [[-1, 0, 0]]}, session_id=session)
    assert "Status: 400" in refusal.value.msg
    assert "expected clicks within" in refusal.value.msg
