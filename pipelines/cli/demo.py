"""The whole job in minutes: data, training, evaluation, a new cine, a report."""

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from pipelines.core.errors import DataError, OutputError, ThoraxError
from pipelines.core.files import output_folder, write_manifest, write_text
from pipelines.core.progress import StepLog, progress_to
from pipelines.core.records import PatientRecord
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import patient_records, prepare_acdc, read_datalist, select
from pipelines.evaluation.comparison import described_weights
from pipelines.evaluation.segmentation import evaluate
from pipelines.inference.segment import segment
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.heart import Predictor
from pipelines.reporting.study_page import (
    DemoFindings,
    compare_with_labels,
    compare_with_truth,
    comparison_table,
    write_demo_report,
)
from pipelines.reporting.terminal import render
from pipelines.training.launch import bundle_command, train_network
from pipelines.training.optimisation import fastest_thread_count, torch_threads

NETWORK: Final = "unet"
REQUIRED_DICE: Final = 0.90
"""Mean foreground Dice that phantom patients not trained on must reach."""

MARKER_NAME: Final = ".thorax-demo"
"""File that tells a folder of the demo, whose results may be replaced, from others."""

STEP_SHARE: Final = 0.9
"""Share of the training time for training steps; the rest is for reading and validating."""

SETTINGS: Final = {"batch_size": 6, "optimizer": "adamw", "learning_rate": 0.002, "warmup": 30}
"""For a few hundred steps: small batches for more of them, a higher rate, and its peak soon."""

PARTS: Final = ("cohort", "new", "prepared", "training", "cache", "evaluation", "segmented")


class DemoError(ThoraxError):
    """The demo ran to its end, but its values are not good enough."""


def run_demo(
    output: Path,
    *,
    data: Path | None = None,
    minutes: float = 4.0,
    patients: int = 25,
    seed: int = 0,
    smoke: bool = False,
    console: Console | None = None,
) -> DemoFindings:
    """Train on a cohort, measure on patients left out, segment a new cine, and report.

    The cohort is a generated one, or the one in `data`. What an earlier demo left
    in `output` is replaced.

    Args:
        output: Folder for everything; made if it does not exist. `report.html` is the report.
        data: Existing folder in ACDC's layout, or None for a phantom cohort.
        minutes: Longest training time in minutes, reading and validating included on a
            machine that needs no more than a tenth of it for that.
        patients: Size of the phantom cohort.
        seed: Seed of cohort, split and training.
        smoke: Train for seconds only, and ask for no accuracy.
        console: Where the steps are shown; by default standard output.

    Returns:
        What the report is made of.

    Raises:
        DemoError: If the mean Dice on phantom patients is below `REQUIRED_DICE`; the report is there.
        DataError: If `data` cannot be used.
        OutputError: If `output` holds something else or cannot be written.
    """
    console = console or Console()
    log = StepLog(console)
    _clear(output)
    root = data or output / "cohort"
    if data is None:
        with log.step("Write a phantom cohort") as step:
            number = 5 if smoke else patients
            write_phantom_cohort(root, patients=number, seed=seed, cine=False)
            step.done(f"{number} beating hearts with known volumes, in {root}")
    with log.step("Check and split") as step:
        preparation = prepare_acdc(root, output / "prepared", seed=seed)
        datalist = read_datalist(preparation.datalist)
        unseen = patient_records(select(datalist, "test", 0))[: 2 if smoke else None]
        aside = f", {len(preparation.problems)} skipped" if preparation.problems else ""
        step.done(f"{preparation.patients} patients{aside}, of which {len(unseen)} are kept for the test")
    weights = _train(log, output, minutes, seed, smoke=smoke)
    predictor = Predictor.load(NETWORK, weights=weights)
    most = torch.get_num_threads()
    with log.step("Evaluate on patients not trained on") as step, torch_threads(fastest_thread_count(most)):
        metrics = evaluate(root, output / "evaluation", predictor, records=unseen, seen=predictor.seen)
        write_manifest(output / "evaluation", **described_weights([NETWORK], weights, ACDC_BUNDLE))
        dice = metrics["summary"]["dice"]["mean"] or 0.0
        step.done(f"mean Dice {dice:.3f}, in {output / 'evaluation'}")
    new = _new_patient(root, unseen) if data else _write_new_phantom(log, output, seed, 3 if smoke else 20)
    with log.step("Segment a new study") as step, torch_threads(fastest_thread_count(most)):
        source = new.cine or new.volumes[0].image.parent
        study = segment([source], output / "segmented", predictor).results[0]
        step.done(f"ED is frame {study.frame_ed}, ES is frame {study.frame_es}, in {output / 'segmented'}")
    comparisons = [*compare_with_truth(metrics["patients"]), compare_with_labels(study.indices, new)]
    manifest = write_manifest(
        output, seed=seed, data=root, smoke=smoke, dice=dice, seconds=log.seconds, outputs=PARTS
    )
    report = output / "report.html"
    findings = DemoFindings(data is None, metrics, comparisons, study, log.seconds)
    with log.step("Write the report") as step:
        write_demo_report(
            report, findings, run=output / "training", evaluation=output / "evaluation", manifest=manifest
        )
        step.done(str(report))
    console.print(render(comparison_table(comparisons)))
    console.print(f"Report: {report.resolve()}", soft_wrap=True, highlight=False)
    if data is None and not smoke and not dice >= REQUIRED_DICE:
        raise DemoError(
            f"expected a mean foreground Dice of at least {REQUIRED_DICE:.2f} on phantom patients not "
            f"trained on, found {dice:.3f}; the machine may be busy or slow: give it more time with --minutes"
        )
    return findings


