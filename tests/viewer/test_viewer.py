"""The browser page against a running server: what a reader without 3D Slicer does with it."""

import gzip
import itertools
import json
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import nibabel as nib
import numpy as np
import pytest
import urllib3
from PIL import Image
from playwright.sync_api import Dialog, Request, expect

from pipelines.core.cardiac import structure_volumes_ml
from pipelines.core.records import AcdcLabel
from pipelines.datasets.phantom.xray import phantom_xray

from .browser import Opened
from .conftest import PASSWORD

pytestmark = pytest.mark.slow

TURNED = np.array([[1, -1], [0, 1], [2, -1]])
"""Rows and columns exchanged, the first of them and the slices turned around."""

DECODED_WIDTH = "picture => picture.decode().then(() => picture.naturalWidth)"


def colours(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)


def tinted(picture: bytes) -> int:
    """Pixels that are neither grey nor the yellow of the cross."""
    red, green, blue = np.moveaxis(colours(picture), 2, 0)
    return int(((np.abs(red - green) > 60) & (np.abs(green - blue) > 10) & (np.abs(red - blue) > 10)).sum())


def mask_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_a_study_is_opened_segmented_and_measured(viewer: Opened, cine: Path, tmp_path: Path) -> None:
    viewer.study("ED")
    plain = viewer.look()
    assert len(np.unique(colours(plain)[..., 0])) > 50
    viewer.segment()
    assert tinted(viewer.look()) > tinted(plain) + 2000
    path = viewer.downloaded(tmp_path)
    assert path.name == "patient_4d_ED_seg.nii.gz"
    mask, image = nib.load(path), nib.load(cine)
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    assert mask.shape == image.shape[:3]
    spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
    for name, label in (("lv", AcdcLabel.LV), ("rv", AcdcLabel.RV), ("myo", AcdcLabel.MYO)):
        volume_ml = structure_volumes_ml(mask_of(path), spacing)[label]
        assert viewer.number(f"{name}-ml") == pytest.approx(volume_ml, abs=0.06)
    assert viewer.number("lv-ml") > 20
    assert 0 < viewer.number("lv-ef") < 100
    expect(viewer.page.locator("#moment")).to_have_text("patient, ED, frame 1")


def test_a_click_changes_contours_and_numbers_and_can_be_taken_back(viewer: Opened, tmp_path: Path) -> None:
    viewer.study("ED")
    viewer.segment()
    found, before = viewer.number("lv-ml"), mask_of(viewer.downloaded(tmp_path))
    viewer.page.get_by_role("radio", name="Background").check()
    box = viewer.canvas.bounding_box()
    assert box is not None
    # The cross is in the middle of the large slice, in the LV.
    viewer.canvas.click(position={"x": 0.32 * box["width"], "y": 0.5 * box["height"]})
    expect(viewer.page.locator("#lv-ml")).not_to_have_text(f"{found:.1f}")
    after = mask_of(viewer.downloaded(tmp_path))
    assert (after != before).any()
    assert viewer.number("lv-ml") < found
    viewer.page.get_by_role("button", name="Undo").click()
    expect(viewer.page.locator("#lv-ml")).to_have_text(f"{found:.1f}")
    np.testing.assert_array_equal(mask_of(viewer.downloaded(tmp_path)), before)
    viewer.page.get_by_label("in this slice only").check()
    viewer.canvas.click(position={"x": 0.32 * box["width"], "y": 0.5 * box["height"]})
    expect(viewer.page.locator("#lv-ml")).not_to_have_text(f"{found:.1f}")
    changed = mask_of(viewer.downloaded(tmp_path)) != before
    assert len(np.unique(np.argwhere(changed)[:, 2])) == 1
    viewer.page.get_by_label("in this slice only").uncheck()


