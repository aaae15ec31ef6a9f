"""A machine looks for errors: requests by the server's own OpenAPI, and damaged files of every format."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import schemathesis
import SimpleITK as sitk
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.server.api import make_server

from ..dicom_files import write_dicom_series
from .conftest import heart, write_nifti
from .test_admission import send
from .test_fuzz import is_sound, watched  # noqa: F401

pytestmark = pytest.mark.slow

MACHINE = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def operations(app: Any) -> list[Any]:
    """All requests that the server describes."""
    schema = schemathesis.openapi.from_dict(make_server(app).app.openapi())
    return [found.ok() for found in schema.get_all_operations()]


def test_no_described_request_is_an_error_of_the_server(
    watched: TestClient,  # noqa: F811
    operations: list[Any],
    tmp_path: Path,
) -> None:
    asked: set[str] = set()

    @MACHINE
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations))
        if (operation.method.upper(), operation.path) == ("POST", "/train/{model}"):
            return  # starts a process; what it takes is in /train/ too
        case = data.draw(operation.as_strategy())
        sent = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
        sent.pop("cookies", None)
        answer = watched.request(**sent)
        asked.add(operation.path)
        is_sound(answer, watched, tmp_path)
        assert str(tmp_path) not in answer.text

    ask()
    assert len(asked) > 15


def nifti(folder: Path) -> bytes:
    return write_nifti(folder / "seed.nii", heart() * 0).read_bytes()


def packed_nifti(folder: Path) -> bytes:
    return gzip.compress(nifti(folder))


def nrrd(folder: Path, *, packed: bool = False) -> bytes:
    write_nifti(folder / "seed.nii.gz", (heart() * 0).astype(np.uint8))
    sitk.WriteImage(sitk.ReadImage(str(folder / "seed.nii.gz")), str(folder / "seed.nrrd"), packed)
    return (folder / "seed.nrrd").read_bytes()


def packed_nrrd(folder: Path) -> bytes:
    return nrrd(folder, packed=True)


def dicom(folder: Path) -> bytes:
    cine = (1000 * heart()[:, :, :1]).astype(np.uint16)[..., None]
    nib.save(nib.Nifti1Image(cine, np.diag([1.4, 1.4, 8, 1])), folder / "seed.nii.gz")
    write_dicom_series(folder / "seed.nii.gz", folder / "series")
    return next((folder / "series").iterdir()).read_bytes()


def picture(folder: Path, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(stream, kind)
    return stream.getvalue()


def jpeg(folder: Path) -> bytes:
    return picture(folder, "JPEG")


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """Content with bytes that are others, gone, twice, or words that headers know."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, min(len(found), 600) - 1)))
        deed = draw(st.sampled_from(["set", "cut", "double", "insert", "end"]))
        if deed == "set":
            found[place : place + 4] = draw(st.binary(min_size=1, max_size=4))
        elif deed == "cut":
            del found[place : place + draw(st.integers(1, 40))]
        elif deed == "double":
            found[place:place] = found[place : place + 60]
        elif deed == "insert":
            words = [
                b"data file: /etc/passwd\n",
                b"byte skip: 5\n",
                b"\xff" * 8,
                b"\n\n",
                b"9999999",
                b"\r\n",
            ]
            found[place:place] = draw(st.sampled_from(words))
        else:
            del found[draw(st.integers(0, len(found))) :]
    return bytes(found)


@pytest.mark.parametrize(
    ("make", "name", "routes"),
    [
        (nifti, "a.nii", ("label", "session", "curve", "scribbles")),
        (packed_nifti, "a.nii.gz", ("label", "session", "clicks")),
        (nrrd, "a.nrrd", ("label", "session", "image")),
        (packed_nrrd, "a.nrrd", ("label", "session")),
        (dicom, "a.dcm", ("session", "xray")),
        (picture, "a.png", ("xray",)),
        (jpeg, "a.jpg", ("xray",)),
    ],
)
def test_a_damaged_file_is_refused_or_read_and_the_server_goes_on(
    watched: TestClient,  # noqa: F811
    app: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], bytes],
    name: str,
    routes: tuple[str, ...],
) -> None:
    # What networks say of noise is not looked at here.
    monkeypatch.setattr("pipelines.server.xrays.XrayReader.read", read_only)
    (tmp_path / "studies" / ".thorax" / "seed").mkdir()
    seed = make(tmp_path / "studies" / ".thorax" / "seed")

    @settings(MACHINE, max_examples=60)
    @given(content=damage(seed), route=st.sampled_from(routes))
    def ask(content: bytes, route: str) -> None:
        answer = send(watched, route, name, content)
        is_sound(answer, watched, tmp_path)
        assert str(tmp_path) not in answer.text
        assert answer.status_code in (200, 400, 413), answer.text

    ask()
    assert list((tmp_path / "studies" / ".thorax" / "uploads").iterdir()) == []


def read_only(self: Any, path: Path, method: str) -> dict[str, Any]:
    from pipelines.datasets.xray_image import read_xray
    from pipelines.server.admission import check_picture
    from pipelines.server.worker import PARSER

    PARSER.call(check_picture, path)
    return {"shape": PARSER.call(read_xray, path).pixels.shape}
