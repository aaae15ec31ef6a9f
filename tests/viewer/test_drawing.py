"""Drawing by hand, and the ways to look at a heart, in the browser."""

from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from pipelines.core.cardiac import structure_volumes_ml
from pipelines.core.records import AcdcLabel

from .browser import Opened

pytestmark = pytest.mark.slow

SLICES: Final = 5

AXE: Final = Path(__file__).parents[2] / ".cache" / "node" / "node_modules" / "axe-core" / "axe.min.js"
"""Finds what hinders readers with screen readers or weak sight; put there by make page-types."""


def mask_of(viewer: Opened, folder: Path) -> np.ndarray:
    return np.asarray(nib.load(viewer.downloaded(folder)).dataobj).copy()


def by_slice(mask: np.ndarray, label: AcdcLabel) -> list[int]:
    return [int(count) for count in (mask == label).sum(axis=(0, 1))]


def go_to(viewer: Opened, number: int) -> None:
    """Put the cross on a slice, from 1."""
    text = viewer.page.locator("#slice")
    while (at := int(text.inner_text().split()[1])) != number:
        viewer.page.locator("#slice-up" if at < number else "#slice-down").click()
        expect(text).to_have_text(f"Slice {at + (1 if at < number else -1)} of {SLICES}")


def measured(viewer: Opened) -> None:
    viewer.settled()
    expect(viewer.page.locator("#numbers")).to_have_attribute("aria-busy", "false")


def draw(viewer: Opened, *points: tuple[float, float]) -> None:
    """Draw along points, as shares of the canvas, and wait until it was measured."""
    box = viewer.canvas.bounding_box()
    assert box is not None
    mouse = viewer.page.mouse
    (x, y), *others = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in points]
    mouse.move(x, y)
    mouse.down()
    for place in others:
        mouse.move(*place)
    mouse.up()
    measured(viewer)


def press(viewer: Opened, name: str) -> None:
    """Act on a slice, and wait until it was measured."""
    viewer.page.get_by_role("button", name=name).click()
    measured(viewer)


def test_brush_and_eraser_draw_in_one_slice_and_can_be_taken_back(
    viewer: Opened, cine: Path, tmp_path: Path
) -> None:
    viewer.study("ED")
    viewer.page.get_by_role("button", name="Slice", exact=True).click()
    viewer.page.get_by_role("radio", name="Brush").check()
    expect(viewer.page.get_by_role("radio", name="LV")).to_be_checked()
    viewer.page.locator("#size").fill("10")
    draw(viewer, (0.4, 0.5), (0.6, 0.5))
    drawn, image = mask_of(viewer, tmp_path), nib.load(cine)
    assert [count > 0 for count in by_slice(drawn, AcdcLabel.LV)] == [False, False, True, False, False]
    assert set(np.unique(drawn)) == {0, AcdcLabel.LV}
    spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
    # As wide as the brush, and longer than wide.
    sizes_mm = sorted(np.ptp(np.argwhere(drawn), axis=0)[:2] * spacing[:2])
    assert sizes_mm[0] == pytest.approx(10, abs=2 * max(spacing[:2]))
    assert sizes_mm[1] > 20
    volume_ml = structure_volumes_ml(drawn, spacing)[AcdcLabel.LV]
    assert viewer.number("lv-ml") == pytest.approx(volume_ml, abs=0.06)
    viewer.page.get_by_role("radio", name="Eraser").check()
    draw(viewer, (0.5, 0.5))
    erased = mask_of(viewer, tmp_path)
    assert 0 < by_slice(erased, AcdcLabel.LV)[2] < by_slice(drawn, AcdcLabel.LV)[2]
    viewer.press("Control+z")
    np.testing.assert_array_equal(mask_of(viewer, tmp_path), drawn)
    viewer.press("Control+Shift+z")
    np.testing.assert_array_equal(mask_of(viewer, tmp_path), erased)
    # The cross stayed where it was, and a click is a click again.
    viewer.page.get_by_role("radio", name="Click").check()
    viewer.page.get_by_role("radio", name="nothing").check()
    expect(viewer.page.locator("#size")).to_be_hidden()


