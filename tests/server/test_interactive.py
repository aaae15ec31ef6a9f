"""Correction by clicks and scribbles as clients get it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.volume import read_volume
from pipelines.interaction.corrector import Corrector
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.label_file import read_sent_label
from pipelines.server.predictors import Predictors
from pipelines.server.sent_interaction import sent_interaction
from pipelines.server.tasks import CORRECTIONS, AutomaticSegmentation, CorrectByClicks, RefineByScribbles
from pipelines.server.worker import PARSER, TooLongError

from .conftest import axis_orders, heart, true_mask, write_nifti
from .test_tasks import OBLIQUE, PerfectPredictors

LV_IN_MYO = (14, 10, 2)
"""A voxel of the myocardium, where users click for LV."""


@pytest.fixture
def store(studies: Path) -> StudiesDatastore:
    return StudiesDatastore(studies, lambda cine: (0, 1))


@pytest.fixture
def predictors(corrector: Corrector, monkeypatch: pytest.MonkeyPatch) -> Predictors:
    made = PerfectPredictors()
    monkeypatch.setattr(made, "open", corrector.open)
    return made


@pytest.fixture
def lone(studies: Path) -> Path:
    return studies / "lone.nii.gz"


@pytest.fixture
def by_clicks(predictors: Predictors, store: StudiesDatastore) -> Callable[..., np.ndarray]:
    """Runs correction by clicks and gives the label map."""
    corrections = [CorrectByClicks(name, predictors, store) for name in CORRECTIONS]
    tasks = {task.type.value: task for task in corrections}

    def correct(path: Path, kind: str = "deepedit", mask: Path | None = None, **params: Any) -> np.ndarray:
        request = {"image": str(path), "caller": "anna", "mask": mask, "result_extension": ".nrrd"}
        return run(
            tasks[kind], request | {"interaction": sent_interaction(kind, json.loads(json.dumps(params)))}
        )[0]

    return correct


def run(task: Any, request: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """The label map on the image's grid, whose geometry is checked, and the measures."""
    file, told = task(request)
    mask = read_sent_label(Path(file), read_volume(Path(request["image"])))
    Path(file).unlink()
    return mask, told


def turned_index(index: tuple[int, ...], image: nib.Nifti1Image, turned: nib.Nifti1Image) -> list[int]:
    """The voxel of a turned image that lies where a voxel of the image does."""
    at = np.linalg.inv(turned.affine) @ image.affine @ (*index, 1)
    return [round(place) for place in at[:3]]


def upright_heart(affine: np.ndarray) -> nib.Nifti1Image:
    """Without noise, in the pixels of the network, so that turning it changes no intensity."""
    return nib.Nifti1Image(np.round(heart() / 10 - 0.02).astype(np.float32) * 10, affine)


@pytest.mark.parametrize("kind", ["deepedit", "deepgrow"])
def test_a_click_lands_on_its_voxel_for_every_order_of_axes(
    by_clicks: Callable[..., np.ndarray], tmp_path: Path, kind: str
) -> None:
    fine = OBLIQUE @ np.diag([0.75, 0.75, 1, 1])
    image = upright_heart(fine)
    index, apart = LV_IN_MYO, (2, 3, 1)
    reference = None
    for number, (order, signs) in enumerate(axis_orders()):
        turned = image.as_reoriented(np.stack([order, signs], axis=1))
        path = write_nifti(tmp_path / f"{number}.nii.gz", np.asarray(turned.dataobj), turned.affine)
        click, other = turned_index(index, image, turned), turned_index(apart, image, turned)
        if kind == "deepedit":
            found = by_clicks(path, lv=[click], rv=[other])
            assert found[tuple(other)] == 1
        else:
            found = by_clicks(path, kind, label="lv", foreground=[click], slice=click[2])
        assert found[tuple(click)] == (3 if kind == "deepedit" else 1)
        back = nib.Nifti1Image(found, turned.affine).as_reoriented(
            nib.orientations.ornt_transform(
                nib.io_orientation(turned.affine), nib.io_orientation(image.affine)
            )
        )
        np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)
        corrected = np.asarray(back.dataobj)
        if kind == "deepgrow":
            corrected = corrected[:, :, index[2]]
        reference = corrected if reference is None else reference
        np.testing.assert_array_equal(corrected, reference)
    upright = true_mask(np.asarray(image.dataobj))
    before = upright if kind == "deepedit" else (upright[:, :, index[2]] == 3)
    assert (reference != before).sum() > 2


def test_only_what_lies_around_the_click_changes(by_clicks: Callable[..., np.ndarray], lone: Path) -> None:
    before = true_mask(heart())
    changed = np.argwhere(by_clicks(lone, lv=[LV_IN_MYO]) != before)
    assert len(changed) > 1
    assert np.abs(changed[:, 2] - LV_IN_MYO[2]).max() == 1
    assert (2.0 * np.hypot(*(changed[:, :2] - LV_IN_MYO[:2]).T)).max() < 12


