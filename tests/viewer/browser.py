"""Debian's Chromium, driven by Playwright, and the page of a running server in it."""

import base64
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
WITHOUT_GPU = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
WITH_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
"""A camera that shows a moving pattern, allowed without asking."""

LONGEST_MS = 180_000
"""A machine without graphics, under load, takes this long for a step at most, ms."""

expect.set_options(timeout=LONGEST_MS)


@dataclass
class Opened:
    """The page in a browser, and what went wrong in it.

    Attributes:
        page: The page.
        address: The server's.
        errors: Messages of the console that are errors, and exceptions.
        addresses: Everything that was loaded.
    """

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    @property
    def status(self) -> Locator:
        return self.page.locator("#status")

    @property
    def canvas(self) -> Locator:
        return self.page.locator("#canvas")

    def study(self, phase: str) -> None:
        """Open a phase of the only patient anew."""
        self.page.get_by_role("button", name=re.compile(f" {phase}")).click()
        expect(self.status).to_contain_text("is open")

    def segment(self) -> None:
        self.page.get_by_role("button", name="Segment").click()
        expect(self.status).to_contain_text("LV EF")

    def click_middle(self, structure: str) -> None:
        """Say what is at the cross, which is in the LV in the middle of the large slice."""
        self.page.get_by_role("radio", name=structure).check()
        box = self.canvas.bounding_box()
        assert box is not None
        self.canvas.click(position={"x": 0.32 * box["width"], "y": 0.5 * box["height"]})

    def settled(self) -> None:
        """Wait until what was asked for is done."""
        expect(self.page.locator("#main")).not_to_have_attribute("aria-busy", "true")

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that is no text of the page."""
        end = time.monotonic() + LONGEST_MS / 1000
        while not holds():
            assert time.monotonic() < end, "it did not come to hold"
            self.page.wait_for_timeout(50)

    def press(self, keys: str) -> None:
        self.page.keyboard.press(keys)
        self.settled()

    def undo_all(self) -> None:
        """Take everything back that was not saved, so that the next test begins anew."""
        undo = self.page.get_by_role("button", name="Undo")
        while self.page.locator("#side").is_visible() and undo.is_enabled():
            undo.click()
            expect(self.status).to_contain_text("Taken back")

    def number(self, name: str) -> float:
        return float(self.page.locator(f"#{name}").inner_text())

    def downloaded(self, folder: Path) -> Path:
        with self.page.expect_download() as event:
            self.page.get_by_role("button", name="Download mask").click()
        path = folder / event.value.suggested_filename
        event.value.save_as(path)
        return path

    def drop(self, name: str, content: bytes) -> None:
        """Let a file fall on the canvas."""
        self.page.evaluate(
            """([name, text]) => {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([bytes], name));
                for (const type of ["dragover", "drop"]) {
                    const event = new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true });
                    document.getElementById("canvas").dispatchEvent(event);
                }
            }""",
            [name, base64.b64encode(content).decode()],
        )

    def look(self) -> bytes:
        """Picture of the canvas."""
        return self.canvas.screenshot()


@contextmanager
def opened(address: str, *, width: int = 1000, height: int = 560) -> Iterator[Opened]:
    """The page of a server in a browser that ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=WITHOUT_GPU + WITH_CAMERA)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(LONGEST_MS)
        found = Opened(page, address)
        page.on(
            "console", lambda message: found.errors.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on("request", lambda request: found.addresses.append(request.url))
        page.goto(f"{address}/viewer/", wait_until="commit")
        yield found
        browser.close()
