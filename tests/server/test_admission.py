"""What the server reads, and what it does not let a library open."""

import gzip
import itertools
import math
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from fastapi.testclient import TestClient

from pipelines.core.errors import DataError
from pipelines.core.volume import read_volume
from pipelines.server.admission import MAX_VOXELS, check_dicom, check_picture, claimed_shape
from pipelines.server.images import StudyImages
from pipelines.server.nrrd import read_nrrd, write_nrrd

from ..dicom_files import write_dicom_series
from .conftest import heart, write_nifti


def test_the_shape_is_the_files(tmp_path: Path) -> None:
    assert claimed_shape(write_nifti(tmp_path / "a.nii.gz", heart())) == (24, 20, 5)
    assert claimed_shape(write_nifti(tmp_path / "a.nii", heart()[..., None])) == (24, 20, 5)
    write_nrrd(tmp_path / "a.nrrd", heart().astype(np.uint8), np.eye(4))
    assert claimed_shape(tmp_path / "a.nrrd") == (24, 20, 5)
    nib.save(nib.Nifti2Image(heart(), np.eye(4)), tmp_path / "two.nii")
    assert claimed_shape(tmp_path / "two.nii") == (24, 20, 5)
    big = nib.Nifti1Image(heart(), np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(big, tmp_path / "big.nii.gz")
    assert claimed_shape(tmp_path / "big.nii.gz") == (24, 20, 5)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("dim", [3, 30000, 30000, 30000, 1, 1, 1, 1], f"{MAX_VOXELS} voxels"),
        ("dim", [3, -4, 5, 3, 1, 1, 1, 1], f"{MAX_VOXELS} voxels"),
        ("dim", [0, 1, 1, 1, 1, 1, 1, 1], f"{MAX_VOXELS} voxels"),
        ("vox_offset", 2e9, "expected a header of at most 1000000 bytes"),
        ("vox_offset", float("nan"), "expected a header of at most 1000000 bytes"),
    ],
)
def test_a_header_that_claims_too_much_is_refused(
    tmp_path: Path, name: str, field: str, value: object, reason: str
) -> None:
    header = nib.Nifti1Image(heart(), np.eye(4)).header
    header["vox_offset"] = 352
    header[field] = value
    opened = gzip.open if name.endswith(".gz") else open
    with opened(tmp_path / name, "wb") as stream:
        stream.write(header.binaryblock)
    with pytest.raises(DataError, match=reason):
        claimed_shape(tmp_path / name)


def test_an_nrrd_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 30000 30000 30000\nencoding: raw\n\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match=f"{MAX_VOXELS} voxels"):
        claimed_shape(tmp_path / "a.nrrd")


HEADER = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n"
DATA = bytes(range(24))
SECRET = b"secret of another file, long enough for all voxels"


def write_raw_nrrd(path: Path, *lines: str, data: bytes = DATA, header: str = HEADER) -> Path:
    path.write_bytes((header + "".join(f"{line}\n" for line in lines) + "\n").encode() + data)
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "GZ"])
def test_an_attached_nrrd_is_read_whole(tmp_path: Path, ending: str, encoding: str) -> None:
    header = HEADER.replace("raw", encoding) + "# a comment\nkey:=data file: x\nspace origin: (1,2,3)\n\n"
    data = DATA if encoding == "raw" else gzip.compress(DATA, mtime=0)
    (tmp_path / "a.nrrd").write_bytes(header.replace("\n", ending).encode() + data)
    volume = read_nrrd(tmp_path / "a.nrrd")
    assert volume.array[1, 2, 3] == 23
    assert volume.array[1, 0, 0] == 1
    np.testing.assert_array_equal(volume.affine[:3, 3], [-1, -2, 3])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.uint32])
@pytest.mark.parametrize("packed", [True, False])
def test_an_nrrd_is_read_as_itk_reads_it(tmp_path: Path, dtype: Any, packed: bool) -> None:
    array = np.random.default_rng(0).uniform(0, 100, (4, 3, 2)).astype(dtype)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 2.0, 8.0))
    image.SetOrigin((3.0, -4.0, 5.0))
    image.SetDirection((0, 1, 0, -0.6, 0, 0.8, 0.8, 0, 0.6))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"), useCompression=packed)
    volume = read_nrrd(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array, array.T)
    assert volume.array.dtype == dtype
    np.testing.assert_allclose(volume.spacing_mm, (1.5, 2.0, 8.0))
    corner = np.array(image.TransformIndexToPhysicalPoint((1, 2, 3))) * (-1, -1, 1)
    np.testing.assert_allclose((volume.affine @ [1, 2, 3, 1])[:3], corner)


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior"])
def test_an_nrrd_in_another_space_is_turned(tmp_path: Path, space: str) -> None:
    path = write_raw_nrrd(tmp_path / "a.nrrd", f"space: {space}", "space directions: (2,0,0) (0,2,0) (0,0,8)")
    itk = sitk.ReadImage(str(path))
    np.testing.assert_allclose(
        (read_nrrd(path).affine @ [1, 1, 1, 1])[:3],
        np.array(itk.TransformIndexToPhysicalPoint((1, 1, 1))) * (-1, -1, 1),
    )


