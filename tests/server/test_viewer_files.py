"""The page's files: what is served, with which headers, and that what is vendored is what was published."""

import hashlib
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipelines.server.viewer_files import VIEWER_FOLDER, viewer_files

NIIVUE = VIEWER_FOLDER / "vendor" / "niivue"
OWN = [path for path in VIEWER_FOLDER.iterdir() if path.suffix in (".js", ".html", ".css")]


def test_the_page_and_each_of_its_files_come_with_headers_that_close_it(client: TestClient) -> None:
    names = ["", "main.js", "style.css", "icon.svg", "vendor/niivue/index.js", "vendor/niivue/SOURCE.txt"]
    kinds = ["text/html", "text/javascript", "text/css", "image/svg+xml", "text/javascript", "text/plain"]
    for name, kind in zip(names, kinds, strict=True):
        answer = client.get(f"/viewer/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy


def test_a_file_that_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    etag = client.get("/viewer/main.js").headers["etag"]
    again = client.get("/viewer/main.js", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/viewer/view.js", headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "vendor",
        "vendor/niivue/LICENSE",
        "..%2f..%2fpyproject.toml",
        "%2e%2e/%2e%2e/pyproject.toml",
        "/etc/passwd",
        "%00",
        "vendor//niivue/index.js",
    ],
)
def test_no_other_name_leads_to_a_file(client: TestClient, name: str) -> None:
    answer = client.get(f"/viewer/{name}")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not Found"}


def test_a_file_that_comes_into_the_folder_later_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("page", encoding="utf-8")
    files = viewer_files(tmp_path)
    (tmp_path / "later.js").write_text("1", encoding="utf-8")
    (tmp_path / "secret.env").write_text("1", encoding="utf-8")
    assert set(files) == {"", "index.html"}
    assert set(viewer_files(tmp_path)) == {"", "index.html", "later.js"}


def test_niivue_is_the_published_file_with_its_license() -> None:
    source = dict(
        line.split(": ", 1) for line in (NIIVUE / "SOURCE.txt").read_text(encoding="utf-8").splitlines()
    )
    assert hashlib.sha256((NIIVUE / "index.js").read_bytes()).hexdigest() == source["sha256"]
    assert source["version"] in source["registry"]
    assert "Copyright (c) 2021, Niivue" in (NIIVUE / "LICENSE").read_text(encoding="utf-8")
    others = (NIIVUE / "THIRD-PARTY-LICENSES.txt").read_text(encoding="utf-8")
    for package in ("array-equal", "fflate", "gl-matrix", "nifti-reader-js", "numcodecs", "zarrita"):
        assert re.search(rf"^{package} \(MIT\)$", others, re.MULTILINE)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_the_page_loads_from_nowhere_else_and_runs_no_text_as_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))
    addresses = set(re.findall(r"https?://[\w./-]+", code))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert re.findall(r"\beval\(|new Function|innerHTML|outerHTML|document\.write|\son\w+=", code) == []
    assert len(text.splitlines()) <= 500


def test_every_module_that_is_imported_is_there() -> None:
    served = viewer_files()
    for path in OWN:
        for name in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8")):
            assert name in served
    page = (VIEWER_FOLDER / "index.html").read_text(encoding="utf-8")
    for name in re.findall(r'(?:href|src)="([^"]+)"', page):
        assert name in served
