import json
from pathlib import Path

import pytest
from bench_content import bench_content

from pipelines.benchmarks.cohorts import BENCH_NAME
from pipelines.core.errors import DataError
from pipelines.reporting.markdown import block_marks
from pipelines.reporting.report import write_report
from pipelines.reporting.results.scale import cohort_values

BLOCKS = ("measured", "reproduced", "cost", "machines", "bottleneck")


def empty_page(folder: Path) -> Path:
    page = folder / "scale.md"
    page.write_text(
        "# Scale\n\nWords that stay.\n\n" + "\n".join("\n".join(block_marks(name)) for name in BLOCKS),
        encoding="utf-8",
    )
    return page


def test_page_keeps_its_words_and_gets_the_figures(tmp_path: Path) -> None:
    page = empty_page(tmp_path)
    (tmp_path / BENCH_NAME).write_text(json.dumps(bench_content()), encoding="utf-8")
    write_report([tmp_path], page)
    text = page.read_text(encoding="utf-8")
    assert "Words that stay." in text
    # Five times the measured planes: 50 core-seconds, and 100,000 of them.
    assert "100,000 x 50.00 s / 3600 = 1,389 core-hours" in text
    assert "100,000 x 25.0 MB = 2.50 TB" in text
    (two,) = (line for line in text.splitlines() if line.startswith("| 2 workers |"))
    assert two.endswith("| yes |")
    # 1000 machines of 8 cores would need 8000 x 25 MB / 50 s = 4000 MB/s.
    rows = [line for line in text.splitlines() if line.startswith("| 1,000 MB/s | 1,000 |")]
    assert len(rows) == 1
    assert rows[0].endswith("| storage |")
    # A machine of 8 cores takes 25 MB x 8 / 50 s = 4 MB/s.
    assert "63 at 250 MB/s, 251 at 1,000 MB/s, 2,501 at 10,000 MB/s" in text


def test_lost_studies_are_no_good_result() -> None:
    content = bench_content()
    content["lost_node"]["lost"] = 1
    (figure,) = (figure for figure in cohort_values(content) if "lost with a node" in figure.words)
    assert figure.is_kept is False


def test_a_page_that_lost_a_mark_is_refused(tmp_path: Path) -> None:
    (tmp_path / BENCH_NAME).write_text(json.dumps(bench_content()), encoding="utf-8")
    page = empty_page(tmp_path)
    page.write_text(page.read_text(encoding="utf-8").replace(block_marks("cost")[1], ""), encoding="utf-8")
    with pytest.raises(DataError, match="put both back"):
        write_report([tmp_path], page)