def test_clicks_go_on_from_what_the_caller_was_given_and_can_be_taken_back(
    by_clicks: Callable[..., np.ndarray], lone: Path
) -> None:
    before = by_clicks(lone)
    np.testing.assert_array_equal(before, true_mask(heart()))
    one = by_clicks(lone, lv=[LV_IN_MYO])
    two = by_clicks(lone, lv=[LV_IN_MYO], background=[(17, 10, 1)])
    assert (two[LV_IN_MYO], two[17, 10, 1]) == (3, 0)
    np.testing.assert_array_equal(by_clicks(lone, lv=[LV_IN_MYO], background=[]), one)
    np.testing.assert_array_equal(by_clicks(lone), before)


def test_painting_between_clicks_is_kept_where_it_is_sent(
    by_clicks: Callable[..., np.ndarray], lone: Path, tmp_path: Path
) -> None:
    painted = by_clicks(lone, lv=[LV_IN_MYO])
    painted[0:3, 0:3, 4] = 1
    painted[LV_IN_MYO] = 2
    sent = write_nifti(tmp_path / "painted.nii.gz", painted)
    found = by_clicks(lone, mask=sent, lv=[LV_IN_MYO], rv=[(20, 2, 0)])
    assert (found[0:3, 0:3, 4] == 1).all()
    assert (found[LV_IN_MYO], found[20, 2, 0]) == (2, 1)
    np.testing.assert_array_equal(by_clicks(lone, lv=[LV_IN_MYO], rv=[(20, 2, 0)]), found)


