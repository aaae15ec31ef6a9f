"""The systemd unit and the container file of the how-to page hold what they promise."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import environment
import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from pipelines.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "watch.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def options_of(words: list[str]) -> dict[str, object]:
    """Options of a command line of `thorax`, which must be one that it takes."""
    assert Path(words[0]).name == "thorax"
    command, rest = get_command(app), words[1:]
    while isinstance(command, TyperGroup):
        found = command.get_command(typer.Context(command), rest[0])
        assert found is not None
        command, rest = found, rest[1:]
    return dict(command.make_context("thorax", rest).params)


def instructions() -> list[tuple[str, str]]:
    lines = block("dockerfile").replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_the_unit_starts_the_watcher_and_may_write_its_output_only() -> None:
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str
    unit.read_string(block("ini"))
    service = unit["Service"]
    options = options_of(shlex.split(service["ExecStart"]))
    assert str(options["output"]) == service["ReadWritePaths"]
    assert service["ProtectSystem"] == "strict"
    grace_s = options["grace_seconds"]
    assert isinstance(grace_s, float)
    assert int(service["TimeoutStopSec"]) > grace_s
    memory_mb = options["memory_mb"]
    assert isinstance(memory_mb, float)
    assert int(service["MemoryMax"].removesuffix("G")) * 1000 > memory_mb


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing, which comes with systemd")
    path = tmp_path / "thorax-watch.service"
    text = block("ini").replace("/opt/thorax/.venv/bin/thorax", shutil.which("true") or "/bin/true")
    path.write_text(re.sub("^(User|Group)=.*", r"\1=root", text, flags=re.MULTILINE), encoding="utf-8")
    run = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, encoding="utf-8", check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_the_container_has_what_the_package_needs_at_the_locked_versions() -> None:
    for line in of("COPY"):
        *sources, _ = line.split()
        assert [source for source in sources if not (ROOT / source).exists()] == []
    copied = " ".join(of("COPY")).split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {project["readme"], *project["license-files"], "constraints.txt", "bundles"} <= set(copied)
    install = " ".join(of("RUN"))
    assert all(pair in install for pair in environment.TORCH_PAIR)
    (extra,) = re.findall(r"'\.\[(\w+)\]'", install)
    assert extra in project["optional-dependencies"]
    assert install.count("-c constraints.txt") == install.count("pip install") == 2
    assert of("FROM")[0].partition("python:")[2].startswith(".".join(map(str, environment.PYTHON_VERSION)))


def test_the_container_watches_as_a_user_without_rights_and_is_checked() -> None:
    (user,) = of("USER")
    assert f"useradd --uid 10001 --create-home {user}" in " ".join(of("RUN"))
    words = json.loads(of("ENTRYPOINT")[0]) + json.loads(of("CMD")[0])
    options = options_of(words)
    assert {str(options["incoming"]), str(options["output"])} == set(json.loads(of("VOLUME")[0]))
    check = options_of(json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2]))
    assert check["check"] is True
    assert check["output"] == options["output"]
    order = [name for name, _ in instructions()]
    assert order.index("USER") < order.index("ENTRYPOINT")
