"""Studies come from a DICOMweb server, and DICOM segmentations go to one.

References:
    DICOM PS3.18, web services: QIDO-RS (search), WADO-RS (retrieve), STOW-RS (store).
"""

import logging
import shutil
import time
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import pydicom

from pipelines.core.errors import ConfigError, OutputError
from pipelines.core.install import import_extra
from pipelines.watching.ledger import Folders, Ledger, stamps
from pipelines.watching.worker import Stop

MODALITIES: Final = ("MR", "CR", "DX")
"""Series that are fetched: hearts and radiographs. Segmentations that were sent are none of them."""

EVERY_S: Final = 15.0
"""Seconds between two questions to the server."""

TIMEOUTS_S: Final = (10.0, 120.0)
"""Seconds to connect, and without an answer."""

PAGE: Final = 500
"""Series that are asked for at a time."""

STUDY_UID, SERIES_UID, INSTANCES = "0020000D", "0020000E", "00201209"

logger = logging.getLogger(__name__)


class DicomWeb:
    """Fetches whole studies and sends segmentations; a server that is away is asked again later.

    Names and passwords are read from `~/.netrc`.

    Args:
        source: Address that studies are fetched from, or None.
        target: Address that segmentations are sent to, or None.
        days: Age of the studies that are fetched, days.
        quiet_s: A study is fetched when its number of instances has not changed for so long, seconds.
        every_s: Time between two questions to a server, seconds.

    Raises:
        ConfigError: If dicomweb-client is not installed, or an address is none.
    """

    def __init__(
        self,
        source: str | None,
        target: str | None,
        *,
        days: int = 7,
        quiet_s: float = 60.0,
        every_s: float = EVERY_S,
    ) -> None:
        self._source = None if source is None else _client(source)
        self._target = None if target is None else _client(target)
        self._days = days
        self._quiet_s = quiet_s
        self._every_s = every_s
        self._since: dict[str, tuple[dict[str, int], float]] = {}
        self._left = 0
        self._next_fetch = self._next_send = time.monotonic()
        self._problems = {"fetch": "", "send": ""}

    @property
    def sends(self) -> bool:
        """Whether segmentations are sent."""
        return self._target is not None

    @property
    def problem(self) -> str:
        """What the servers last refused, `""` if all went well."""
        return "; ".join(filter(None, self._problems.values()))

    def fetch(self, ledger: Ledger, folders: Folders, stop: Stop) -> int:
        """Fetch the studies that are whole, into `folders.fetched`; what is done with is removed there.

        Args:
            ledger: Knows which series have been fetched.
            folders: Existing folders below the output.
            stop: Says when to end.

        Returns:
            Number of studies that have something new which is not fetched yet.

        Raises:
            OutputError: If they cannot be written.
        """
        if self._source is None:
            return 0
        remove_done(ledger, folders.fetched)
        if time.monotonic() >= self._next_fetch:
            self._problems["fetch"], self._left = "", 0
            try:
                self._left = self._fetch(ledger, folders, stop)
            except _failures() as error:
                self._warn("fetch", error)
            self._next_fetch = time.monotonic() + self._every_s
        return self._left

    def send(self, ledger: Ledger, folders: Folders, stop: Stop) -> None:
        """Send the segmentations and reports of finished studies; a server that has one already keeps one.

        Args:
            ledger: Knows what is to be sent.
            folders: Existing folders below the output.
            stop: Says when to end.
        """
        if self._target is None or time.monotonic() < self._next_send:
            return
        self._problems["send"] = ""
        for row in ledger.to_send():
            if stop.is_asked():
                return
            try:
                found = [pydicom.dcmread(path) for path in sorted((folders.done / row.folder).glob("*.dcm"))]
                if found:
                    refused = self._target.store_instances(found).get("FailedSOPSequence")
                    if refused:
                        raise ValueError(f"it refused {len(refused)} results of {row.folder}")
                ledger.sent(row.id)
            except _failures() as error:
                self._warn("send", error)
                self._next_send = time.monotonic() + self._every_s

    def _fetch(self, ledger: Ledger, folders: Folders, stop: Stop) -> int:
        left = 0
        found = self._search()
        self._since = {uid: seen for uid, seen in self._since.items() if uid in found}
        for uid, counts in found.items():
            new = {one: number for one, number in counts.items() if number > ledger.fetched_instances(one)}
            if not new:
                self._since.pop(uid, None)
                continue
            now = time.monotonic()
            known, since = self._since.get(uid, (None, now))
            self._since[uid] = (counts, since if known == counts else now)
            is_quiet = now - self._since[uid][1] >= self._quiet_s
            may_fetch = is_quiet and not stop.is_asked() and not (folders.fetched / uid).exists()
            if may_fetch and self._retrieve(uid, new, folders, stop):
                ledger.fetched(new)
            else:
                left += 1
        return left

    def _search(self) -> dict[str, dict[str, int]]:
        """Number of instances by series by study."""
        first = date.today() - timedelta(days=self._days)
        found: dict[str, dict[str, int]] = defaultdict(dict)
        client: Any = self._source
        fields = ["NumberOfSeriesRelatedInstances"]
        for modality in MODALITIES:
            filters = {"Modality": modality, "StudyDate": f"{first:%Y%m%d}-"}
            for one in client.search_for_series(
                search_filters=filters, fields=fields, limit=PAGE, get_remaining=True
            ):
                found[_value(one, STUDY_UID)][_value(one, SERIES_UID)] = int(_value(one, INSTANCES))
        return found

    def _retrieve(self, study: str, series: dict[str, int], folders: Folders, stop: Stop) -> bool:
        """Whether the series have come; not if the end is asked for meanwhile."""
        work = folders.begin(study)
        client: Any = self._source
        try:
            for uid, expected in series.items():
                folder = work / uid
                folder.mkdir()
                found = 0
                for found, image in enumerate(client.iter_series(study, uid), start=1):
                    if stop.is_asked():
                        return False
                    image.save_as(folder / f"{found - 1:05}.dcm", write_like_original=False)
                if found < expected:
                    raise ValueError(f"it has {expected} instances of series {uid} and gave {found}")
            work.rename(folders.fetched / study)
            return True
        except OSError as error:
            if isinstance(error, _failures()):  # those of requests are OSErrors too
                raise
            raise OutputError(
                f"cannot write {work}: {error.strerror or error}; free some space or choose another folder"
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _warn(self, what: str, error: Exception) -> None:
        self._problems[what] = f"cannot {what}: {error}"
        logger.warning("DICOMweb: %s", self._problems[what])


def remove_done(ledger: Ledger, fetched: Path) -> None:
    """Remove fetched studies all of whose files have been dealt with; the server has them."""
    for folder in fetched.iterdir():
        files = stamps(path for path in folder.rglob("*") if path.is_file())
        if all(ledger.knows(path, found) for path, found in files.items()):
            shutil.rmtree(folder, ignore_errors=True)


def _value(found: dict[str, Any], tag: str) -> str:
    try:
        value = str(found[tag]["Value"][0])
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"it tells no {tag} of a series") from None
    if tag != INSTANCES and not value.replace(".", "").isdigit():
        raise ValueError(f"{value!r} is no UID")  # it becomes the name of a folder
    return value


def _failures() -> tuple[type[Exception], ...]:
    """What goes wrong with a server: no connection, a refusal, an answer that makes no sense."""
    import requests

    return requests.RequestException, ValueError, KeyError


def _client(url: str) -> Any:
    api = import_extra("dicomweb_client.api", "watch", "dicomweb-client for DICOMweb")
    import requests  # which that needs, too

    class Patient(requests.adapters.HTTPAdapter):
        def send(self, request: Any, **settings: Any) -> Any:
            return super().send(request, **{**settings, "timeout": TIMEOUTS_S})

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Patient())
    try:
        client = api.DICOMwebClient(url, session=session)
    except ValueError as error:
        raise ConfigError(f"expected the address of a DICOMweb server, found {url!r}: {error}") from error
    client.set_http_retry_params(retry=False)
    return client
