"""Saved versions, reports, moved phases and DICOM folders in the browser."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import expect

from ..dicom_files import write_dicom_series
from .browser import Opened

pytestmark = pytest.mark.slow


def save(viewer: Opened) -> None:
    viewer.page.get_by_role("button", name="Save label").click()
    expect(viewer.status).to_contain_text("Saved")
    viewer.settled()


def test_a_saved_version_is_shown_before_and_after_and_gone_on_from(viewer: Opened) -> None:
    viewer.study("ED")
    viewer.segment()
    save(viewer)
    first = viewer.number("lv-ml")
    viewer.click_middle("Myocardium")
    viewer.until(lambda: viewer.number("lv-ml") != first)
    viewer.settled()
    save(viewer)
    second = viewer.number("lv-ml")
    viewer.page.get_by_role("button", name="History").click()
    dialog = viewer.page.locator("#history")
    expect(dialog).to_be_visible()
    expect(dialog.locator("option")).to_have_count(2)
    # The page waits for the reader: no time runs, and there is nothing to cancel.
    viewer.page.wait_for_timeout(2500)
    expect(viewer.page.locator("#cancel")).to_be_hidden()
    expect(viewer.page.locator("#elapsed")).to_be_hidden()
    expect(dialog.locator("option").first).to_contain_text("2: anna")
    cells = dialog.locator("#history-numbers tr").first.locator("td")
    expect(cells.nth(0)).to_have_text(f"{first:.1f}")
    expect(cells.nth(1)).to_have_text(f"{second:.1f}")
    expect(dialog.locator("#history-text")).to_contain_text("voxels were changed")
    dialog.locator("#history-list").select_option("1")
    expect(cells.nth(1)).to_have_text(f"{first:.1f}")
    dialog.get_by_role("radio", name="Before").check()
    dialog.get_by_role("radio", name="After").check()
    dialog.get_by_role("button", name="Go on from this").click()
    viewer.settled()
    assert viewer.number("lv-ml") == pytest.approx(first)
    viewer.press("Control+z")
    assert viewer.number("lv-ml") == pytest.approx(second)
    viewer.press("Control+Shift+z")
    save(viewer)
    viewer.page.get_by_role("button", name="History").click()
    expect(dialog.locator("option")).to_have_count(3)
    dialog.get_by_role("button", name="Close").click()
    viewer.settled()
    assert viewer.number("lv-ml") == pytest.approx(first)


def test_the_report_of_a_study_is_made_from_the_page(viewer: Opened, tmp_path: Path) -> None:
    viewer.study("ES")
    viewer.segment()
    save(viewer)
    found = {}
    for kind in ("csv", "pdf"):
        with viewer.page.expect_download() as event:
            viewer.page.locator("#report").select_option(kind)
        found[kind] = tmp_path / event.value.suggested_filename
        event.value.save_as(found[kind])
        viewer.settled()
    assert found["pdf"].read_bytes().startswith(b"%PDF")
    with found["csv"].open(encoding="utf-8-sig") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["lv_ef_percent"]) == pytest.approx(viewer.number("lv-ef"), abs=0.06)
    # This study is no DICOM series, and the page says so.
    viewer.page.locator("#report").select_option("sr")
    expect(viewer.page.locator("#problem")).to_contain_text("Expected a DICOM series")
    viewer.settled()
    viewer.errors.clear()


def test_ed_and_es_are_moved_by_hand(viewer: Opened) -> None:
    viewer.study("ED")
    viewer.page.get_by_role("button", name="Volume curve").click()
    curve = viewer.page.locator("#curve")
    expect(curve.locator("svg")).to_be_visible()
    viewer.settled()
    by_network = viewer.number("lv-ef")
    viewer.page.locator("#frame").fill("2")
    viewer.page.get_by_role("button", name="ES here").click()
    expect(viewer.status).to_contain_text("ES is frame 2 by hand")
    viewer.settled()
    assert viewer.number("lv-ef") < by_network
    # The marker follows the pointer, and the keyboard's buttons remain.
    curve.locator("[data-moment=es]").scroll_into_view_if_needed()
    box = curve.locator("svg").bounding_box()
    grip = curve.locator("[data-moment=es]").bounding_box()
    assert box is not None
    assert grip is not None
    viewer.page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    viewer.page.mouse.down()
    viewer.page.mouse.move(box["x"] + box["width"], grip["y"] + grip["height"] / 2, steps=3)
    viewer.page.mouse.up()
    expect(viewer.status).to_contain_text("ES is frame 4 by hand")
    viewer.settled()


def test_a_dicom_folder_is_opened_as_a_heart(viewer: Opened, cine: Path, tmp_path: Path) -> None:
    frame = np.asarray(nib.load(cine).dataobj)
    whole = nib.Nifti1Image(np.round(frame / frame.max() * 1000).astype(np.uint16), nib.load(cine).affine)
    nib.save(whole, tmp_path / "cine.nii.gz")
    write_dicom_series(tmp_path / "cine.nii.gz", tmp_path / "scan")
    viewer.page.locator("#folder").set_input_files(tmp_path / "scan")
    expect(viewer.status).to_have_text("scan is open")
    viewer.settled()
    expect(viewer.page.locator("#slice")).to_contain_text("of 5")
    viewer.page.get_by_role("button", name="Segment").click()
    expect(viewer.page.locator("#lv-ml")).not_to_have_text("–")
    viewer.settled()
    expect(viewer.page.locator("#show-history")).to_be_disabled()