def test_slices_are_filled_between_emptied_and_copied(viewer: Opened, tmp_path: Path) -> None:
    viewer.study("ED")
    viewer.page.get_by_role("button", name="Slice", exact=True).click()
    viewer.page.get_by_role("radio", name="Brush").check()
    viewer.page.get_by_role("radio", name="RV").check()
    for number, size in ((2, "10"), (4, "30")):
        go_to(viewer, number)
        viewer.page.locator("#size").fill(size)
        draw(viewer, (0.5, 0.5))
    drawn = by_slice(mask_of(viewer, tmp_path), AcdcLabel.RV)
    press(viewer, "Fill between")
    filled = by_slice(mask_of(viewer, tmp_path), AcdcLabel.RV)
    assert (filled[:2], filled[3:]) == (drawn[:2], drawn[3:])
    assert drawn[1] < filled[2] < drawn[3]
    go_to(viewer, 5)
    press(viewer, "Copy \u25bc")
    copied = mask_of(viewer, tmp_path)
    np.testing.assert_array_equal(copied[..., 4], copied[..., 3])
    go_to(viewer, 4)
    press(viewer, "Empty slice")
    emptied = by_slice(mask_of(viewer, tmp_path), AcdcLabel.RV)
    assert emptied == [0, drawn[1], filled[2], 0, drawn[3]]
    viewer.page.get_by_role("radio", name="Click").check()
    viewer.page.get_by_role("radio", name="nothing").check()


