"""What a benchmark of cohorts may have measured."""

from typing import Any


def bench_content() -> dict[str, Any]:
    """One worker needs 10.1 s a study, of which 0.1 s is between studies; two slow each other by 5%."""
    cost = {"bytes_read": 4e6, "read_s": 1.0, "compute_s": 8.0, "other_s": 1.0, "bytes_written": 1e6}
    one = {"studies": 20, "study_s": 10.0, "cost": cost, "total_s": 232.0, "working_s": 202.0}
    two = {"studies": 20, "study_s": 10.5, "cost": cost, "total_s": 136.0, "working_s": 106.05}
    return {
        "plain": {"studies": 20, "study_s": 10.0, "cost": cost, "load_s": 2.0, "loop_s": 200.0},
        "ray": {"1": one, "2": two},
        "overhead": 0.01,
        "overhead_with_start": 232 / 202 - 1,
        "efficiency": 202 / 212.1,
        "lost_node": {"studies": 20, "killed_after": 6, "lost": 0, "done_again": 2, "working_s": 150.0},
        "cine": {
            "studies": 2,
            "study_s": 10.0,
            "cost": cost,
            "load_s": 1.0,
            "loop_s": 20.0,
            "shape": [64, 64, 5, 20],
            "unpacked_read_s": 0.2,
            "unpacked_bytes": 16e6,
        },
    }
