"""Makes the picture of docs/how-to/viewer.md again: python tests/viewer/screenshot.py."""

import logging
import tempfile
from pathlib import Path
from typing import Final

from browser import opened
from playwright.sync_api import expect

from pipelines.benchmarks.speed import running_server
from pipelines.datasets.phantom.cohort import write_phantom_cohort

FOLDER: Final = Path(__file__).parents[2] / "docs" / "how-to"

logger = logging.getLogger(__name__)


def main() -> None:
    """Open, segment, click and measure as the page describes it, and write what is to be seen."""
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        write_phantom_cohort(studies, patients=1, seed=5, frames=8)
        with running_server(studies) as address, opened(address, width=1280, height=800) as viewer:
            expect(viewer.status).to_have_text("Ready")
            expect(viewer.page.locator("#studies button")).to_have_count(2)
            viewer.page.get_by_role("button", name="patient001 ED").click()
            expect(viewer.status).to_contain_text("is open")
            viewer.segment()
            viewer.page.get_by_role("button", name="Volume curve").click()
            expect(viewer.page.locator("#curve svg")).to_be_visible()
            viewer.page.get_by_role("radio", name="RV").check()
            path = FOLDER / "viewer.png"
            viewer.page.screenshot(path=path)
            logger.info("wrote %s", path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