def _clear(output: Path) -> None:
    """Empty the folder of what an earlier demo left, and of nothing else."""
    output_folder(output)
    marker = output / MARKER_NAME
    if not marker.exists() and any(output.iterdir()):
        raise OutputError(
            f"expected an empty folder or one of an earlier demo, found other files in {output}; "
            "choose another"
        )
    write_text(marker, "Results of 'thorax demo'; the next demo here replaces them.\n")
    for name in PARTS:
        try:
            shutil.rmtree(output / name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(
                f"cannot replace {output / name}: {error.strerror}; choose another folder"
            ) from error


def _train(log: StepLog, output: Path, minutes: float, seed: int, *, smoke: bool) -> Path:
    run = output / "training"
    settings: dict[str, Any] = {"seed": seed} | (
        {} if smoke else {**SETTINGS, "minutes": STEP_SHARE * minutes}
    )
    overlay = "smoke" if smoke else "timed"
    command = bundle_command(NETWORK, output / "prepared", run, overlays=[overlay], **settings)
    log.console.print(f"Training is this command: {command}", soft_wrap=True, highlight=False, markup=False)
    with log.step(f"Train the {NETWORK}") as step:
        start, seconds = time.perf_counter(), math.ceil(60 * minutes)

        def by_the_clock(done: int, total: int, text: str) -> None:
            if not smoke:
                done, total = min(seconds, int(time.perf_counter() - start)), seconds
            step.move(done, total, text)

        with progress_to(by_the_clock):
            weights = train_network(NETWORK, output / "prepared", run, overlays=[overlay], **settings)
        step.done(f"weights in {weights}; look at it with: tensorboard --logdir {run}")
    return weights


def _write_new_phantom(log: StepLog, output: Path, seed: int, frames: int) -> PatientRecord:
    """A patient with a cine from another cohort than that of the training."""
    with log.step("Write a new phantom cine") as step:
        write_phantom_cohort(output / "new", patients=1, seed=seed + 1, frames=frames)
        patient = read_acdc(output / "new").patients[0]
        step.done(f"{frames} frames, in {patient.cine}")
    return patient


def _new_patient(root: Path, unseen: Sequence[PatientRecord]) -> PatientRecord:
    """The first patient not trained on that has a cine, or the first of all."""
    names = {patient.patient for patient in unseen}
    found = [patient for patient in read_acdc(root).patients if patient.patient in names]
    if not found:
        raise DataError(f"expected the patients {sorted(names)} in {root}, found none of them any more")
    return next((patient for patient in found if patient.cine), found[0])
