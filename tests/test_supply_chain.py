"""What is said of the packages, by a stand-in for pip-audit, and the bill of materials by the real tool."""

import json
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import environment
import pytest
from supply_chain import audit, read_exceptions

import pipelines

ROOT = Path(__file__).parents[1]
FIRST = {"name": "first", "version": "1.0", "vulns": []}
VULNERABLE = {
    "name": "second",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"]}],
}
UNKNOWN = {
    "name": "third",
    "skip_reason": "Dependency not found on PyPI and could not be audited: third (3.0)",
}


def write_locks(root: Path, exceptions: str = "") -> None:
    lock = "# made by a tool\n" + "".join(
        f"{name} \\\n    --hash=sha256:{'0' * 64}\n" for name in ("first==1.0", "second==2.0", "third==3.0")
    )
    for name in ("requirements.lock", "tools.lock"):
        (root / name).write_text(lock, encoding="utf-8")
    (root / "pyproject.toml").write_text(f"[tool.thorax.audit-exceptions]\n{exceptions}", encoding="utf-8")


def stand_in(root: Path, *packages: object, code: int = 0) -> tuple[str, ...]:
    """A pip-audit that answers for the packages of the file that it is given."""
    script = root / "audit.py"
    script.write_text(
        "import json, pathlib, sys\n"
        f"(pathlib.Path({str(root)!r}) / 'asked').open('a').write('x')\n"
        "text = pathlib.Path(sys.argv[sys.argv.index('--requirement') + 1]).read_text()\n"
        f"found = [p for p in json.loads({json.dumps(json.dumps(packages))}) if p['name'] in text]\n"
        "print(json.dumps({'dependencies': found, 'fixes': []}))\n"
        f"sys.exit({code})\n",
        encoding="utf-8",
    )
    return (sys.executable, str(script))


def test_a_finding_fails_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_locks(tmp_path)
    assert audit(tmp_path, stand_in(tmp_path, FIRST, VULNERABLE, UNKNOWN, code=1)) == 1
    said = capsys.readouterr().out
    assert "second==2.0 has PYSEC-1, CVE-2026-1 (fixed in 2.1); NOT accepted" in said
    assert "does not know third==3.0" in said
    assert "2 packages audited, 1 findings" in said


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-2026-1"])
def test_a_finding_with_a_reason_is_accepted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_locks(tmp_path, f'{name} = "only its server is concerned, which is never started"')
    assert audit(tmp_path, stand_in(tmp_path, FIRST, VULNERABLE, code=1)) == 0
    assert "accepted: only its server is concerned" in capsys.readouterr().out


def test_an_exception_without_a_reason_is_none(tmp_path: Path) -> None:
    write_locks(tmp_path, 'PYSEC-1 = " "')
    assert audit(tmp_path, stand_in(tmp_path, FIRST, VULNERABLE, code=1)) == 1


def test_nothing_found_is_reported_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_locks(tmp_path)
    assert audit(tmp_path, stand_in(tmp_path, FIRST)) == 0
    assert "requirements.lock: 1 packages audited, 0 findings" in capsys.readouterr().out


def test_a_service_that_gives_no_answer_is_reported_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_locks(tmp_path)
    nobody = (sys.executable, "-c", "import sys; sys.exit('cannot connect')")
    assert audit(tmp_path, nobody) == 0
    assert capsys.readouterr().out.count("could NOT be audited") == 2


def test_a_service_that_knows_no_package_is_asked_once_a_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_locks(tmp_path)
    unknown = {
        "name": "first",
        "skip_reason": "Dependency not found on PyPI and could not be audited: first (1.0)",
    }
    assert audit(tmp_path, stand_in(tmp_path, unknown, UNKNOWN)) == 0
    assert capsys.readouterr().out.count("could NOT be audited") == 2
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "xx"


def test_every_exception_of_the_project_has_a_reason() -> None:
    reasons = read_exceptions(ROOT / "pyproject.toml")
    assert all(len(reason.split()) > 3 for reason in reasons.values())


@pytest.mark.slow
def test_the_bill_of_materials_is_valid_and_names_what_is_installed(tmp_path: Path) -> None:
    stamp = f"{sys.prefix}/.installed"
    without_make = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(
        ["make", "-o", stamp, "sbom", f"VENV={sys.prefix}", f"SBOM={tmp_path / 'sbom.json'}"],
        cwd=ROOT,
        env=without_make,
        check=True,
        capture_output=True,
    )
    validate = (
        "import pathlib, sys\n"
        "from cyclonedx.schema import SchemaVersion\n"
        "from cyclonedx.validation.json import JsonStrictValidator\n"
        "text = pathlib.Path(sys.argv[1]).read_text()\n"
        "sys.exit(str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) or '') or 0)\n"
    )
    python = Path(sys.prefix) / "tools" / "bin" / "python"
    subprocess.run([python, "-c", validate, tmp_path / "sbom.json"], check=True)
    content = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    own = content["metadata"]["component"]
    assert (content["bomFormat"], own["name"], own["version"]) == (
        "CycloneDX",
        "thorax-imaging",
        pipelines.__version__,
    )
    listed = {(component["name"], component["version"]) for component in content["components"]}
    installed = {
        (found.metadata["Name"], found.version)
        for found in distributions(path=[sysconfig.get_path("purelib")])
    }
    assert installed - listed <= {("thorax-imaging", pipelines.__version__)}
    assert tuple(environment.TORCH_PAIR[0].split("==")) in listed
