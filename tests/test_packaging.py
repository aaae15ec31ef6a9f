"""What make, the lock, conda and the commit hooks promise one another."""

import itertools
import os
import re
import subprocess
import tomllib
from pathlib import Path

import environment
import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_a_second_make_does_not_install_again(tmp_path: Path) -> None:
    stamp = tmp_path / "venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    later = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "requirements.lock")) + 1
    os.utime(stamp, (later, later))
    run = subprocess.run(
        ["make", "install", f"VENV={stamp.parent}"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "environment.py" not in run.stdout


def test_every_requirement_is_locked_at_a_version_it_admits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *itertools.chain(*extras.values())]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    names = [re.split(r"[\[<>=]", requirement)[0] for requirement in required]
    assert [name for name in names if name not in locked] == []
    first = (*environment.TORCH_PAIR, environment.BUILD_TOOL, environment.BUILT_HERE)
    assert [pair for pair in first if pair not in lines] == []
    assert [name for name in locked if name.startswith(("nvidia", "cuda", "triton"))] == []
    assert [version for version in locked.values() if not re.fullmatch(r"[0-9a-z.]+", version)] == []


def locked(name: str) -> dict[str, list[str]]:
    """The hashes of a lock by `name==version`."""
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {block.split()[0]: re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block) for block in blocks}


@pytest.mark.parametrize("name", [environment.LOCK_NAME, environment.TOOLS_LOCK_NAME])
def test_every_package_of_a_lock_has_a_version_and_hashes(name: str) -> None:
    found = locked(name)
    assert len(found) > 40
    assert [entry for entry in found if not re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+", entry)] == []
    assert [entry for entry, hashes in found.items() if not hashes] == []


def test_the_lock_is_that_of_the_constraints() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    found = set(locked(environment.LOCK_NAME))
    assert set(lines) - found == set(), "run 'make lock'"
    of_platforms = (
        "nvidia",
        "cuda",
        "triton",
        "appnope",
        "pywin32",
        "waitress",
        "brotlicffi",
        "httpx2-jsfetch",
    )
    assert [entry for entry in found - set(lines) if not entry.startswith(of_platforms)] == []


def test_the_lock_holds_all_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert ",".join(sorted(extras)) == environment.EXTRAS


def test_conda_and_make_install_the_same_versions() -> None:
    packages = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in packages if isinstance(entry, dict))
    assert "-c constraints.txt" in pip
    assert f"-e .[{environment.EXTRAS}]" in pip
    assert set(environment.TORCH_PAIR) <= set(pip)
    assert "python=3.11" in packages


def test_the_hooks_of_a_commit_are_the_checks_of_ci() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    check = re.search(r"^check: (.*)$", makefile, re.MULTILINE)
    assert check is not None
    assert [hook["entry"] for hook in hooks] == [f"make {target}" for target in check[1].split()]
    assert "make check" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_container_installs_pytorch_for_cpus_first_and_extras_that_exist() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    steps = re.findall(r"^(?:RUN|COPY|FROM) (?:.*\\\n)*.*", text, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installs = [step for step in steps if "pip install" in step]
    assert "whl/cpu torch torchvision" in installs[0]
    assert all("--constraint /tmp/constraints.txt" in step for step in installs)
    (extras,) = re.findall(r"\.whl\)\[([\w,]+)\]", installs[1])
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert f"dist/{project['name'].replace('-', '_')}-*.whl" in text
    assert 'ENTRYPOINT ["thorax"]' in text
    assert "python:3.11" in steps[0]
