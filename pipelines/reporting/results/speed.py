"""Speed and memory: benchmarks with their targets, engines, sizes of exports, and int8."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.benchmarks.speed import BENCH_NAME, Measured, bench_values
from pipelines.core.errors import DataError
from pipelines.evaluation.comparison import METRICS_NAME
from pipelines.evaluation.segmentation import read_cases
from pipelines.export.quantize import COMPARISON_NAME, EAGER, INT8
from pipelines.figures.overlay import panels, save_png
from pipelines.reporting.document import Cell, Document, Picture, Section, Table, number
from pipelines.reporting.source import Context, Kind, Source, each

Content = Mapping[str, Any]

HEADER: Final = ("value", "", "target", "")

MAX_DICE_LOST: Final = 0.002
"""Largest loss of mean Dice against PyTorch in float32 for which a faster engine is good."""

BASE: Final = ("pytorch", "fp32")
"""Engine and precision that the others are compared with."""

ENGINE_TITLES: Final = {"pytorch": "PyTorch", "openvino": "OpenVINO", "int8": "OpenVINO int8,"}

INT8_TARGETS: Final = (
    ("over_eager_fp32", "one image, PyTorch fp32 over int8", 8.0),
    ("over_same_runtime_fp32", "one image, OpenVINO fp32 over int8", 2.5),
    ("over_best_bf16", "one image, fastest bf16 over int8", 1.3),
)
"""Ratios in `quantization.json`, their words, and how many times faster int8 ought to be."""

MIN_SIZE_RATIO: Final = 3.9
MAX_LOST_POINTS: Final = 0.3


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of benchmarks, with the Dice that engines cost and cohorts, where these are given.

    Args:
        sources: Folders of `thorax benchmark speed`.
        context: The report's evaluations and benchmarks of cohorts.

    Raises:
        DataError: If evaluations with engines are given, and none of a network is in PyTorch's float32.
    """
    sections = [section for source in sources for section in _bench_sections(source.content)]
    if evaluations := engine_trials(context.sources):
        sections.append(_dice_section(evaluations))
    sections += [_cohort_section(source.content) for source in context.of("scale")]
    return Document("Speed and memory", "", sections)


KIND: Final = Kind("speed", BENCH_NAME, "thorax benchmark speed", "results", document)


def engine_trials(sources: Sequence[Source]) -> list[Source]:
    """Evaluations of a network by several engines or precisions, which the page of a benchmark compares.

    Empty without a benchmark among the sources: evaluations are then documents of their own.
    """
    if not any(source.kind == KIND.name for source in sources):
        return []
    found = [one for one in sources if one.kind == "evaluation" and "engine" in one.manifest]
    ways = {(*one.networks, one.manifest["engine"], one.manifest["precision"]) for one in found}
    counts = Counter(way[:-2] for way in ways)
    return [one for one in found if counts[tuple(one.networks)] > 1]


def int8_document(source: Source, context: Context) -> Document:
    """Document of an int8 model of radiographs; the context has the folder for the plot."""
    content = source.content
    plot = _int8_plot(content, context.picture("quantization"))
    megabytes = {name: content["sizes"][f"{name}_bytes"] / 1e6 for name in ("fp32", "int8")}
    section = Section(
        f"Int8, {source.name}",
        [
            f"{' x '.join(map(str, content['size_px']))} pixels, {content['threads']} threads, "
            f"{content['rounds']} rounds in alternating order, {content['images']} images; "
            f"{megabytes['fp32']:.1f} MB in fp32, {megabytes['int8']:.1f} MB in int8."
        ],
        tables=[runtimes_table(content), _int8_targets(content)],
        pictures=[Picture(plot, "time, size and accuracy before and after")],
        block="quantization",
    )
    return Document("", "", [section])


INT8_KIND: Final = Kind(
    "quantization",
    COMPARISON_NAME,
    "thorax export --format int8 --rounds",
    "results",
    each("Int8, {name}", int8_document),
)


def targets_table(values: Sequence[Measured], caption: str = "") -> Table:
    """Measured values with their targets, a row each."""
    return Table(caption, HEADER, [value.cells for value in values])


def bench_table(content: Content) -> Table:
    """Values of a benchmark with their targets.

    Args:
        content: Content of `bench.json`.
    """
    machine = f"{content['device']}, {content['threads']} threads, precision auto is {content['precision']}"
    return targets_table(list(bench_values(content)), machine)


def runtimes_table(content: Content) -> Table:
    """Ways to run a network, a row each: latencies in ms, accuracies in percent.

    Args:
        content: Content of `quantization.json`.
    """
    rows: list[list[Cell]] = []
    for name, found in content["runtimes"].items():
        times = [found[f"batch_{count}_ms"][key] for count in (1, 16) for key in ("median", "p95")]
        shares = ("accuracy", "accuracy_normal", "accuracy_pneumonia", "agreement")
        rows.append(
            [
                name,
                *(number(value, 1) for value in [*times, *map(found.get, ("normal_ms", "pneumonia_ms"))]),
                *(f"{100 * found[share]:.1f}" for share in shares),
            ]
        )
    header = ["", "1 image, ms", "p95", "16 images, ms", "p95", "normal, ms", "pneumonia, ms"]
    header += ["accuracy %", "normal %", "pneumonia %"]
    caption = f"{content['threads']} threads, {content['images']} images"
    return Table(caption, [*header, "as fp32 %"], rows)