ELSEWHERE = [
    "data file: {secret}",
    "datafile: {secret}",
    "Data File: {secret}",
    "DATAFILE: {secret}",
    "data  file: {secret}",
    "data\tfile: {secret}",
    " data file: {secret}",
    "data file: ../secret.raw",
    "data file: LIST\n{secret}",
    "data file: secret%02d.raw 1 1 1",
    "data file: -",
    "data file: /dev/zero",
    "byte skip: 2",
    "byteskip: 2",
    "Byte Skip: -1",
    "line skip: 1",
    "lineskip: 1",
]


@pytest.mark.parametrize("line", ELSEWHERE)
def test_an_nrrd_that_leads_to_another_file_is_refused(
    client: TestClient, studies: Path, tmp_path: Path, line: str
) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(SECRET)
    routes = ("label", "session", "image", "scribbles", "clicks")
    for route, ending, data in itertools.product(routes, ("\n", "\r\n"), (b"", DATA)):
        header = (HEADER + line.format(secret=secret) + "\n\n").replace("\n", ending)
        answer = send(client, route, "a.nrrd", header.encode() + data)
        assert answer.status_code == 400, answer.text
        assert "secret" not in answer.text
        assert str(tmp_path) not in answer.text
    assert not (studies / "new.nii.gz").exists()
    assert list((studies / ".thorax" / "sessions").iterdir()) == []
    assert list((studies / ".thorax" / "uploads").iterdir()) == []


def send(client: TestClient, route: str, name: str, content: bytes) -> Any:
    """Send a file to a route that takes one."""
    file, params = (name, content), {"image": "lone"}
    if route == "label":
        return client.put("/datastore/label", params=params, files={"label": file})
    if route == "session":
        return client.put("/session/", files={"files": file})
    if route == "image":
        return client.put("/datastore/image", params={"image": "new"}, files={"file": file})
    if route == "curve":
        return client.post("/viewer/data/curve", files={"file": file})
    if route == "xray":
        return client.post("/viewer/data/xray", files={"file": file})
    model, sent = (
        ("scribbles", '{"selected_label_name": "lv"}') if route == "scribbles" else ("correct_volume", "{}")
    )
    return client.post(f"/infer/{model}", params=params, data={"params": sent}, files={"label": file})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (DATA[:-1], "found fewer"),
        (DATA + b"x", "found more"),
        (b"", "found fewer"),
        (gzip.compress(DATA, mtime=0)[:-9], "no end or more after them"),
        (gzip.compress(DATA + b"x", mtime=0), "found more"),
        (gzip.compress(bytes(50_000_000), mtime=0), "found more"),
        (gzip.compress(DATA, mtime=0) + b"x", "no end or more after them"),
        (zlib.compress(DATA), "damaged"),
    ],
)
def test_an_nrrd_has_as_much_data_as_it_announces(tmp_path: Path, data: bytes, reason: str) -> None:
    header = HEADER.replace("raw", "gzip") if data[:1] in (b"\x1f", b"\x78") else HEADER
    with pytest.raises(DataError, match=reason):
        read_nrrd(write_raw_nrrd(tmp_path / "a.nrrd", data=data, header=header))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("encoding: raw", "encoding: ascii"),
        ("encoding: raw", "encoding: bzip2"),
        ("encoding: raw\n", ""),
        ("uint8", "block"),
        ("uint8", "int16"),
        ("sizes: 2 3 4", "sizes: 2 3"),
        ("sizes: 2 3 4", "sizes: 2 3 -4"),
        ("sizes: 2 3 4", "sizes: 2 3 99999999999999999999"),
        ("sizes: 2 3 4", "sizes: 2 3 4\nsizes: 1 1 1"),
        ("sizes: 2 3 4", "sizes: 2000000 3 4"),
        ("sizes: 2 3 4", "sizes: 2 3 4\nspacings: 1 1 1e6"),
        ("sizes: 2 3 4", "sizes: 2 3 4\nspacings: 0 1 1"),
        ("sizes: 2 3 4", "sizes: 2 3 4\nspacings: 1e-300 1 1"),
        ("dimension: 3\nsizes: 2 3 4", f"dimension: 17\nsizes: 2 3 4{' 1' * 14}"),
        ("sizes: 2 3 4", "sizes: 2 3 4\nspacings: 1 1 nan"),
        ("NRRD0004", "NRRD0009"),
        ("\nsizes", "\nnonsense\nsizes"),
    ],
)
def test_a_header_of_another_form_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = write_raw_nrrd(tmp_path / "a.nrrd", header=HEADER.replace(old, new))
    with pytest.raises(DataError, match="^expected"):
        claimed_shape(path)
    path.write_bytes(gzip.compress(HEADER.encode() + b"\n" + DATA, mtime=0))
    with pytest.raises(DataError, match="no NRRD image"):
        claimed_shape(path)