def test_all_slices_are_a_grid_in_which_one_is_chosen(viewer: Opened) -> None:
    viewer.study("ED")
    viewer.canvas.focus()
    viewer.page.keyboard.press("g")
    button = viewer.page.get_by_role("button", name="Grid")
    expect(button).to_have_attribute("aria-pressed", "true")
    box = viewer.canvas.bounding_box()
    assert box is not None
    # Five slices lie in three columns and two rows; the fourth is below the first.
    viewer.canvas.click(position={"x": box["width"] / 6, "y": 0.75 * box["height"]})
    expect(viewer.page.locator("#slice")).to_have_text(f"Slice 4 of {SLICES}")
    viewer.page.keyboard.press("g")
    expect(viewer.page.get_by_role("button", name="Slice", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_both_phases_are_side_by_side_at_one_place(viewer: Opened) -> None:
    viewer.study("ED")
    viewer.page.get_by_role("button", name="Both phases").click()
    other = viewer.page.locator("#beside")
    expect(other).to_contain_text("patient, ES")
    expect(viewer.page.locator("#here")).to_have_text("patient, ED, frame 1")
    viewer.settled()
    before = other.screenshot()
    viewer.page.locator("#slice-up").click()
    viewer.until(lambda: other.screenshot() != before)
    viewer.page.get_by_role("button", name="Correct this one").click()
    expect(viewer.page.locator("#moment")).to_contain_text("patient, ES")
    expect(other).to_contain_text("patient, ED")
    viewer.settled()
    viewer.page.get_by_role("button", name="Both phases").click()
    expect(other).to_be_hidden()


def test_window_and_level_follow_the_mouse_the_list_and_the_keyboard(viewer: Opened) -> None:
    viewer.study("ED")
    width, level = viewer.page.locator("#window-width"), viewer.page.locator("#window-level")
    usual = [float(width.input_value()), float(level.input_value())]
    plain = viewer.look()
    viewer.page.locator("#window").select_option("hard")
    assert float(width.input_value()) == pytest.approx(usual[0] / 2, abs=1)
    viewer.until(lambda: viewer.look() != plain)
    viewer.page.locator("#window").select_option("usual")
    assert [float(width.input_value()), float(level.input_value())] == usual
    box = viewer.canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"]
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.down(button="right")
    viewer.page.mouse.move(x + 100, y - 40)
    viewer.page.mouse.up(button="right")
    assert float(width.input_value()) == pytest.approx(1.25 * usual[0], abs=1)
    assert float(level.input_value()) == pytest.approx(usual[1] - 0.1 * usual[0], abs=1)
    width.fill("50")
    width.press("Enter")
    assert float(level.input_value()) == pytest.approx(usual[1] - 0.1 * usual[0], abs=1)
    # What is no window is put back.
    width.fill("-3")
    width.press("Enter")
    expect(width).to_have_value("50")


def test_what_takes_long_shows_its_time_and_can_be_cancelled(viewer: Opened) -> None:
    viewer.study("ED")
    viewer.page.route("**/infer/**", lambda route: None)  # never answered
    viewer.page.get_by_role("button", name="Segment").click()
    expect(viewer.page.locator("#elapsed")).to_have_text("1 s")
    viewer.page.get_by_role("button", name="Cancel", exact=True).click()
    expect(viewer.status).to_have_text("Cancelled")
    expect(viewer.page.locator("#problem")).to_be_hidden()
    expect(viewer.page.locator("#cancel")).to_be_hidden()
    viewer.page.unroute("**/infer/**")
    viewer.segment()


def has_ruler(viewer: Opened) -> bool:
    """Whether a yellow line goes through a part of the slice where the cross is not."""
    picture = np.asarray(Image.open(BytesIO(viewer.look())).convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    part = picture[int(0.37 * height) : int(0.43 * height), int(0.42 * width) : int(0.46 * width)]
    return bool((part[..., 0] - part[..., 2] > 80).any())


def test_distances_are_measured_in_mm_and_stay_with_their_slice(viewer: Opened, cine: Path) -> None:
    viewer.study("ED")
    viewer.page.get_by_role("button", name="Slice", exact=True).click()
    assert not has_ruler(viewer)
    viewer.press("r")
    expect(viewer.page.get_by_role("radio", name="Ruler")).to_be_checked()
    draw(viewer, (0.4, 0.4), (0.6, 0.4))
    box, image = viewer.canvas.bounding_box(), nib.load(cine)
    assert box is not None
    # The slice fills the height of the canvas.
    mm_per_pixel = image.shape[1] * image.header.get_zooms()[1] / box["height"]
    distance = viewer.status.inner_text()
    distance_mm = float(distance.removeprefix("Distance ").removesuffix(" mm"))
    assert distance_mm == pytest.approx(0.2 * box["width"] * mm_per_pixel, rel=0.02)
    viewer.until(lambda: has_ruler(viewer))
    # A click measures nothing, and the line is there again when its slice is.
    draw(viewer, (0.5, 0.7))
    expect(viewer.status).to_have_text(distance)
    viewer.page.locator("#slice-up").click()
    viewer.until(lambda: not has_ruler(viewer))
    viewer.page.locator("#slice-down").click()
    viewer.until(lambda: has_ruler(viewer))
    viewer.press("x")
    viewer.until(lambda: not has_ruler(viewer))


def test_a_contour_is_pulled_to_another_place(viewer: Opened, tmp_path: Path) -> None:
    viewer.study("ED")
    viewer.segment()
    viewer.page.get_by_role("button", name="Slice", exact=True).click()
    viewer.press("u")
    expect(viewer.page.get_by_role("slider", name="Reach")).to_have_value("30")
    expect(viewer.page.get_by_role("radio", name="all", exact=True)).to_be_checked()
    before = mask_of(viewer, tmp_path)
    viewer.page.get_by_role("radio", name="LV").check()
    # From the middle of the cavity across its contour to the right.
    viewer.page.locator("#size").fill("40")
    draw(viewer, (0.5, 0.5), (0.55, 0.5), (0.6, 0.5), (0.65, 0.5))
    after = mask_of(viewer, tmp_path)
    assert set(np.argwhere(before != after)[:, 2]) == {2}
    assert by_slice(after, AcdcLabel.LV)[2] > 0
    # Cavity and wall change places, nothing else changes.
    np.testing.assert_array_equal(before == AcdcLabel.RV, after == AcdcLabel.RV)
    viewer.press("Control+z")
    np.testing.assert_array_equal(mask_of(viewer, tmp_path), before)
    viewer.press("x")
    viewer.page.get_by_role("radio", name="nothing").check()


def test_an_outline_replaces_the_structure_in_its_slice(viewer: Opened, tmp_path: Path) -> None:
    viewer.study("ED")
    viewer.segment()
    viewer.page.get_by_role("button", name="Slice", exact=True).click()
    before = mask_of(viewer, tmp_path)
    viewer.press("l")
    expect(viewer.page.get_by_role("radio", name="LV")).to_be_checked()
    draw(viewer, (0.48, 0.46), (0.52, 0.46), (0.52, 0.54), (0.48, 0.54))
    after = mask_of(viewer, tmp_path)
    counts = [by_slice(mask, AcdcLabel.LV) for mask in (before, after)]
    assert 0 < counts[1][2] < counts[0][2]
    assert [*counts[1][:2], *counts[1][3:]] == [*counts[0][:2], *counts[0][3:]]
    # What the cavity leaves is wall.
    wall = [by_slice(mask, AcdcLabel.MYO)[2] for mask in (before, after)]
    assert wall[1] - wall[0] == counts[0][2] - counts[1][2]
    draw(viewer, (0.5, 0.5))
    expect(viewer.status).to_have_text("Draw all the way around the structure")
    np.testing.assert_array_equal(mask_of(viewer, tmp_path), after)
    viewer.press("Control+z")
    np.testing.assert_array_equal(mask_of(viewer, tmp_path), before)
    viewer.press("x")
    viewer.page.get_by_role("radio", name="nothing").check()


def test_files_that_could_not_be_read_are_listed_with_the_reason(viewer: Opened) -> None:
    told = viewer.page.locator("#not-read")
    expect(told.locator("summary")).to_have_text("1 file could not be read")
    told.locator("summary").click()
    expect(told.locator("li")).to_contain_text("broken.nii.gz: expected a readable NIfTI file")
    told.locator("summary").click()


def test_two_thousand_studies_are_found_without_being_drawn_at_once(viewer: Opened) -> None:
    listed = {
        f"case{number}": {
            "image": {
                "info": {"patient": f"case{number}", "phase": None, "partner": None, "has_cine": False}
            },
            "labels": {} if number % 4 else {"final": {}},
        }
        for number in range(2000)
    }
    page, rows = viewer.page, viewer.page.locator("#studies li")
    count = page.locator("#studies-count")
    page.route("**/datastore/?output=all", lambda route: route.fulfill(json={"objects": listed}))
    expect(rows.first).to_have_attribute("aria-setsize", "2000")
    assert rows.count() < 100
    page.locator("#studies-box").evaluate("box => box.scrollTop = box.scrollHeight")
    expect(rows.last).to_contain_text("case1999")
    assert rows.count() < 100
    page.get_by_role("searchbox", name="Search studies").fill("CASE199")
    expect(count).to_have_text("11 of 2,000")
    expect(rows).to_have_count(11)
    page.locator("#filter").select_option("done")
    expect(count).to_have_text("2 of 2,000")  # case1992 and case1996
    page.locator("#search").fill("")
    expect(count).to_have_text("500 of 2,000")
    page.locator("#filter").select_option("all")
    page.unroute("**/datastore/?output=all")
    expect(rows.first).to_have_attribute("aria-setsize", "1")


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here: make page-types")
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_no_violation(viewer: Opened, theme: Literal["dark", "light"]) -> None:
    viewer.study("ED")
    viewer.page.emulate_media(color_scheme=theme)
    viewer.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = viewer.page.evaluate("axe.run().then(({ violations }) => violations)")
    viewer.page.emulate_media(color_scheme="null")
    told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
    assert told == []