def test_a_mask_of_another_grid_or_with_other_values_is_refused(
    by_clicks: Callable[..., np.ndarray], lone: Path, tmp_path: Path
) -> None:
    small = write_nifti(tmp_path / "small.nii.gz", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(DataError, match="expected the label on the image's grid"):
        by_clicks(lone, mask=small)
    odd = write_nifti(tmp_path / "odd.nii.gz", np.full((24, 20, 5), 7, np.uint8))
    with pytest.raises(DataError, match=r"expected label values \[0, 1, 2, 3\], found \[7\]"):
        by_clicks(lone, mask=odd)


@pytest.mark.parametrize("place", [(24, 0, 0), (0, -1, 0), (0, 0, 5), (0, 0, 10**30)])
def test_a_click_outside_of_the_volume_is_refused(
    by_clicks: Callable[..., np.ndarray], lone: Path, place: tuple[int, int, int]
) -> None:
    with pytest.raises(DataError, match=r"expected clicks within the \(24, 20, 5\) voxels .* for lv"):
        by_clicks(lone, lv=[place])
    with pytest.raises(DataError, match="expected slice from 0 to 4, found 5"):
        by_clicks(lone, "deepgrow", label="lv", slice=5)


def test_without_a_contour_of_the_caller_the_accepted_label_is_corrected(
    by_clicks: Callable[..., np.ndarray], store: StudiesDatastore, lone: Path
) -> None:
    accepted = np.zeros((24, 20, 5), np.uint8)
    accepted[0:6, 0:6, 0] = 1
    store.labels.accept("lone", accepted, read_volume(lone), author="ben")
    found = by_clicks(lone, lv=[(20, 15, 3)])
    np.testing.assert_array_equal(found[:, :, 0], accepted[:, :, 0])
    assert found[20, 15, 3] == 3


def test_what_the_caller_saved_is_gone_on_from(
    by_clicks: Callable[..., np.ndarray], store: StudiesDatastore, lone: Path, tmp_path: Path
) -> None:
    painted = by_clicks(lone, lv=[LV_IN_MYO])
    painted[LV_IN_MYO] = 2
    sent = write_nifti(tmp_path / "sent.nii.gz", painted)
    store.accept("lone", sent, "", {"user": "ben"})
    assert by_clicks(lone, lv=[LV_IN_MYO])[LV_IN_MYO] == 3
    store.accept("lone", sent, "", {"user": "anna"})
    np.testing.assert_array_equal(by_clicks(lone, lv=[LV_IN_MYO]), painted)


def test_another_automatic_contour_is_gone_on_from_with_all_clicks(
    by_clicks: Callable[..., np.ndarray], predictors: Predictors, store: StudiesDatastore, lone: Path
) -> None:
    one = by_clicks(lone, lv=[LV_IN_MYO], background=[(17, 10, 1)])
    run(AutomaticSegmentation("unet", predictors, store), {"image": str(lone), "caller": "anna"})
    np.testing.assert_array_equal(by_clicks(lone, lv=[LV_IN_MYO], background=[(17, 10, 1)]), one)


def test_a_slice_is_corrected_alone_and_sent_alone_as_one_structure(
    by_clicks: Callable[..., np.ndarray], lone: Path
) -> None:
    before = true_mask(heart())
    sent = by_clicks(lone, "deepgrow", label="lv", foreground=[LV_IN_MYO, (1, 1, 4)], background=[], slice=2)
    assert sent[LV_IN_MYO] == 1
    assert not sent[:, :, [0, 1, 3, 4]].any()
    whole = by_clicks(lone)
    np.testing.assert_array_equal(sent[:, :, 2] == 1, whole[:, :, 2] == 3)
    np.testing.assert_array_equal(whole[:, :, [0, 1, 3, 4]], before[:, :, [0, 1, 3, 4]])


def test_where_a_structure_is_not_its_neighbour_is(by_clicks: Callable[..., np.ndarray], lone: Path) -> None:
    before = true_mask(heart())
    inside, rim = (9, 10, 2), (12, 10, 2)
    assert (before[inside], before[rim]) == (3, 3)
    sent = by_clicks(lone, "deepgrow", label="lv", background=[rim], slice=2)
    assert sent[rim] == 0
    assert by_clicks(lone)[rim] == 2
    np.testing.assert_array_equal(
        by_clicks(lone, "deepgrow", label="lv", slice=2)[:, :, 2], before[:, :, 2] == 3
    )


def test_clicks_on_a_slice_last_when_the_volume_is_clicked_on(
    by_clicks: Callable[..., np.ndarray], lone: Path
) -> None:
    rim = (12, 10, 2)
    by_clicks(lone, "deepgrow", label="lv", background=[rim], slice=2)
    found = by_clicks(lone, lv=[(14, 10, 0)])
    assert (found[rim], found[14, 10, 0]) == (2, 3)


def scribble(
    studies: Path, store: StudiesDatastore, strokes: np.ndarray, **params: Any
) -> tuple[np.ndarray, dict]:
    path = write_nifti(studies / ".thorax" / "strokes.nii.gz", strokes)
    request = {"image": str(studies / "lone.nii.gz"), "caller": "anna", "mask": str(path)}
    interaction = sent_interaction("scribbles", {"selected_label_name": "lv"} | params)
    return run(RefineByScribbles(store, "0.1.0"), request | {"interaction": interaction})


def test_scribbles_draw_a_structure_along_the_edges_of_the_image(
    by_clicks: Callable[..., np.ndarray], studies: Path, store: StudiesDatastore, lone: Path
) -> None:
    truth = true_mask(heart())
    strokes = np.where(truth == 3, 2, truth).astype(np.uint8)
    strokes[7:12, 10, 2] = 5
    strokes[4, 8:13, 2] = 4
    sent, told = scribble(studies, store, strokes)
    assert told["label_names"] == {"lv": 1}
    found, wanted = sent[:, :, 2] == 1, truth[:, :, 2] == 3
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.8
    assert not sent[:, :, [0, 1, 3, 4]].any()
    whole = by_clicks(lone)
    np.testing.assert_array_equal((whole == 3), sent == 1)
    np.testing.assert_array_equal(whole == 1, truth == 1)
    assert told["volumes_ml"]["lv"] == pytest.approx((sent == 1).sum() * 0.032, abs=0.01)


def test_strokes_that_take_too_long_are_ended_and_others_are_served(
    studies: Path, store: StudiesDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    strokes = true_mask(heart()).astype(np.uint8)
    strokes[9, 10, 2] = 5
    monkeypatch.setattr("pipelines.server.tasks.refine_by_scribbles", _never_done)
    monkeypatch.setattr(PARSER, "most_s", 5.0)
    with pytest.raises(TooLongError):
        scribble(studies, store, strokes)
    monkeypatch.undo()
    assert scribble(studies, store, strokes)[0].any()


def _never_done(*_: object) -> None:
    time.sleep(600)


def test_scribbles_take_effect_within_the_region_and_not_beyond(
    studies: Path, store: StudiesDatastore
) -> None:
    truth = true_mask(heart())
    strokes = np.where(truth == 3, 2, truth).astype(np.uint8)
    strokes[9, 10, 2] = 5
    whole, _ = scribble(studies, store, strokes)
    part, _ = scribble(studies, store, strokes, roi=[9, 0, 0, 19, 2, 2])
    np.testing.assert_array_equal(part[:10], whole[:10])
    assert whole[10:].any()
    assert not part[10:].any()


def test_scribbles_need_their_file(store: StudiesDatastore, lone: Path) -> None:
    interaction = sent_interaction("scribbles", {"selected_label_name": "lv"})
    with pytest.raises(DataError, match="expected a label map with scribbles as the file 'label'"):
        RefineByScribbles(store, "0.1.0")({"image": str(lone), "interaction": interaction})