def test_a_nifti_that_leads_to_another_file_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Pair(heart(), np.eye(4))
    nib.save(image, tmp_path / "pair.hdr")
    header = (tmp_path / "pair.hdr").read_bytes()
    (tmp_path / "pair.nii").write_bytes(header + bytes(100))
    with pytest.raises(DataError, match="data are in another file"):
        claimed_shape(tmp_path / "pair.nii")
    cifti = nib.Nifti2Image(heart(), np.eye(4))
    cifti.header["intent_code"] = 3001
    nib.save(cifti, tmp_path / "c.nii")
    with pytest.raises(DataError, match="found a CIFTI file"):
        claimed_shape(tmp_path / "c.nii")


@pytest.mark.parametrize("length", [2**31 - 1, 0, -8, 7, 64])
def test_an_extension_that_goes_on_behind_the_header_is_refused(tmp_path: Path, length: int) -> None:
    image = nib.Nifti1Image(heart(), np.diag([2, 2, 8, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 20))
    nib.save(image, tmp_path / "a.nii")
    assert claimed_shape(tmp_path / "a.nii") == (24, 20, 5)
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[352:356] = int(length).to_bytes(4, "little", signed=True)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content), mtime=0))
    with pytest.raises(DataError, match="extensions of a NIfTI header that end before its data"):
        claimed_shape(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("length", [0, 3, 4, 100, 347])
def test_a_header_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    whole = write_nifti(tmp_path / "whole.nii", heart()).read_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:length])
    for read in (claimed_shape, read_volume):
        with pytest.raises(DataError, match="expected"):
            read(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("shape", "is_taken"),
    [
        ((1000, 1000, 11), False),
        ((400, 500, 50), True),
        ((1000, 1000, 11, 2), False),
        ((400, 500, 50, 2), True),
    ],
)
def test_a_frame_that_takes_minutes_to_measure_is_refused(
    tmp_path: Path, shape: tuple[int, ...], is_taken: bool
) -> None:
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4)).header
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4))
    os.truncate(tmp_path / "a.nii", 352 + math.prod(shape))
    if is_taken:
        assert claimed_shape(tmp_path / "a.nii") == shape
        return
    with pytest.raises(DataError, match="expected at most 10000000 voxels a frame"):
        claimed_shape(tmp_path / "a.nii")


@pytest.mark.parametrize("spacing", [1e6, 900.0])
def test_a_volume_of_the_size_of_a_house_is_refused(tmp_path: Path, spacing: float) -> None:
    with pytest.raises(DataError, match="sides of 0.01 to 1000 mm"):
        claimed_shape(write_nifti(tmp_path / "a.nii.gz", heart(), np.diag([spacing, 1, 8, 1])))


