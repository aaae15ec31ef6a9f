"""What benchmarks measured, with the values that are good."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

BENCH_NAME: Final = "bench.json"

MOST: Final = {
    "pipeline_over_in_memory": 1.15,
    "segment_s": 0.3,
    "training_mb": 6000.0,
    "cine_mb": 3000.0,
    "request_over_bare": 1.3,
    "start_s": 20.0,
}
"""Largest values that are good: ratios of times, seconds on two cores, MB (1e6 bytes)."""

LEAST: Final = {"throughput_over_plain": 2.2, "engine_ratio": 2.0}
"""Smallest values that are good."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured value.

    Attributes:
        words: What was measured.
        value: As measured.
        unit: With the space before it; empty for a ratio.
        digits: Digits after the point that are shown.
        most: Largest value that is good, or None if there is none.
        least: Smallest value that is good, or None if there is none.
    """

    words: str
    value: float
    unit: str
    digits: int
    most: float | None = None
    least: float | None = None

    @property
    def is_kept(self) -> bool | None:
        """Whether the value meets its target, None if there is no target."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def cells(self) -> list[str]:
        """Words, value, target, and whether it is met."""
        target = "" if self.most is None else f"at most {self._shown(self.most)}"
        target = target if self.least is None else f"at least {self._shown(self.least)}"
        verdict = {None: "", True: "yes", False: "no"}[self.is_kept]
        return [self.words, self._shown(self.value), target, verdict]

    def _shown(self, value: float) -> str:
        return f"{value:z.{self.digits}f}{self.unit}"


def bench_values(content: Mapping[str, Any]) -> Iterator[Measured]:
    """Values of the content of `bench.json`, in the order they are shown."""
    for network, found in content["training"].items():
        ratio, most = found["pipeline_over_in_memory"], MOST["pipeline_over_in_memory"]
        yield Measured(f"{network}: step with data pipeline / in memory", ratio, "", 2, most)
        yield Measured(f"{network}: step in bf16 / fp32", found["bf16_over_fp32"], "", 2)
        peak, most = found["peak_mb"], MOST["training_mb"]
        yield Measured(f"{network}: peak memory in training", peak, " MB", 0, most)
    times, least = content["radiographs"], LEAST["throughput_over_plain"]
    words = "resnet18: images a second with data pipeline / plain PyTorch in memory"
    yield Measured(words, times["throughput_over_plain"], "", 2, least=least)
    found = content["segmentation"]
    words = f"segment a volume ({found['weights']} weights)"
    yield Measured(words, found["segment_s"], " s", 2, MOST["segment_s"])
    for stage, seconds in found["stages_s"].items():
        yield Measured(f"of it {stage}", seconds, " s", 2)
    yield Measured("read it", found["read_s"], " s", 2)
    yield Measured("write its label map", found["write_s"], " s", 2)
    words = f"peak memory, cine of {found['cine_frames']}"
    yield Measured(words, found["cine_peak_mb"], " MB", 0, MOST["cine_mb"])
    for network, ways in content["engines"].items():
        fastest = max(ways, key=lambda way: ways[way]["cine_ratio"])
        words = f"{network}: {fastest} / PyTorch fp32, cines a second"
        yield Measured(words, ways[fastest]["cine_ratio"], "", 2, least=LEAST["engine_ratio"])
    served = content["serving"]
    yield Measured("request a label map of the server", served["request_s"], " s", 2)
    yield Measured("95th percentile of it", served["request_p95_s"], " s", 2)
    ratio, most = served["request_over_bare"], MOST["request_over_bare"]
    yield Measured("request / read and segment without server", ratio, "", 2, most)
    yield Measured("start of the server", served["start_s"], " s", 0, MOST["start_s"])
