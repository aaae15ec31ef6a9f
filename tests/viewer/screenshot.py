"""Makes the pictures of docs/how-to/viewer.md again, of generated hearts and films: `make pictures`."""

import logging
import shutil
import subprocess
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from browser import Opened, opened
from PIL import Image
from playwright.sync_api import expect

from pipelines.benchmarks.speed import running_server
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import phantom_xray

FOLDER: Final = Path(__file__).parents[2] / "docs" / "how-to" / "viewer"
SIZE: Final = {"width": 1160, "height": 740}
PHONE: Final = {"width": 390, "height": 844}
GREYS: Final = (64, 40, 28)
COLORS: Final = 64
MIN_TINT: Final = 10
ACCENT: Final = (242, 193, 78)
MAX_BYTES: Final = 150_000
REPORT_DPI: Final = 75
FILM_PX: Final = 1000

logger = logging.getLogger(__name__)


def main() -> None:
    """Go through the page as its description does, and write what is to be seen."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        write_phantom_cohort(studies, patients=2, seed=5, frames=8)
        with running_server(studies) as address, opened(address, **SIZE) as viewer:
            viewer.page.emulate_media(color_scheme="dark")
            expect(viewer.status).to_have_text("Ready")
            expect(viewer.page.locator("#studies button")).to_have_count(4)
            take(viewer, "start")
            hearts(viewer, Path(folder))
            film(viewer)
            viewer.page.set_viewport_size(PHONE)
            viewer.page.get_by_role("button", name="patient001 ED").click()
            viewer.settled()
            viewer.page.locator("#zoom").click()
            viewer.page.evaluate("scrollTo(0, 0)")
            take(viewer, "phone")


def hearts(viewer: Opened, folder: Path) -> None:
    """Contours edited by hand, the grid, both phases with the curve, the history and the report."""
    button = viewer.page.get_by_role
    for phase in ("ES", "ED"):
        button("button", name=f"patient001 {phase}").click()
        viewer.settled()
        viewer.segment()
        button("button", name="Save label").click()
        expect(viewer.status).to_contain_text("Saved")
        viewer.settled()
    button("button", name="Slice", exact=True).click()
    button("button", name="Zoom to heart").click()
    pull(viewer)
    take(viewer, "contours")
    viewer.page.locator("#fill").fill("30")
    button("button", name="Grid").click()
    take(viewer, "grid")
    viewer.page.locator("#fill").fill("0")
    button("button", name="Slice", exact=True).click()
    button("button", name="Save label").click()
    expect(viewer.status).to_contain_text("Saved")
    viewer.settled()
    button("button", name="Volume curve").click()
    expect(viewer.page.locator("#curve svg")).to_be_visible()
    viewer.settled()
    button("button", name="Both phases").click()
    viewer.settled()
    take(viewer, "cine")
    button("button", name="Both phases").click()
    viewer.settled()
    button("button", name="History").click()
    expect(viewer.page.locator("#history")).to_be_visible()
    take(viewer, "history")
    viewer.page.locator("#history").get_by_role("button", name="Close").click()
    viewer.settled()
    program = shutil.which("pdftoppm")
    if program is None:
        logger.info("no pdftoppm (poppler-utils): the picture of the report stays as it is")
        return
    with viewer.page.expect_download() as event:
        viewer.page.locator("#report").select_option("pdf")
    event.value.save_as(folder / "report.pdf")
    viewer.settled()
    command = [program, "-png", "-singlefile", "-r", str(REPORT_DPI)]
    subprocess.run([*command, folder / "report.pdf", folder / "report"], check=True)
    write("report", Image.open(folder / "report.png"))


def pull(viewer: Opened) -> None:
    """Drag the contours at the cross a little, and keep the pointer where it is."""
    viewer.page.get_by_role("radio", name="Pull").check()
    box = viewer.canvas.bounding_box()
    assert box is not None
    for at, press in ((0.64, True), (0.66, False), (0.68, False)):
        viewer.page.mouse.move(box["x"] + at * box["width"], box["y"] + 0.5 * box["height"])
        if press:
            viewer.page.mouse.down()
    viewer.page.mouse.up()
    viewer.settled()
    expect(viewer.page.locator("#numbers")).to_have_attribute("aria-busy", "false")


def film(viewer: Opened) -> None:
    """Two films side by side, with a heat map and a reading."""
    for number, name in enumerate(("first.png", "second.png")):
        pixels = np.round(255 * phantom_xray(np.random.default_rng(number))).astype(np.uint8)
        stream = BytesIO()
        Image.fromarray(pixels).resize((FILM_PX, FILM_PX)).save(stream, "PNG")
        viewer.drop(name, stream.getvalue())
        expect(viewer.page.locator("#xray-name")).to_have_text(name)
        viewer.settled()
        viewer.page.locator("#heat-strength").fill("45")
        viewer.page.get_by_role("radio", name="Normal").check()
        viewer.page.get_by_role("button", name="Save reading").click()
        expect(viewer.status).to_contain_text("Saved")
        viewer.settled()
        if not number:
            viewer.page.get_by_role("button", name="Compare").click()
    take(viewer, "film")


def take(viewer: Opened, name: str) -> None:
    """Write what the window shows."""
    viewer.page.wait_for_timeout(500)  # until the browser has drawn
    write(name, Image.open(BytesIO(viewer.page.screenshot())))


def write(name: str, picture: Image.Image) -> None:
    """Write a picture as a small PNG, of fewer greys where it needs that; its colours stay."""
    path = FOLDER / f"{name}.png"
    pixels = np.asarray(picture.convert("RGB"))
    tinted = pixels[np.ptp(pixels, axis=2) > MIN_TINT]
    colors = Image.fromarray(tinted[None]).quantize(COLORS).getpalette() if len(tinted) else []
    for greys in GREYS:
        palette = Image.new("P", (1, 1))
        palette.putpalette(
            [*np.linspace(0, 255, greys).astype(int).repeat(3).tolist(), *ACCENT, *(colors or [])]
        )
        Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
        size = path.stat().st_size
        if size <= MAX_BYTES:
            break
    assert size <= MAX_BYTES, f"expected at most {MAX_BYTES} bytes, found {size}"
    logger.info("%s: %.0f kB", path, size / 1000)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
