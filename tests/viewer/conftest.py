"""A running server with a login and one beating heart, and its page in a browser."""

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import expect

from pipelines.benchmarks.speed import running_server
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.server.users import Role, add_user

from .browser import CHROMIUM, Opened, opened

PASSWORD = "correct horse battery"


def write_small_cine(folder: Path) -> Path:
    """A phantom cine cut down to 5 slices around the heart: seconds for a browser without graphics."""
    write_phantom_cohort(folder / "cohort", patients=1, frames=4)
    patient = folder / "cohort" / "training" / "patient001"
    cine, label = (
        nib.load(patient / "patient001_4d.nii.gz"),
        nib.load(patient / "patient001_frame01_gt.nii.gz"),
    )
    centre = np.argwhere(np.asarray(label.dataobj) == 3).mean(axis=0).astype(int)
    start = np.clip(centre - (64, 64, 2), 0, None)
    cut = cine.slicer[tuple(slice(at, at + size) for at, size in zip(start, (128, 128, 5), strict=True))]
    path = folder / "studies" / "patient" / "patient_4d.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(cut, path)
    (path.parent / "Info.cfg").write_text(
        (patient / "Info.cfg").read_text(encoding="utf-8"), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="module")
def cine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_cine(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="module")
def viewer(cine: Path) -> Iterator[Opened]:
    """The page after a login, without a mouse, as an annotator."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    studies = cine.parents[1]
    users = studies.parent / "users.json"
    (studies / "broken.nii.gz").write_bytes(b"no image")
    for name in ("anna", "ben"):
        add_user(users, name, PASSWORD, Role.ANNOTATOR)
    with running_server(studies, "--users", str(users)) as address, opened(address) as found:
        expect(found.page.get_by_role("heading", name="Log in")).to_be_visible()
        found.page.keyboard.type("anna")
        found.page.keyboard.press("Tab")
        found.page.keyboard.type(PASSWORD)
        found.page.keyboard.press("Enter")
        expect(found.status).to_have_text("Ready")
        # The network finds ED and ES in the background unless Info.cfg tells them.
        expect(found.page.locator("#studies button")).to_have_count(2)
        yield found
    assert "Traceback" not in (studies.parent / "server.log").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def nothing_went_wrong(viewer: Opened) -> Iterator[None]:
    """No error in the console, nothing from elsewhere; a test that provokes one removes it."""
    viewer.settled()  # the page does one thing at a time, and drops what is asked for meanwhile
    yield
    viewer.settled()
    viewer.undo_all()
    assert viewer.errors == []
    assert [url for url in viewer.addresses if not url.startswith((viewer.address, "data:", "blob:"))] == []
