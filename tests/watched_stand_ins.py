"""Processors that stand in for the networks, in processes of their own, and a watcher to be killed.

Run as `python watched_stand_ins.py INCOMING OUTPUT PROCESSOR [--once]`.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError, OutputError
from pipelines.watching.service import WatchSettings, watch
from pipelines.watching.units import Waits
from pipelines.watching.worker import Job, Limits

FAST = WatchSettings(Waits(0.02, 0.05), Limits(study_s=20, memory_mb=2000), poll_s=0.02, grace_s=120)


def copier() -> Callable[[Job], dict[str, Any]]:
    """Writes what it read, in two files, and not at once."""

    def process(job: Job) -> dict[str, Any]:
        content = b"".join(path.read_bytes() for path in job.files)
        with (job.folder / "first_half.bin").open("wb") as stream:
            for byte in content[: len(content) // 2]:
                stream.write(bytes([byte]))
        time.sleep(0.005)
        (job.folder / "second_half.bin").write_bytes(content[len(content) // 2 :])
        return {"length": len(content)}

    return process


def moody() -> Callable[[Job], dict[str, Any]]:
    """Does what the file says, `die`, `bad`, `hang` and so on; else copies it."""

    def process(job: Job) -> dict[str, Any]:
        match job.files[0].read_bytes().split()[0]:
            case b"die":
                os.kill(os.getpid(), signal.SIGKILL)
            case b"bad":
                raise DataError("expected a good file, found a bad one")
            case b"hang":
                time.sleep(60)
            case b"swell":
                held = [bytearray(os.urandom(1_000_000)) for _ in range(400)]
                time.sleep(60 if held else 0)
            case b"rewrite":
                job.files[0].write_text("written anew", encoding="utf-8")
            case b"write":
                job.files[0].with_name("b.nii").write_text("half and the rest", encoding="utf-8")
            case b"raise":
                raise RuntimeError("nobody foresaw this")
            case b"full":
                raise OutputError("cannot write: No space left on device")
        return copier()(job)

    return process


def leaky(megabytes: int) -> Callable[[Job], dict[str, Any]]:
    """Keeps some memory of each job for ever."""
    held: list[bytes] = []

    def process(job: Job) -> dict[str, Any]:
        held.append(os.urandom(megabytes * 1_000_000))
        return copier()(job)

    return process


def slow(seconds: float) -> Callable[[Job], dict[str, Any]]:
    def process(job: Job) -> dict[str, Any]:
        time.sleep(seconds)
        return copier()(job)

    return process


def segmenter() -> Callable[[Job], dict[str, Any]]:
    """Takes bright pixels of a DICOM series for the LV and writes them as DICOM SEG."""
    import numpy as np

    from pipelines.datasets.dicom import order_series, read_series
    from pipelines.inference.dicom_objects import write_dicom_seg

    def process(job: Job) -> dict[str, Any]:
        volume = read_series(job.files)
        mask = np.where(volume.array > 200, 3, 0).astype(np.uint8)
        write_dicom_seg(
            mask, [group[0] for group in order_series(job.files)[0]], job.folder / "heart_seg.dcm"
        )
        return {}

    return process


def reporter() -> Callable[[Job], dict[str, Any]]:
    """Writes a DICOM SR and an encapsulated PDF beside the segmentation."""
    from pipelines.core.cardiac import indices_from_volumes
    from pipelines.core.records import AcdcLabel
    from pipelines.inference.dicom_objects import write_dicom_pdf, write_dicom_sr
    from pipelines.inference.segment import StudyResult

    segment = segmenter()

    def process(job: Job) -> dict[str, Any]:
        segment(job)
        ed, es = ({AcdcLabel.LV: lv, AcdcLabel.MYO: 90.0, AcdcLabel.RV: 100.0} for lv in (150.0, 60.0))
        result = StudyResult("heart", "anna", indices_from_volumes(ed, es))
        write_dicom_sr(result, job.files, job.folder / "heart_sr.dcm")
        (job.folder / "heart_report.pdf").write_bytes(b"%PDF-1.7 a page")
        write_dicom_pdf(job.folder / "heart_report.pdf", job.files[0], job.folder / "heart_report.dcm")
        return {}

    return process


PROCESSORS = {
    "copier": copier,
    "moody": moody,
    "slow": partial(slow, 1.0),
    "endless": partial(slow, 60.0),
}


def main(incoming: str, output: str, processor: str, *options: str) -> None:
    settings = FAST
    if "--many-tries" in options:
        settings = WatchSettings(FAST.waits, FAST.limits, poll_s=0.02, tries=1000)
    if "--hasty" in options:
        settings = WatchSettings(FAST.waits, FAST.limits, poll_s=0.02, grace_s=0.2)
    watch(
        Path(incoming), Path(output), PROCESSORS[processor], settings, once="--once" in options, report=print
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
