"""Tests of fetching and sending against Orthanc, on this machine only, and against servers that are away."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import requests
from dicom_files import write_dicom_image
from dicomweb_client.api import DICOMwebClient
from watched_stand_ins import FAST, copier, reporter, segmenter

from pipelines.core.errors import ConfigError
from pipelines.watching.dicomweb import DicomWeb
from pipelines.watching.ledger import Ledger
from pipelines.watching.service import watch

from .conftest import Watched

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SLICES = 3

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[str]:
    """Address of the DICOMweb root of an empty Orthanc."""
    if ORTHANC is None or not PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plugin is missing: apt-get install orthanc orthanc-dicomweb")
    port = free_port()
    settings = {
        "Name": "test",
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": port,
        "HttpBindAddresses": ["127.0.0.1"],
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/system", process, tmp_path / "orthanc.log")
        yield f"http://127.0.0.1:{port}/dicom-web"
    finally:
        process.terminate()
        process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            requests.get(url, timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8"))


def a_series(folder: Path, *, slices: int = SLICES, first: int = 0, uid: str = "1.2.3.4") -> list[Any]:
    """Slices of a square heart of today's study, as data sets."""
    found = []
    for z in range(first, slices):
        pixels = np.full((32, 32), 10 + z)
        pixels[10:20, 10:20] = 300
        path = folder / f"{uid}_{z}.dcm"
        write_dicom_image(path, pixels, z_mm=8.0 * z, time_ms=0, number=z + 1, series=uid)
        image = pydicom.dcmread(path)
        image.FrameOfReferenceUID = "1.2.3.9"
        image.StudyDate = f"{date.today():%Y%m%d}"
        image.save_as(path)
        found.append(pydicom.dcmread(path))
    return found


def run(watched: Watched, source: str | None, target: str | None, processor: Any = segmenter) -> list[str]:
    said: list[str] = []
    exchange = DicomWeb(source, target, quiet_s=0.2, every_s=0.05)
    watch(watched.incoming, watched.output, processor, FAST, once=True, exchange=exchange, report=said.append)
    return said


def stored(client: DICOMwebClient, modality: str) -> list[str]:
    return sorted(
        one["00080018"]["Value"][0]
        for one in client.search_for_instances(search_filters={"Modality": modality})
    )


@pytest.mark.slow
def test_studies_come_in_and_segmentations_go_out_once(
    watched: Watched, orthanc: str, tmp_path: Path
) -> None:
    client = DICOMwebClient(orthanc)
    client.store_instances(a_series(tmp_path / "series"))
    assert len(run(watched, orthanc, orthanc)) == 1
    (folder,) = watched.done
    written = pydicom.dcmread(next(folder.glob("*_seg.dcm")))
    assert stored(client, "SEG") == [written.SOPInstanceUID]
    assert len(client.search_for_instances(study_instance_uid="1.2.3")) == SLICES + 1
    assert list((watched.output / ".watch" / "fetched").iterdir()) == []
    assert run(watched, orthanc, orthanc) == []
    assert len(stored(client, "SEG")) == 1
    watched.check_whole()


@pytest.mark.slow
def test_reports_go_to_the_server_and_are_found_and_read_again(
    watched: Watched, orthanc: str, tmp_path: Path
) -> None:
    client = DICOMwebClient(orthanc)
    client.store_instances(a_series(tmp_path / "series"))
    run(watched, orthanc, orthanc, reporter)
    (folder,) = watched.done
    written = pydicom.dcmread(folder / "heart_sr.dcm")
    assert stored(client, "SR") == [written.SOPInstanceUID]
    ids = (written.StudyInstanceUID, written.SeriesInstanceUID, written.SOPInstanceUID)
    client.retrieve_instance(*ids).save_as(tmp_path / "back.dcm", write_like_original=False)
    groups = highdicom.sr.srread(tmp_path / "back.dcm").content.get_image_measurement_groups()
    values = {one.name.value: one.value for group in groups for one in group.get_measurements()}
    assert (values["8821-1"], values["8811-2"]) == (150.0, 60.0)
    page = pydicom.dcmread(folder / "heart_report.dcm")
    assert stored(client, "DOC") == [page.SOPInstanceUID]
    assert stored(client, "SEG") != []


@pytest.mark.slow
def test_a_series_that_has_grown_is_fetched_whole_again(
    watched: Watched, orthanc: str, tmp_path: Path
) -> None:
    client = DICOMwebClient(orthanc)
    client.store_instances(a_series(tmp_path / "series"))
    run(watched, orthanc, None)
    before = watched.done
    client.store_instances(a_series(tmp_path / "series", slices=SLICES + 1, first=SLICES))
    run(watched, orthanc, None)
    (new,) = set(watched.done) - set(before)
    said = json.loads((new / "result.json").read_text(encoding="utf-8"))
    assert len(said["sources"]) == SLICES + 1
    assert said["replaces"] == [before[0].name]
    assert stored(client, "SEG") == []


@pytest.mark.slow
def test_a_result_waits_for_a_server_that_is_away(watched: Watched, orthanc: str, tmp_path: Path) -> None:
    a_series(watched.incoming / "series")
    with pytest.raises(ConfigError, match=r"DICOMweb server that answers, found: cannot send"):
        run(watched, None, f"http://127.0.0.1:{free_port()}/dicom-web")
    assert len(watched.done) == 1
    client = DICOMwebClient(orthanc)
    assert stored(client, "SEG") == []
    run(watched, None, orthanc)
    assert len(stored(client, "SEG")) == 1
    ledger = Ledger(watched.output / ".watch" / "ledger.sqlite")
    assert ledger.counts()["to_send"] == 0


@pytest.mark.slow
def test_what_was_killed_after_sending_is_sent_again_to_no_effect(
    watched: Watched, orthanc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_series(watched.incoming / "series")

    def killed(ledger: Ledger, identity: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "sent", killed)
    with pytest.raises(KeyboardInterrupt):
        run(watched, None, orthanc)
    monkeypatch.undo()
    client = DICOMwebClient(orthanc)
    assert len(stored(client, "SEG")) == 1
    run(watched, None, orthanc)
    assert len(stored(client, "SEG")) == 1


def test_a_server_that_is_away_does_not_hold_up_the_folder(watched: Watched) -> None:
    watched.put("x.nii", "one")
    with pytest.raises(ConfigError, match=r"DICOMweb server that answers, found: cannot fetch"):
        run(watched, f"http://127.0.0.1:{free_port()}/dicom-web", None, copier)
    assert len(watched.done) == 1


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected the address of a DICOMweb server, found 'orthanc'"):
        DicomWeb("orthanc", None)