def test_everything_is_reached_by_keyboard(viewer: Opened) -> None:
    press = viewer.page.keyboard.press
    viewer.page.locator("#filter").focus()
    press("Tab")
    press("Enter")
    expect(viewer.status).to_have_text("patient_4d_ED is open")
    expect(viewer.canvas).to_be_focused()
    place = viewer.page.locator("#slice")
    expect(place).to_have_text("Slice 3 of 5")
    press("ArrowUp")
    expect(place).to_have_text("Slice 4 of 5")
    press("PageDown")
    press("PageDown")
    expect(place).to_have_text("Slice 2 of 5")
    press("s")
    expect(viewer.status).to_contain_text("LV EF")
    press("p")
    expect(viewer.status).to_have_text("Probability of LV by unet")
    press("m")
    expect(viewer.status).to_have_text("Image only")
    press("m")
    expect(viewer.status).to_have_text("Contours")
    press("v")
    expect(viewer.page.get_by_role("button", name="Slice", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    press("2")
    expect(viewer.page.get_by_role("radio", name="Myocardium")).to_be_checked()
    found = viewer.page.locator("#myo-ml").inner_text()
    press("Shift+ArrowRight")
    press("Enter")
    expect(viewer.page.locator("#myo-ml")).not_to_have_text(found)
    press("Backspace")
    expect(viewer.page.locator("#myo-ml")).to_have_text(found)
    press("Escape")
    press("v")
    press("v")
    press("?")
    expect(viewer.page.get_by_role("heading", name="Keys")).to_be_visible()
    press("Escape")
    expect(viewer.page.get_by_role("heading", name="Keys")).to_be_hidden()


def test_the_cine_plays_and_is_measured(viewer: Opened) -> None:
    viewer.study("ES")
    viewer.segment()
    viewer.page.get_by_role("button", name="Slice", exact=True).click()
    with_contours = viewer.look()
    viewer.canvas.focus()
    viewer.page.keyboard.press("Space")
    expect(viewer.page.get_by_role("button", name="Pause")).to_be_visible()
    text = viewer.page.locator("#frame-text")
    expect(text).to_have_text("1 of 4")  # it goes through all of them again and again
    viewer.page.keyboard.press("Space")
    expect(viewer.page.get_by_role("button", name="Play")).to_be_visible()
    own = int(viewer.page.locator("#moment").inner_text().rpartition(" ")[2])

    def has_contours(frame: int) -> bool:
        viewer.page.locator("#frame").fill(str(frame))
        expect(text).to_have_text(f"{frame} of 4")
        return tinted(viewer.look()) > 0.5 * tinted(with_contours)

    # Contours belong to the frame that they were found on; once all are measured, each has its own.
    assert [has_contours(frame) for frame in range(1, 5)] == [frame == own for frame in range(1, 5)]
    viewer.page.get_by_role("button", name="Volume curve").click()
    expect(viewer.status).to_contain_text("EF")
    curve = viewer.page.locator("#curve svg")
    expect(curve).to_be_visible()
    assert len(viewer.page.locator("#curve .lv").get_attribute("points").split()) == 4
    assert viewer.page.locator("#curve figcaption").inner_text() == viewer.status.inner_text()
    assert all(has_contours(frame) for frame in range(1, 5))
    viewer.page.get_by_role("button", name="Planes").click()


def test_a_label_is_saved_and_shown_again(viewer: Opened, cine: Path, tmp_path: Path) -> None:
    viewer.study("ES")
    viewer.segment()
    found = mask_of(viewer.downloaded(tmp_path))
    viewer.page.get_by_role("button", name="Save label").click()
    expect(viewer.status).to_have_text("Saved: the server accepted the label of patient_4d_ES")
    saved = cine.parents[1] / "labels" / "final" / "patient_4d_ES_seg.nii.gz"
    np.testing.assert_array_equal(mask_of(saved), found)
    expect(viewer.page.get_by_role("button", name="ES, has a label")).to_be_visible()
    viewer.study("ED")
    viewer.study("ES")
    expect(viewer.status).to_have_text("patient_4d_ES is open, with the label that was saved")
    np.testing.assert_array_equal(mask_of(viewer.downloaded(tmp_path)), found)


def test_the_numbers_of_a_saved_label_are_there_when_it_opens_without_a_network(
    viewer: Opened,
) -> None:
    for phase in ("ED", "ES"):
        viewer.study(phase)
        viewer.segment()
        viewer.page.get_by_role("button", name="Save label").click()
        expect(viewer.status).to_contain_text("Saved")
    names = ("lv-ml", "rv-ml", "myo-ml", "lv-ef", "rv-ef", "mass")
    numbers = [viewer.number(name) for name in names]
    viewer.study("ED")
    asked = len(viewer.addresses)
    viewer.study("ES")
    expect(viewer.status).to_have_text("patient_4d_ES is open, with the label that was saved")
    assert [viewer.number(name) for name in names] == numbers
    assert not any("/infer/" in address for address in viewer.addresses[asked:])


def lv_ef_percent(ed: np.ndarray, es: np.ndarray) -> float:
    ed_voxels, es_voxels = ((mask == AcdcLabel.LV).sum() for mask in (ed, es))
    return float(100 * (ed_voxels - es_voxels) / ed_voxels)


def test_undo_and_redo_go_over_both_phases_of_a_study(viewer: Opened) -> None:
    moment = viewer.page.locator("#moment")
    seen = {}
    for phase in ("ED", "ES"):
        viewer.study(phase)
        viewer.segment()
        seen[phase] = [voxels_shown(viewer)]
        viewer.click_middle("Background")
        viewer.settled()
        seen[phase].append(voxels_shown(viewer))
        assert (seen[phase][0] != seen[phase][1]).any()
    assert viewer.number("lv-ef") == pytest.approx(lv_ef_percent(seen["ED"][1], seen["ES"][1]), abs=0.06)
    viewer.press("Control+z")
    np.testing.assert_array_equal(voxels_shown(viewer), seen["ES"][0])
    # The ejection fraction of the one phase follows what becomes of the other.
    viewer.study("ED")
    np.testing.assert_array_equal(voxels_shown(viewer), seen["ED"][1])
    assert viewer.number("lv-ef") == pytest.approx(lv_ef_percent(seen["ED"][1], seen["ES"][0]), abs=0.06)
    viewer.press("Control+z")
    expect(moment).to_contain_text("patient, ES")
    viewer.press("Control+z")
    expect(moment).to_contain_text("patient, ED")
    np.testing.assert_array_equal(voxels_shown(viewer), seen["ED"][0])
    for _ in range(3):
        viewer.press("Control+Shift+z")
    expect(moment).to_contain_text("patient, ES")
    np.testing.assert_array_equal(voxels_shown(viewer), seen["ES"][1])
    expect(viewer.page.get_by_role("button", name="Redo")).to_be_disabled()
    # A click after it was taken back and done again goes on from what is shown.
    viewer.press("Control+z")
    viewer.press("Control+Shift+z")
    viewer.click_middle("Myocardium")
    viewer.settled()
    assert (voxels_shown(viewer) != seen["ES"][0]).any()


def test_nothing_is_lost_without_a_question(viewer: Opened, cine: Path) -> None:
    viewer.study("ED")
    viewer.segment()
    automatic = voxels_shown(viewer)
    viewer.click_middle("Background")
    viewer.settled()
    corrected = voxels_shown(viewer)
    question = viewer.page.locator("#question")
    viewer.page.get_by_role("button", name="Segment").click()
    expect(question).to_contain_text("Corrections would be replaced by new contours")
    viewer.page.get_by_role("button", name="Cancel").click()
    viewer.settled()
    np.testing.assert_array_equal(voxels_shown(viewer), corrected)
    viewer.page.get_by_role("button", name="Segment").click()
    viewer.page.get_by_role("button", name="Segment anew").click()
    viewer.settled()
    np.testing.assert_array_equal(voxels_shown(viewer), automatic)
    viewer.press("Control+z")
    np.testing.assert_array_equal(voxels_shown(viewer), corrected)
    viewer.drop("other.nii.gz", cine.read_bytes())
    expect(question).to_contain_text("Corrections are not saved and would be lost")
    viewer.page.get_by_role("button", name="Cancel").click()
    viewer.settled()
    np.testing.assert_array_equal(voxels_shown(viewer), corrected)
    asked = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    viewer.page.once("dialog", stay)
    with viewer.page.expect_event("dialog"):
        viewer.page.evaluate("setTimeout(() => location.reload())")
    assert asked == ["beforeunload"]
    np.testing.assert_array_equal(voxels_shown(viewer), corrected)


def test_a_label_that_cannot_be_a_heart_is_saved_only_after_a_question(viewer: Opened, cine: Path) -> None:
    ben, image = Ben(viewer.address), nib.load(cine)
    empty = np.zeros(image.shape[:3], np.uint8)
    marked = ben.save("patient_4d_ED", empty, image.affine)
    assert (marked["doubts"], marked["confirmed"]) == (["the label map is empty"], False)
    viewer.study("ED")
    expect(viewer.page.locator("#warnings")).to_contain_text("no heart found")
    viewer.page.get_by_role("button", name="Save label").click()
    expect(viewer.page.locator("#question")).to_contain_text("cannot be a heart: the label map is empty")
    viewer.page.get_by_role("button", name="Cancel").click()
    expect(viewer.status).to_have_text("Not saved")
    assert ben.history("patient_4d_ED")[-1]["author"] == "ben"
    viewer.page.get_by_role("button", name="Save label").click()
    viewer.page.get_by_role("button", name="Save all the same").click()
    expect(viewer.status).to_contain_text("Saved")
    newest = ben.history("patient_4d_ED")[-1]
    assert (newest["author"], newest["confirmed"]) == ("anna", True)
    # The browser itself notes that the server refused twice.
    viewer.errors[:] = [error for error in viewer.errors if "422 (Unprocessable" not in error]


def voxels(content: bytes) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)


class Ben:
    """A colleague who saves labels by the protocol, without the page."""

    def __init__(self, address: str) -> None:
        self.address = address
        body = urlencode({"username": "ben", "password": PASSWORD})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = urllib3.request("POST", f"{address}/auth/token", body=body, headers=headers)
        self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def label(self, image: str) -> np.ndarray:
        url = f"{self.address}/datastore/label?label={image}&tag=final"
        return voxels(urllib3.request("GET", url, headers=self.headers).data)

    def history(self, image: str) -> list[dict[str, Any]]:
        url = f"{self.address}/datastore/label/history?label={image}"
        return list(urllib3.request("GET", url, headers=self.headers).json())

    def save(self, image: str, mask: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
        content = gzip.compress(nib.Nifti1Image(mask, affine).to_bytes())
        url = f"{self.address}/datastore/label?image={image}"
        fields = {"label": ("label.nii.gz", content)}
        answer = urllib3.request("PUT", url, headers=self.headers, fields=fields)
        assert answer.status == 200, answer.data
        return dict(answer.json()["history"])


@pytest.fixture
def ben(viewer: Opened, cine: Path) -> Iterator[Ben]:
    """Who has saved a label of ED with RV in a corner, after the page had segmented it."""
    viewer.study("ED")
    viewer.segment()
    found = Ben(viewer.address)
    corrected = voxels_shown(viewer)
    corrected[:4, :4, 0] = AcdcLabel.RV
    found.save("patient_4d_ED", corrected, nib.load(cine).affine)
    yield found
    # The browser itself notes that the server refused what was stale.
    viewer.errors[:] = [error for error in viewer.errors if "409 (Conflict)" not in error]


def voxels_shown(viewer: Opened) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        return mask_of(viewer.downloaded(Path(folder))).copy()


def test_a_click_on_old_contours_shows_the_colleagues_and_lets_the_reader_take_them(
    viewer: Opened, ben: Ben
) -> None:
    theirs = ben.label("patient_4d_ED")
    mine = voxels_shown(viewer)
    assert (mine != theirs).any()
    viewer.click_middle("Background")
    expect(viewer.page.get_by_role("heading", name="This label has a newer version")).to_be_visible()
    expect(viewer.page.locator("#stale-text")).to_contain_text("ben saved version")
    expect(viewer.page.locator("#stale-text")).to_contain_text(f"differ in {(mine != theirs).sum()} voxels")
    assert viewer.page.locator("#stale-numbers tr").count() == 4
    shown = viewer.look()
    viewer.page.get_by_role("radio", name="Mine").check()
    viewer.until(lambda: viewer.look() != shown)
    viewer.page.get_by_role("button", name="Take theirs").click()
    expect(viewer.status).to_contain_text("by ben is shown")
    np.testing.assert_array_equal(voxels_shown(viewer), theirs)
    # From here on clicks begin with it, and what the colleague added stays.
    viewer.click_middle("Background")
    expect(viewer.status).to_contain_text("LV EF")
    after = voxels_shown(viewer)
    assert (after != theirs).any()
    assert (after[:4, :4, 0] == AcdcLabel.RV).all()
    viewer.page.keyboard.press("Control+z")
    expect(viewer.status).to_contain_text("Taken back")
    viewer.page.keyboard.press("Control+z")
    expect(viewer.page.get_by_role("button", name="Redo")).to_be_enabled()
    np.testing.assert_array_equal(voxels_shown(viewer), mine)


def test_a_save_of_old_contours_asks_and_keeps_the_readers_as_the_next_version(
    viewer: Opened, ben: Ben
) -> None:
    theirs, mine = ben.label("patient_4d_ED"), voxels_shown(viewer)
    viewer.page.get_by_role("button", name="Save label").click()
    expect(viewer.page.get_by_role("heading", name="This label has a newer version")).to_be_visible()
    np.testing.assert_array_equal(ben.label("patient_4d_ED"), theirs)
    viewer.page.get_by_role("button", name="Keep mine").click()
    expect(viewer.status).to_have_text("Saved: the server accepted the label of patient_4d_ED")
    np.testing.assert_array_equal(ben.label("patient_4d_ED"), mine)
    newest = ben.history("patient_4d_ED")[-1]
    assert (newest["author"], newest["before"]["author"]) == ("anna", "ben")
    assert newest["model"].startswith("unet")


def test_a_click_means_the_voxel_of_the_file_however_it_is_stored(viewer: Opened, cine: Path) -> None:
    image = nib.load(cine)
    # Along the body's axes, so that the page's axes are those of the file in another order.
    dx, dy, dz = (float(step) for step in image.header.get_zooms()[:3])
    upright = nib.Nifti1Image(np.asarray(image.dataobj)[..., 0], np.diag([-dx, -dy, dz, 1.0]))
    turned = upright.as_reoriented(TURNED)
    viewer.drop("turned heart.nii.gz", gzip.compress(turned.to_bytes()))
    expect(viewer.status).to_have_text("turned heart is open")
    sent: list[Request] = []
    viewer.page.on(
        "request", lambda request: sent.append(request) if "correct_volume" in request.url else None
    )
    viewer.page.get_by_role("button", name="Slice", exact=True).click()
    for key in ("ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowLeft", "3", "Enter"):
        viewer.canvas.focus()
        viewer.page.keyboard.press(key)
    expect(viewer.status).to_contain_text("LV ")
    ras = nib.as_closest_canonical(turned)
    # The cross starts in the middle; the patient's right is on the left of the screen.
    place = np.add([size // 2 for size in ras.shape], (1, 2, 1))
    expected = np.linalg.inv(turned.affine) @ ras.affine @ [*place, 1]
    body = sent[-1].post_data or ""
    params = json.loads(body[body.index("{") : body.rindex("}") + 1])
    assert params["lv"] == [np.round(expected[:3]).astype(int).tolist()]
    assert params["rv"] == params["myo"] == params["background"] == []


def test_voxels_are_found_in_each_order_of_axes(viewer: Opened) -> None:
    generator = np.random.default_rng(0)
    affine = np.diag([1.5, 1.4, 9.0, 1.0])
    affine[:3, :3] += generator.normal(0, 0.2, (3, 3))
    affine[:3, 3] = (-80, 40, 12)
    cases = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            image = nib.Nifti1Image(np.zeros((20, 24, 6), np.uint8), affine)
            turned = image.as_reoriented(np.column_stack([order, signs]))
            voxel = [int(generator.integers(size)) for size in turned.shape]
            cases.append((turned.affine.tolist(), (turned.affine @ [*voxel, 1])[:3].tolist(), voxel))
    found = viewer.page.evaluate(
        """async (cases) => {
            const { voxelAt } = await import("/viewer/nifti.js");
            return cases.map(([affine, mm]) => voxelAt(affine, mm));
        }""",
        cases,
    )
    assert found == [voxel for _, _, voxel in cases]
    assert len(found) == 48


def test_a_dropped_cine_is_segmented_in_the_frame_that_is_shown(viewer: Opened, cine: Path) -> None:
    viewer.drop("mine.nii.gz", cine.read_bytes())
    expect(viewer.status).to_have_text("mine is open")
    viewer.page.locator("#frame").fill("3")
    viewer.page.get_by_role("button", name="Segment").click()
    expect(viewer.page.locator("#moment")).to_have_text("mine, frame 3")
    viewer.settled()
    assert viewer.number("lv-ml") > 10
    expect(viewer.page.locator("#lv-ef")).to_have_text("–")
    viewer.page.get_by_role("button", name="Volume curve").click()
    expect(viewer.page.locator("#lv-ef")).not_to_have_text("–")
    expect(viewer.page.get_by_role("button", name="Save label")).to_be_disabled()


def test_a_dropped_radiograph_gets_its_class_and_heat_map(viewer: Opened) -> None:
    viewer.drop("chest.png", film(0))
    expect(viewer.page.locator("#decision")).to_have_text("No pneumonia")
    for name in ("picture", "heat"):
        picture = viewer.page.locator(f"#{name}")
        assert picture.evaluate(DECODED_WIDTH) == Image.open(BytesIO(film(0))).width
    # The film first, the heat map when it is asked for.
    expect(viewer.page.locator("#heat")).to_have_css("opacity", "0")
    viewer.page.locator("#heat-strength").fill("60")
    expect(viewer.page.locator("#heat")).to_have_css("opacity", "0.6")
    expect(viewer.page.locator("#xray-name")).to_have_text("chest.png")
    expect(viewer.canvas).to_be_hidden()
    viewer.study("ED")
    expect(viewer.canvas).to_be_visible()


def film(seed: int) -> bytes:
    stream = BytesIO()
    pixels = np.round(255 * phantom_xray(np.random.default_rng(seed))).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_reading_of_a_film_is_saved_asked_for_and_shown_again(viewer: Opened) -> None:
    name, readings = viewer.page.locator("#xray-name"), viewer.page.locator("#readings li")
    viewer.drop("first.png", film(1))
    expect(name).to_have_text("first.png")
    viewer.settled()
    expect(readings).to_have_count(0)
    viewer.page.get_by_role("radio", name="Unsure").check()
    viewer.page.get_by_label("Note", exact=True).fill("a rib above")
    # What was said is not lost without a question.
    viewer.drop("second.png", film(2))
    expect(viewer.page.locator("#question")).to_contain_text("Your reading is not saved")
    viewer.page.locator("#question").get_by_role("button", name="Cancel").click()
    viewer.settled()
    expect(name).to_have_text("first.png")
    viewer.page.get_by_role("button", name="Save reading").click()
    expect(viewer.status).to_have_text("Saved: first.png is unsure by anna")
    expect(readings).to_contain_text("unsure by anna")
    expect(readings).to_contain_text(": a rib above (")
    # Two films side by side, the first with its heat map as it was.
    viewer.page.locator("#heat-strength").fill("40")
    viewer.page.get_by_role("button", name="Compare").click()
    viewer.drop("second.png", film(2))
    expect(name).to_have_text("second.png")
    viewer.settled()
    other = viewer.page.locator("#other")
    expect(other).to_contain_text("first.png: ")
    expect(viewer.page.locator("#film-text")).to_contain_text("second.png: ")
    expect(other.locator("img").nth(1)).to_have_css("opacity", "0.4")
    boxes = [viewer.page.locator(f"#{one}").bounding_box() for one in ("other", "film")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=2)
    viewer.page.get_by_role("button", name="Compare").click()
    expect(other).to_be_hidden()
    # The reading belongs to the film, whatever its file is called.
    viewer.drop("again.png", film(1))
    expect(name).to_have_text("again.png")
    viewer.settled()
    expect(readings).to_contain_text("unsure by anna")
    viewer.study("ED")


def test_what_is_no_chest_film_gets_no_verdict_and_no_heat_map(viewer: Opened) -> None:
    stream = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    viewer.drop("noise.png", stream.getvalue())
    expect(viewer.page.locator("#decision")).to_have_text("No verdict")
    expect(viewer.page.locator("#xray-warnings")).to_contain_text("hardly looks like a chest")
    expect(viewer.page.locator("#xray")).not_to_contain_text("%")
    expect(viewer.page.locator("#heat")).to_be_hidden()
    expect(viewer.page.locator("#heat-strength")).to_be_hidden()
    viewer.study("ED")


def test_a_photograph_of_a_radiograph_is_made_smaller_and_classified(viewer: Opened, tmp_path: Path) -> None:
    picture = Image.fromarray(np.round(255 * phantom_xray(np.random.default_rng(0))).astype(np.uint8))
    picture.convert("RGB").resize((3000, 2400)).save(tmp_path / "IMG_0001.jpg")
    viewer.page.locator("#camera").set_input_files(tmp_path / "IMG_0001.jpg")
    expect(viewer.page.locator("#decision")).to_be_visible()
    shown = viewer.page.locator("#picture")
    # The longer side is sent with 2048 pixels, and comes back with 1024.
    assert shown.evaluate(DECODED_WIDTH) == 1024
    (tmp_path / "notes.jpg").write_text("text", encoding="utf-8")
    viewer.page.locator("#camera").set_input_files(tmp_path / "notes.jpg")
    problem = viewer.page.get_by_role("alert").filter(has_text="Expected a photograph")
    expect(problem).to_be_visible()
    viewer.study("ED")


def test_the_camera_is_looked_at_again_and_again_until_it_is_stopped(viewer: Opened) -> None:
    live = viewer.page.get_by_role("button", name="Live camera")
    with viewer.page.expect_response("**/viewer/data/xray*"):
        live.click()
    with viewer.page.expect_response("**/viewer/data/xray*"):
        expect(live).to_have_attribute("aria-pressed", "true")
    expect(viewer.page.locator("#decision")).to_have_text("No verdict")
    live.click()
    expect(live).to_have_attribute("aria-pressed", "false")
    viewer.study("ED")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.txt", b"text", "Expected a heart (.nii, .nii.gz) or a chest X-ray"),
        ("heart.nii", b"text", "Expected a NIfTI-1 file (.nii or .nii.gz), found a file that is none."),
        ("heart.nii.gz", b"\x1f\x8brubbish", "Expected a whole .nii.gz file, found a damaged one."),
        ("chest.jpg", b"text", "Expected a whole JPEG, PNG or DICOM image, found another file."),
    ],
)
def test_a_wrong_file_gives_a_message_and_leaves_what_was_open(
    viewer: Opened, name: str, content: bytes, told: str
) -> None:
    viewer.study("ED")
    viewer.drop(name, content)
    problem = viewer.page.get_by_role("alert").filter(has_text=told)
    expect(problem).to_be_visible()
    expect(viewer.page.locator("#moment")).to_have_text("patient, ED, frame 1")
    viewer.study("ES")
    expect(problem).to_be_hidden()
    # The browser itself notes that the server refused the picture.
    viewer.errors[:] = [error for error in viewer.errors if "400 (Bad Request)" not in error]


def test_the_page_fits_a_phone(viewer: Opened) -> None:
    size = viewer.page.viewport_size
    assert size is not None
    viewer.page.set_viewport_size({"width": 360, "height": 740})
    try:
        assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 360
        for name in ("Segment", "Volume curve", "Save label", "Download mask", "Planes", "Play"):
            box = viewer.page.get_by_role("button", name=name).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
            assert box["height"] >= 32
        viewer.drop("chest.png", film(0))
        expect(viewer.page.locator("#heat-row")).to_be_visible()
        assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        viewer.page.set_viewport_size(size)