def _bench_sections(content: Content) -> list[Section]:
    return [
        Section(
            "Speed and memory",
            [
                f"Medians of {content['rounds']} rounds in which what is compared took turns. A volume has "
                "256 x 216 x 10 voxels; reading and writing it are measured separately."
            ],
            tables=[bench_table(content)],
        ),
        Section(
            "Engines",
            [
                "Times faster than PyTorch in float32: a volume / the frames of a cine, from image to clean "
                "mask."
            ],
            tables=[
                _by_network(
                    "engine",
                    content["engines"],
                    lambda found: f"{found['volume_ratio']:.1f} / {found['cine_ratio']:.1f}",
                )
            ],
        ),
        Section(
            "Sizes of exports",
            ["MB of what `thorax export` writes, and of the weights of the bundle."],
            tables=[_by_network("format", content["exports"], lambda size: f"{size / 1e6:.1f}")],
        ),
    ]


def _by_network(corner: str, columns: Content, shown: Callable[[Any], str]) -> Table:
    names = dict.fromkeys(key for found in columns.values() for key in found)
    rows: list[list[Cell]] = [
        [name, *(shown(found[name]) if name in found else None for found in columns.values())]
        for name in names
    ]
    return Table("", [corner, *columns], rows)


def _dice_section(evaluations: Sequence[Source]) -> Section:
    """What engines cost in mean Dice against PyTorch in float32, on the same volumes."""
    found = []
    for source in evaluations:
        cases = read_cases(source.folder / METRICS_NAME)
        dices = {
            (case.patient, case.phase, case.frame): dice
            for case in cases
            if (dice := case.mean("dice")) is not None
        }
        way = (source.manifest["engine"], source.manifest["precision"])
        found.append(("+".join(source.networks), way, dices))
    base = {network: dices for network, way, dices in found if way == BASE}
    values = []
    for network, way, dices in found:
        if base.get(network, {}).keys() != dices.keys():
            raise DataError(
                f"expected an evaluation of {network} with --precision fp32 on the same volumes, found none; "
                "run thorax evaluate with it"
            )
        if way != BASE:
            lost = [base[network][key] - dice for key, dice in dices.items()]
            words = f"{network}: {ENGINE_TITLES[way[0]]} {way[1]}"
            values += [
                Measured(f"{words}, mean", float(np.mean(lost)), "", 4, MAX_DICE_LOST),
                Measured(f"{words}, the volume that lost most", max(lost), "", 4),
            ]
    volumes = " or ".join(str(count) for count in sorted({len(dices) for dices in base.values()}))
    return Section(
        "Dice lost by the engines",
        [
            f"Against PyTorch in float32 on the same {volumes} volumes, mean of LV, MYO and RV. Engines are "
            "compared, not networks: these may have been trained on the same patients."
        ],
        tables=[targets_table(values)],
    )


def _cohort_section(content: Content) -> Section:
    plain, one, two = content["plain"], content["ray"]["1"], content["ray"]["2"]
    words = f"one worker on Ray / plain loop, {plain['studies']} volumes"
    values = [
        Measured(words, plain["loop_s"] / one["working_s"], "", 2),
        Measured("two workers on two nodes / one worker", one["working_s"] / two["working_s"], "", 2),
    ]
    return Section("Cohorts", ["Volumes a second."], tables=[targets_table(values)])


def _int8_targets(content: Content) -> Table:
    sizes = content["sizes"]
    smaller = sizes["fp32_bytes"] / sizes["int8_bytes"]
    before, after = (content["runtimes"][name]["accuracy"] for name in (EAGER, INT8))
    values = [Measured("size, fp32 over int8", smaller, "", 2, least=MIN_SIZE_RATIO)]
    values += [
        Measured(words, content["ratios"][name], "", 2, least=least) for name, words, least in INT8_TARGETS
    ]
    lost = 100 * (before - after)
    values.append(Measured("percentage points of accuracy lost", lost, "", 2, most=MAX_LOST_POINTS))
    return targets_table(values)


def _int8_plot(content: Content, path: Path) -> Path:
    names = list(content["runtimes"])
    figure, (times, sizes, shares) = panels(3, width=3.7, height=3.6, width_ratios=(3, 1, 2))
    medians = [content["runtimes"][name]["batch_1_ms"]["median"] for name in names]
    times.barh(names, medians, color=["tab:red" if name == INT8 else "0.6" for name in names])
    times.invert_yaxis()
    times.set_xlabel("one image, ms (median)")
    megabytes = [content["sizes"][f"{kind}_bytes"] / 1e6 for kind in ("fp32", "int8")]
    sizes.bar(["fp32", "int8"], megabytes, color=["0.6", "tab:red"])
    sizes.set_ylabel("file, MB")
    kinds = ("accuracy_normal", "accuracy_pneumonia", "accuracy")
    for offset, name, color in ((-0.2, EAGER, "0.6"), (0.2, INT8, "tab:red")):
        values = [100 * content["runtimes"][name][kind] for kind in kinds]
        shares.bar(np.arange(len(kinds)) + offset, values, width=0.4, color=color, label=name)
    shares.set_xticks(range(len(kinds)), ["normal", "pneumonia", "both"])
    shares.set(ylim=(80, 100), ylabel="accuracy, %, from 80")
    shares.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return save_png(figure, path)
