from pathlib import Path

from report_folders import write_training

import pipelines
from pipelines.reporting.language import read_language
from pipelines.reporting.report.registry import read_sources
from pipelines.reporting.report.versions import changes, differing_versions, versions_table


def test_versions_stand_beside_those_of_the_folders(tmp_path: Path) -> None:
    table = versions_table(read_sources([write_training(tmp_path / "run")]), read_language("en"))
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows["thorax"]) == [pipelines.__version__, "0.0.9"]
    assert rows["torch"][1] == "2.0.0"
    assert rows["monai"][1] == "–"
    assert {"thorax", "torch"} <= set(differing_versions(table))
    assert "monai" not in differing_versions(table)


def test_changes_are_those_of_this_version(tmp_path: Path) -> None:
    log = tmp_path / "CHANGELOG.md"
    log.write_text(f"# C\n\n## {pipelines.__version__}\n\n- `a` does\n  this.\n- b.\n\n## 0.0.1\n\n- old.\n")
    assert changes(log) == ["a does this.", "b."]
    assert changes(tmp_path / "none.md") == []
