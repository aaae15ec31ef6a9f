"""The commands of `thorax` around the watched folder."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import (
    Anonymous,
    Device,
    Engine,
    HeartNetwork,
    LungsNetwork,
    PageLanguage,
    Quality,
    StudyPage,
    Weights,
    say,
)
from pipelines.core.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.watching.service import Status


def watch(
    incoming: Annotated[Path, typer.Argument(help="Folder in which images arrive; only read.")],
    output: Annotated[Path, typer.Argument(help="Folder for the results; made if it does not exist.")],
    network: HeartNetwork = "unet",
    weights: Weights = None,
    xray_network: LungsNetwork = "efficientnet_lite0",
    xray_weights: Annotated[
        Path | None, typer.Option(help="Weights for radiographs instead of the bundle's own.")
    ] = None,
    quality: Quality = False,
    seg: Annotated[
        bool,
        typer.Option(
            "--seg", help="Write DICOM SEG of DICOM series, SR of cines, the page too with --report."
        ),
    ] = False,
    page: StudyPage = False,
    language: PageLanguage = "en",
    anonymous: Anonymous = False,
    series: Annotated[
        str | None, typer.Option(help="Only DICOM series whose description matches, e.g. '(?i)sax'.")
    ] = None,
    fetch_from: Annotated[
        str | None, typer.Option(help="DICOMweb address that new MR series and radiographs are fetched from.")
    ] = None,
    fetch_days: Annotated[int, typer.Option(help="Age of the studies that are fetched, days.", min=0)] = 7,
    send_to: Annotated[
        str | None, typer.Option(help="DICOMweb address that segmentations are sent to; implies --seg.")
    ] = None,
    settle_seconds: Annotated[float, typer.Option(help="Seconds a file must be unchanged.", min=0)] = 5,
    quiet_seconds: Annotated[
        float, typer.Option(help="Seconds a DICOM study or patient's folder must be unchanged.", min=0)
    ] = 60,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.01)] = 5,
    tries: Annotated[int, typer.Option(help="Tries before a study goes to quarantine.", min=1)] = 3,
    minutes: Annotated[float, typer.Option(help="Longest time for one study.", min=0.01)] = 30,
    memory_mb: Annotated[float, typer.Option(help="Most memory of the working process, MB.", min=100)] = 6000,
    grace_seconds: Annotated[
        float, typer.Option(help="After SIGTERM the study in hand gets so long; then it is left.", min=0)
    ] = 20,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there is done.")] = False,
    engine: Engine = "pytorch",
    device: Device = "auto",
) -> None:
    """Process what arrives in a folder, each study once, until stopped."""
    from functools import partial

    from pipelines.watching.dicomweb import DicomWeb
    from pipelines.watching.processing import ProcessorSettings, StudyProcessor
    from pipelines.watching.service import WatchSettings
    from pipelines.watching.service import watch as watch_folder
    from pipelines.watching.units import Waits
    from pipelines.watching.worker import Limits

    pages = None
    if page:
        from pipelines.reporting.document import read_language
        from pipelines.reporting.html import require_pdf
        from pipelines.reporting.study_page import StudyPages, model_words

        read_language(language)
        require_pdf()
        pages = StudyPages(model_words([network]), language, anonymous)
    processor = ProcessorSettings(
        network=network,
        weights=weights,
        xray_network=xray_network,
        xray_weights=xray_weights,
        quality=quality,
        seg=seg or send_to is not None,
        pages=pages,
        engine=engine,
        device=device,
    )
    settings = WatchSettings(
        waits=Waits(settle_seconds, max(settle_seconds, quiet_seconds)),
        limits=Limits(study_s=minutes * 60, memory_mb=memory_mb),
        poll_s=poll_seconds,
        tries=tries,
        grace_s=grace_seconds,
        series=_pattern(series),
    )
    exchange = None
    if fetch_from is not None or send_to is not None:
        exchange = DicomWeb(fetch_from, send_to, days=fetch_days, quiet_s=quiet_seconds)
    factory = partial(StudyProcessor, processor)
    watch_folder(incoming, output, factory, settings, once=once, exchange=exchange, say=say)


def watch_status(
    output: Annotated[Path, typer.Argument(help="Folder that 'thorax watch' writes to.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Fail unless a watcher is running and gives signs of life.")
    ] = False,
) -> None:
    """Report what 'thorax watch' has done and is doing."""
    from pipelines.watching.service import check_alive, read_status

    status = read_status(output)
    if as_json:
        say(json.dumps(status.as_json(), indent=2))
    else:
        _show(status)
    if check:
        check_alive(status, output)


def _show(status: "Status") -> None:
    age = "" if status.beat_age_s is None else f", last sign of life {status.beat_age_s:.0f} s ago"
    say(f"{'running' if status.is_running else 'not running'}{age}")
    if status.is_running and status.now.get("in_hand"):
        say(f"in hand: {status.now['in_hand']}")
    say(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in status.counts.items()))
    if status.mean_seconds is not None:
        say(f"{status.mean_seconds:.1f} s a study lately")
    if status.now.get("problem"):
        say(f"DICOMweb: {status.now['problem']}")
    for row in status.waiting:
        say(f"to be tried again: {row['folder']}, try {row['tries']}: {row['reason']}")
    for row in status.quarantined:
        say(f"in quarantine: {row['folder']}: {row['reason']}")


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise ConfigError(f"expected a regular expression for --series, found {text!r}: {error}") from error