def test_sides_are_measured_in_millimetres_whatever_the_unit_of_the_header(tmp_path: Path) -> None:
    image = nib.Nifti1Image(heart(), np.diag([1500.0, 1500, 8000, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii.gz")
    assert claimed_shape(tmp_path / "a.nii.gz") == (24, 20, 5)


PAIRS = {
    "a.mha": b"ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementDataFile = /etc/passwd\n",
    "a.hdr": bytes(348),
    "a.img": bytes(400),
    "a.nhdr": (HEADER + "data file: /etc/passwd\n\n").encode(),
    "a.zip": b"PK\x03\x04",
    "a.tar": bytes(512),
    "a.nii.zip": b"PK\x03\x04",
}


@pytest.mark.parametrize("route", ["label", "session", "image", "curve", "xray", "scribbles"])
def test_formats_that_name_other_files_and_archives_are_not_taken(client: TestClient, route: str) -> None:
    for name, suffix in itertools.product(PAIRS, ("", ".nii.gz", ".nii", ".nrrd", ".dcm", ".png")):
        answer = send(client, route, name + suffix, PAIRS[name])
        assert answer.status_code == 400, answer.text
        assert "root:" not in answer.text


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """One DICOM slice."""
    cine = (1000 * heart()[:, :, :1]).astype(np.uint16)[..., None]
    write_dicom_series(write_nifti(tmp_path / "cine.nii.gz", cine), tmp_path / "series")
    return next((tmp_path / "series").iterdir())


def test_dicom_files_that_unpack_or_name_a_server_are_refused(dicom: Path) -> None:
    import pydicom

    check_dicom([dicom])
    dataset = pydicom.dcmread(dicom)
    del dataset.PixelData
    for syntax in ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.100"):
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(dicom)
        for check in (lambda path: check_dicom([path]), check_picture):
            with pytest.raises(DataError, match="expected a plain, RLE, JPEG"):
                check(dicom)


@pytest.mark.parametrize(
    ("tag", "value"), [("Rows", 65535), ("NumberOfFrames", 10**6), ("SamplesPerPixel", 60000)]
)
def test_dicom_files_that_claim_too_much_are_refused(dicom: Path, tag: str, value: int) -> None:
    import pydicom

    dataset = pydicom.dcmread(dicom)
    dataset.Columns = 24000
    setattr(dataset, tag, value)
    dataset.save_as(dicom)
    with pytest.raises(DataError, match="expected at most 40000000 pixels"):
        check_dicom([dicom])


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device, make_loop])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.dcm", "a", "patient001/Info.cfg", "beat/Info.cfg"])
def test_what_is_no_regular_file_among_the_studies_is_not_opened(
    studies: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], name: str
) -> None:
    monkeypatch.chdir(studies)
    write_nifti(studies / "beat" / "beat_4d.nii.gz", np.stack([heart(), heart(3)], axis=3))
    (studies / name).unlink(missing_ok=True)
    make(studies / name)
    images = StudyImages(studies, lambda cine: (0, 1))
    images.refresh()
    assert "lone" in {image.id for image in images.all()}
    reasons = {problem.path.name: problem.reason for problem in images.problems}
    assert "expected a regular file" in reasons[Path(name).name]


def test_links_out_of_the_studies_are_not_followed(studies: Path, tmp_path: Path) -> None:
    away = write_nifti(tmp_path / "away" / "foreign.nii.gz", heart())
    (studies / "link.nii.gz").symlink_to(away)
    (studies / "folder").symlink_to(away.parent)
    (studies / "within.nii.gz").symlink_to(studies / "patient001" / "patient001_frame01.nii.gz")
    (studies / "beat").mkdir()
    (studies / "beat" / "Info.cfg").symlink_to("/etc/passwd")
    write_nifti(studies / "beat" / "beat.nii.gz", heart(3))
    images = StudyImages(studies, lambda cine: (0, 1))
    images.refresh()
    assert not any("foreign" in str(image.path.resolve()) for image in images.all())
    refused = {problem.path.name for problem in images.problems}
    assert refused == {"link.nii.gz", "folder", "Info.cfg"}
    assert not any("root:" in problem.reason for problem in images.problems)


def test_a_label_that_is_a_link_out_of_the_folder_is_none(
    client: TestClient, studies: Path, tmp_path: Path
) -> None:
    away = write_nifti(tmp_path / "away.nii.gz", heart())
    (studies / "labels" / "final").mkdir(parents=True)
    (studies / "labels" / "final" / "lone_seg.nii.gz").symlink_to(away)
    assert client.get("/datastore/label", params={"label": "lone", "tag": "final"}).status_code == 404


def test_a_small_study_that_unpacks_to_gigabytes_is_skipped_from_its_header(studies: Path) -> None:
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.float32), np.eye(4)).header
    header.set_data_shape((900, 900, 900))
    header["vox_offset"] = 352
    with gzip.open(studies / "huge.nii.gz", "wb", 1) as stream:
        stream.write(header.binaryblock + bytes(4) + bytes(1_000_000))
    images = StudyImages(studies, lambda cine: (0, 1))
    images.refresh()
    reasons = {problem.path.name: problem.reason for problem in images.problems}
    assert f"expected an image of 1 to {MAX_VOXELS} voxels" in reasons["huge.nii.gz"]
