"""What `import pipelines` offers, and what it costs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare_xray import prepare_chest_xray


def test_the_face_is_what_its_modules_have() -> None:
    from pipelines.models.heart import Predictor
    from pipelines.training.launch import train_network

    assert pipelines.Predictor is Predictor
    assert pipelines.train is train_network
    assert all(callable(getattr(pipelines, name)) for name in pipelines.__all__)
    assert set(pipelines.__all__) <= set(dir(pipelines))


def test_another_name_is_none_of_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = pipelines.predict
    with pytest.raises(ImportError, match="predict"):
        from pipelines import predict  # noqa: F401


def test_to_import_the_package_loads_nothing_and_takes_no_time() -> None:
    script = (
        "import sys, time; start = time.process_time(); import pipelines; "
        "sys.stdout.write(f'{time.process_time() - start} {len([n for n in sys.modules if n in "
        '{"torch", "monai", "numpy"} or n.startswith("pipelines.")])}\')'
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    seconds, loaded = run.stdout.split()
    assert float(seconds) < 0.1
    assert loaded == "0"


def test_a_network_is_evaluated_by_its_name(tmp_path: Path) -> None:
    write_phantom_xrays(tmp_path / "raw", patients=24, images=1)
    prepare_chest_xray(tmp_path / "raw", tmp_path / "prepared")
    metrics = pipelines.evaluate("resnet18_tuned", tmp_path / "prepared", tmp_path / "out", device="cpu")
    assert (tmp_path / "out" / "metrics.csv").is_file()
    assert 0 < len(metrics["cases"]) < 24


@pytest.mark.slow
def test_the_examples_of_the_reference_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[1] / "docs" / "reference" / "python.md"
    examples = re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    write_phantom_cohort(tmp_path / "acdc", patients=8, cine=False)
    write_phantom_xrays(tmp_path / "xrays", patients=2, images=1)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    for example in examples:
        exec(example, found)
    imported = set(re.findall(r"from pipelines import (.*)", "\n".join(examples)))
    assert {name for names in imported for name in names.split(", ")} == set(pipelines.__all__)
    assert found["mask"].any()
    assert [0 < fraction < 100 for fraction in found["ejection_fractions"]] == [True]
    assert len(found["classified"].results) == 2
    assert found["metrics"]["summary"]["volumes"] == 16


@pytest.mark.slow
def test_the_example_of_the_first_page_prints_what_stands_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    monkeypatch.chdir(tmp_path)
    exec(found[1], {})
    assert capsys.readouterr().out == found[2]
