"""The first error that a newcomer may meet."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import environment
import pytest

ROOT = Path(__file__).parents[1]


def test_the_locked_python_is_accepted() -> None:
    environment.check_python((3, 11), "python3.11")


@pytest.mark.parametrize("version", [(3, 10), (3, 12)])
def test_another_python_is_refused_by_name_and_version(version: tuple[int, int]) -> None:
    expected = rf"needs Python 3\.11, but /usr/bin/python3 is Python 3\.{version[1]}.*make PYTHON="
    with pytest.raises(environment.PrerequisiteError, match=expected):
        environment.check_python(version, "/usr/bin/python3")


def test_a_full_disk_is_refused_with_what_is_free(tmp_path: Path) -> None:
    environment.check_disk(12_000_000_000, tmp_path)
    with pytest.raises(environment.PrerequisiteError, match=r"needs 12 GB .* has 11\.9 GB.*make VENV="):
        environment.check_disk(11_900_000_000, tmp_path)


def test_disk_space_is_asked_for_only_until_torch_is_there(tmp_path: Path) -> None:
    assert not environment.has_torch(tmp_path / "absent")
    package = tmp_path / "lib" / "python3.11" / "site-packages" / "torch"
    package.mkdir(parents=True)
    (package / "version.py").touch()
    assert environment.has_torch(tmp_path)


def test_an_environment_of_another_python_is_named(tmp_path: Path) -> None:
    python = environment.environment_python(tmp_path)
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 3 9\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(environment.PrerequisiteError, match="environment of another Python"):
        environment.make_environment(tmp_path)


def test_a_missing_torch_wheel_ends_in_advice_and_not_in_a_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    (folder / "lib/site-packages/torch").mkdir(parents=True)
    (folder / "lib/site-packages/torch/version.py").touch()  # so that the test does not depend on the disk
    python = environment.environment_python(folder)
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec "{sys.executable}" "$@"\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    run = subprocess.run(
        [sys.executable, ROOT / ".ci" / "environment.py", "--venv", folder],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 1
    assert "could not install torch==2.14.1 torchvision==0.29.1" in run.stderr
    assert "pytorch.org" in run.stderr
    assert "Traceback" not in run.stderr


LOCK = """\
# made by a tool
first==1.0 ; sys_platform == 'linux' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
middle==2.0 \\
    --hash=sha256:cc
last==3.0 \\
    --hash=sha256:dd
"""


def test_a_lock_is_parted_with_the_hashes_of_each_package() -> None:
    first, others, last = environment.lock_parts(LOCK, ("first==1.0",), ("last==3.0",))
    assert first.split() == LOCK.split("middle")[0].split("tool\n")[1].split()
    assert others == "# made by a tool\nmiddle==2.0 \\\n    --hash=sha256:cc\n"
    assert last == "last==3.0 \\\n    --hash=sha256:dd\n"


def test_a_lock_of_another_commit_is_refused() -> None:
    with pytest.raises(environment.PrerequisiteError, match=r"has no last==3\.1: .* 'make lock'"):
        environment.lock_parts(LOCK, ("first==1.0",), ("last==3.1",))


def write_wheel(folder: Path) -> str:
    """A package of one line; the SHA-256 of its file."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "x = 1\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_file_that_is_not_the_locked_one_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    digest = write_wheel(tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = tmp_path / "venv"
    environment.make_environment(folder)
    lock = tmp_path / environment.TOOLS_LOCK_NAME
    lock.write_text(f"tiny==1.0 \\\n    --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(environment.PrerequisiteError, match="could not install the packages of tools.lock"):
        environment.install_tools(folder, tmp_path)
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert not list(folder.rglob("tiny.py"))
    lock.write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n", encoding="utf-8")
    environment.install_tools(folder, tmp_path)
    assert list(folder.rglob("tiny.py"))


def test_make_says_that_python_is_missing(tmp_path: Path) -> None:
    run = subprocess.run(
        ["make", "install", "PYTHON=", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode != 0
    assert "Thorax needs Python 3.11" in run.stderr
