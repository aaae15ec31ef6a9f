"""Cohorts on local clusters of one and two nodes against a plain loop, and what one study costs."""

import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import nibabel as nib
import torch
from rich.console import Console

from pipelines.cohort.run import TASKS_A_WORKER, CohortOptions, run_cohort
from pipelines.cohort.scale import StudyCost
from pipelines.cohort.worker import (
    PARTS_NAME,
    BundleModel,
    CohortWorker,
    ModelSource,
    Task,
    list_studies,
    read_results,
)
from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_csv, write_json, write_manifest
from pipelines.core.install import OBJECT_STORE_BYTES, import_extra, set_environment
from pipelines.core.progress import StepLog
from pipelines.datasets.phantom.cohort import write_phantom_cohort

BENCH_NAME: Final = "cohort_bench.json"

HEARTS: Final = 10
"""Generated hearts whose volumes are listed as often as needed."""

PART: Final = 8


def run_cohort_bench(
    output: Path,
    *,
    volumes: int = 200,
    frames: int = 50,
    cines: int = 3,
    model: ModelSource | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure cohorts and write `cohort_bench.json`.

    One worker with one thread does the volumes in a plain loop, then on a cluster of one node, then
    two do on two nodes of one core each, and then one of the two nodes is killed in the middle.
    Nothing else should run meanwhile, and there should be two cores.

    Args:
        output: Folder for the results; made if it does not exist.
        volumes: Studies of one volume each.
        frames: Frames of the cines whose cost is measured.
        cines: Number of those cines.
        model: What the workers load, by default the UNet of the bundle.
        console: Where progress is shown; by default standard output.

    Returns:
        The content of `cohort_bench.json`.

    Raises:
        ConfigError: If Ray is missing, or studies were lost.
        OutputError: If `output` cannot be written.
    """
    model = model or BundleModel()
    log = StepLog(console or Console())
    output = output_folder(output.resolve())  # the manifest's paths count from its own folder
    with TemporaryDirectory(dir=output, prefix=".cohort-") as folder:
        work = Path(folder)
        with log.step("Draw hearts") as step:
            listed, beating = _draw(work, volumes, frames, cines)
            step.done(f"{volumes} volumes to measure")
        with log.step("Plain loop") as step:
            plain = _plain(listed, work / "plain", model)
            step.done(f"{plain['loop_s']:.1f} s")
        runs = {}
        for workers in (1, 2):
            with log.step(f"Ray, {workers} worker{'s' * (workers > 1)}") as step:
                with local_cluster(workers) as cluster:
                    runs[str(workers)] = _on_ray(
                        listed, work / f"ray{workers}", model, workers, cluster.address
                    )
                step.done(f"{runs[str(workers)]['working_s']:.1f} s after the start")
        with log.step("Kill one of two nodes") as step:
            lost = _with_a_loss(listed, work / "lost", model)
            step.done(f"{lost['lost']} of {lost['studies']} studies lost")
        with log.step(f"Cines of {frames} frames") as step:
            cine = _plain(beating, work / "cines", model)
            packed = _shape_and_raw_read(beating, work / "unpacked")
            step.done(f"{cine['study_s']:.1f} s a cine")
    content: dict[str, Any] = {
        "asked": {"volumes": volumes, "frames": frames, "cines": cines},
        "threads": 1,
        "torch_threads_available": torch.get_num_threads(),
        "model": dict(model.record()),
        "plain": plain,
        "ray": runs,
        "overhead": runs["1"]["working_s"] / plain["loop_s"] - 1,
        "overhead_with_start": runs["1"]["total_s"] / (plain["load_s"] + plain["loop_s"]) - 1,
        "efficiency": runs["1"]["working_s"] / (2 * runs["2"]["working_s"]),
        "lost_node": lost,
        "cine": cine | packed,
    }
    write_json(output / BENCH_NAME, content)
    write_manifest(output, outputs=[BENCH_NAME])
    return content


@contextmanager
def local_cluster(nodes: int) -> Iterator[Any]:
    """A cluster of nodes with one core each on this machine, which `address` of the value joins.

    Raises:
        ConfigError: If Ray is missing.
    """
    set_environment()
    ray_nodes = import_extra("ray.cluster_utils", "cluster", "Ray for a cluster")
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    cluster = ray_nodes.Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
        yield cluster
    finally:
        cluster.shutdown()


def _draw(work: Path, volumes: int, frames: int, cines: int) -> tuple[Path, Path]:
    """Manifests of the volumes and of the cines."""
    write_phantom_cohort(work / "hearts", patients=HEARTS, cine=False)
    images = sorted((work / "hearts").rglob("*_frame??.nii.gz"))
    rows = [(f"study{number:05d}", images[number % len(images)]) for number in range(volumes)]
    write_phantom_cohort(work / "beating", patients=cines, seed=1, frames=frames)
    beating = [(path.parent.name, path) for path in sorted((work / "beating").rglob("*_4d.nii.gz"))]
    return _manifest(work / "volumes.csv", rows), _manifest(work / "cines.csv", beating)


def _manifest(path: Path, rows: Sequence[tuple[str, Path]]) -> Path:
    write_csv(path, ("study", "path"), [{"study": name, "path": file} for name, file in rows])
    return path


def _plain(manifest: Path, output: Path, model: ModelSource) -> dict[str, Any]:
    """What a loop in this process takes, that writes what the workers write."""
    studies, _ = list_studies(manifest)
    before = torch.get_num_threads()
    start = time.perf_counter()
    worker = CohortWorker(model, str(output), 1, model.record())
    loaded = time.perf_counter()
    try:
        for number, first in enumerate(range(0, len(studies), PART)):
            worker.measure(Task(f"{number:05d}", tuple(studies[first : first + PART])))
        ended = time.perf_counter()
    finally:
        torch.set_num_threads(before)
    return {"load_s": loaded - start, "loop_s": ended - loaded} | _cost(read_results(output).to_pylist())


def _on_ray(manifest: Path, output: Path, model: ModelSource, workers: int, address: str) -> dict[str, Any]:
    start = time.time()
    options = CohortOptions(address=address, workers=workers, part=PART)
    rows = run_cohort(manifest, output, model, options).table.to_pylist()
    total_s = time.time() - start
    return {"total_s": total_s, "working_s": _working_s(rows), "tasks_a_worker": TASKS_A_WORKER} | _cost(rows)


def _with_a_loss(manifest: Path, output: Path, model: ModelSource) -> dict[str, Any]:
    """A cohort one of whose two nodes is killed after a fourth of it."""
    studies, _ = list_studies(manifest)
    with local_cluster(1) as cluster:
        other = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
        over, killed_after = threading.Event(), []

        def kill() -> None:
            while not over.wait(0.05):
                done = read_results(output).num_rows
                if done >= len(studies) / 4:
                    cluster.remove_node(other, allow_graceful=False)
                    killed_after.append(done)
                    return

        killer = threading.Thread(target=kill)
        (output / PARTS_NAME).mkdir(parents=True)
        killer.start()
        try:
            options = CohortOptions(address=cluster.address, workers=2, part=max(1, len(studies) // 16))
            table = run_cohort(manifest, output, model, options).table
        finally:
            over.set()
            killer.join()
    rows = table.to_pylist()
    good = [
        row for row in rows if not row["error"] and all((output / mask).is_file() for mask in row["masks"])
    ]
    return {
        "studies": len(studies),
        "killed_after": killed_after[0] if killed_after else None,
        "lost": len(studies) - len({row["study"] for row in good}),
        "done_again": sum(row["attempts"] > 1 for row in rows),
        "working_s": _working_s(rows),
    }


def _shape_and_raw_read(manifest: Path, folder: Path) -> dict[str, Any]:
    """Size of the cines, and what reading them takes when they are not packed."""
    studies, _ = list_studies(manifest)
    folder.mkdir()
    unpacked = [folder / f"{study.name}.nii" for study in studies]
    for study, path in zip(studies, unpacked, strict=True):
        nib.save(nib.load(study.paths[0]), path)
    found = []
    for path in unpacked:
        start = time.perf_counter()
        nib.load(path).get_fdata(dtype="float32")
        found.append(time.perf_counter() - start)
    size = statistics.mean(path.stat().st_size for path in unpacked)
    shape = list(nib.load(unpacked[0]).shape)
    return {"shape": shape, "unpacked_read_s": statistics.median(found), "unpacked_bytes": size}


def _cost(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean cost of the studies that were measured.

    Raises:
        ConfigError: If one was not.
    """
    failed = [row["error"] for row in rows if row["error"]]
    if failed:
        raise ConfigError(f"expected every generated study to be measured, found {failed[0]}")

    def mean(name: str) -> float:
        return statistics.fmean(row[name] for row in rows)

    other_s = mean("seconds") - mean("read_s") - mean("predict_s")
    cost = StudyCost(mean("bytes_read"), mean("read_s"), mean("predict_s"), other_s, mean("bytes_written"))
    return {"studies": len(rows), "study_s": mean("seconds"), "cost": asdict(cost)}


def _working_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds from the beginning of the first study to the end of the last."""
    ends = [datetime.fromisoformat(row["finished"]).timestamp() for row in rows]
    return max(ends) - min(end - row["seconds"] for end, row in zip(ends, rows, strict=True))
