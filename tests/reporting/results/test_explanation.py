import json
from pathlib import Path

from report_folders import page_of

from pipelines.explanation.study import STUDY_NAME


def test_checks_of_explanations_are_summed_up(tmp_path: Path) -> None:
    shares = {"chest": 0.8, "chest_area": 0.5, "frame": 0.1, "frame_area": 0.36}
    case = {
        "image": "/data/a.png",
        "finding": "NORMAL",
        "probability": 0.25,
        "is_correct": True,
        "shares": {"integrated_gradients": shares},
        "deletion": {"integrated_gradients": {"gain": 0.3}},
        "completeness": {"black": {"16": 0.08, "32": 0.02}},
    }
    other = case | {"deletion": {"integrated_gradients": {"gain": -0.1}}, "is_correct": False}
    content = {"cases": [case, other], "randomised": {"integrated_gradients": {"fc": 0.12, "stem": 0.03}}}
    (tmp_path / STUDY_NAME).write_text(json.dumps(content), encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    assert "| black | 8.0 | 2.0 |" in text
    assert "| integrated gradients | +0.10 | 1 of 2 | 80 (area 50) | 10 (area 36) |" in text
    assert "| integrated gradients | 0.12 | 0.03 |" in text
    assert "| `a.png` | normal | 0.250 | right | 80 | 10 | +0.30 |" in text
