"""What the environment is made of, and what is known against it: `make sbom` and `make audit`.

Runs in the environment of the tools, which has no other package of Thorax, so it uses the standard library
and calls pip-audit and cyclonedx-py as programs.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]

LOCKS: Final = ("requirements.lock", "tools.lock")

SECONDS: Final = 15
"""How long pip-audit waits for one answer of the service."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A known vulnerability of a locked package.

    Attributes:
        package: `name==version`.
        names: Identifier and its aliases, e.g. of CVE.
        fixed: Versions without it, empty if there are none.
    """

    package: str
    names: tuple[str, ...]
    fixed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vulnerability service said.

    Attributes:
        asked: Number of packages that it knows.
        unknown: Packages that it had no answer for, as `name==version`.
        findings: What it knows against the others.
    """

    asked: int
    unknown: tuple[str, ...]
    findings: tuple[Finding, ...]


def main() -> None:
    """Do what the command line asks for; exit code 1 on a finding that has no reason to be there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("audit", help="known vulnerabilities of the locked packages")
    sbom = commands.add_parser("sbom", help="software bill of materials of an environment")
    sbom.add_argument("--python", type=Path, required=True, help="Python of the environment")
    sbom.add_argument("--output", type=Path, required=True, help="CycloneDX file to write")
    arguments = parser.parse_args()
    if arguments.command == "sbom":
        sys.exit(write_sbom(arguments.python, arguments.output))
    sys.exit(audit(ROOT))


def audit(root: Path, tool: Sequence[str] = (sys.executable, "-m", "pip_audit")) -> int:
    """Tell what is known against the locked packages; the exit code.

    A service that cannot be asked is told and no failure: nothing is known then. Of each lock one package
    is asked for before all others, so that a machine without the service has its answer at once.

    Args:
        root: Folder with `pyproject.toml` and the locks.
        tool: Program and first arguments of pip-audit.

    Returns:
        1 if something is known for which `pyproject.toml` gives no reason, else 0.
    """
    reasons = read_exceptions(root / "pyproject.toml")
    code = 0
    for name in LOCKS:
        lock = (root / name).read_text(encoding="utf-8")
        answer = ask(first_block(lock), tool)
        if answer is not None and answer.asked:
            answer = ask(lock, tool)
        if answer is None or not answer.asked:
            tell(f"{name}: could NOT be audited: the vulnerability service gave no answer. Nothing is known.")
            continue
        if answer.unknown:
            tell(f"{name}: the vulnerability service does not know {', '.join(answer.unknown)}")
        open_ones = [finding for finding in answer.findings if reason_of(finding, reasons) is None]
        for finding in answer.findings:
            fix = f"fixed in {', '.join(finding.fixed)}" if finding.fixed else "no fix yet"
            reason = reason_of(finding, reasons)
            known = f"accepted: {reason}" if reason else "NOT accepted: take a fixed version and 'make lock'"
            tell(f"{name}: {finding.package} has {', '.join(finding.names)} ({fix}); {known}")
        tell(f"{name}: {answer.asked} packages audited, {len(open_ones)} findings to be dealt with")
        code = 1 if open_ones else code
    return code


def ask(lock: str, tool: Sequence[str]) -> Answer | None:
    """What the service says of the packages of a lock, None if it cannot be asked.

    Args:
        lock: Text of a lock with hashes.
        tool: Program and first arguments of pip-audit.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text(lock, encoding="utf-8")
        arguments = ["--requirement", str(path), "--require-hashes", "--disable-pip"]
        run = subprocess.run(
            [*tool, *arguments, "--timeout", str(SECONDS), "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    try:
        return parse_answer(json.loads(run.stdout))
    except (ValueError, KeyError, TypeError):
        return None  # pip-audit ends with a message and no JSON where it reaches nobody


def parse_answer(content: Mapping[str, Any]) -> Answer:
    """The JSON of pip-audit.

    Raises:
        KeyError: If it is something else.
    """
    asked, unknown, findings = 0, [], []
    for package in content["dependencies"]:
        if "skip_reason" in package:
            unknown.append(re.sub(r".* (\S+) \((\S+)\)$", r"\1==\2", package["skip_reason"]))
            continue
        asked += 1
        findings += [
            Finding(
                f"{package['name']}=={package['version']}",
                (found["id"], *found.get("aliases", ())),
                tuple(found.get("fix_versions", ())),
            )
            for found in package["vulns"]
        ]
    return Answer(asked, tuple(unknown), tuple(findings))


def read_exceptions(pyproject: Path) -> dict[str, str]:
    """Reasons of accepted vulnerabilities by identifier, from `[tool.thorax.audit-exceptions]`."""
    content = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    exceptions = content["tool"].get("thorax", {}).get("audit-exceptions", {})
    return {str(name): str(reason) for name, reason in exceptions.items()}


def reason_of(finding: Finding, reasons: Mapping[str, str]) -> str | None:
    """Why a finding is accepted, None if it is not; a reason must have words."""
    return next((reasons[name] for name in finding.names if reasons.get(name, "").strip()), None)


def first_block(lock: str) -> str:
    """The first package of a lock that goes on every system, with its hashes."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    return next(block for block in blocks if "platform" not in block.partition("\n")[0])


def write_sbom(python: Path, output: Path) -> int:
    """Write what an environment is made of as CycloneDX JSON, validated; the exit code.

    Args:
        python: Python of the environment.
        output: File to write, under its name only when whole; its folder is made if it does not exist.

    Returns:
        That of cyclonedx-py: 0 unless it fails or the result is not valid.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".part-{output.name}")
    arguments = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--validate"]
    arguments += ["--output-format", "JSON", "--output-file", str(temporary)]
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *arguments, str(python)]
    try:
        code = subprocess.call(command)
        if code == 0:
            content = json.loads(temporary.read_text(encoding="utf-8"))
            content["metadata"]["component"]["version"] = _own_version(python)
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            temporary.replace(output)
            tell(f"software bill of materials in {output}")
    finally:
        temporary.unlink(missing_ok=True)
    return code


def _own_version(python: Path) -> str:
    """Version of Thorax in an environment; it is dynamic, so that `pyproject.toml` does not say it."""
    ask_it = "from importlib.metadata import version; print(version('thorax-imaging'))"
    run = subprocess.run([str(python), "-c", ask_it], capture_output=True, encoding="utf-8", check=True)
    return run.stdout.strip()


def tell(text: str) -> None:
    """Say something on standard output."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
