"""Who may use a server: names, roles and hashed passwords in a file."""

import getpass
import hashlib
import json
import math
import re
import threading
import time
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pipelines.core.errors import ConfigError
from pipelines.core.files import write_json
from pipelines.server.audit import AUDIT_NAME, AuditLog

LEAST_PASSWORD: Final = 10
"""Fewest characters of a password."""

MOST_PASSWORD: Final = 1024
"""Most characters of a password: what is longer is refused before it is hashed."""

TRIES: Final = 5
"""Wrong passwords for one name from one address within `WINDOW_S` after which no more are looked at."""

TRIES_OF_ADDRESS: Final = 30
"""Wrong passwords from one address, for any names, within `WINDOW_S` after which no more are looked at."""

WINDOW_S: Final = 60.0
"""Time in which wrong passwords are counted, s."""


class Role(IntEnum):
    """What a user may do; a higher role may all that a lower one may."""

    USER = 1
    ANNOTATOR = 2
    REVIEWER = 3
    ADMIN = 4


ROLE_NAMES: Final = {role: f"monailabel-{role.name.lower()}" for role in Role}
"""Names of the roles as MONAI Label's clients know them."""


class TooManyTriesError(Exception):
    """Too many wrong passwords for one name, or of one address.

    Attributes:
        retry_after_s: When the next password is looked at, whole seconds from 1.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"{retry_after_s} s")
        self.retry_after_s = retry_after_s


class Users:
    """Users of a file, which is read again when it changes.

    Args:
        path: File that `add_user` wrote.

    Raises:
        ConfigError: If there is no such file, or it is no file of users.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hasher = PasswordHasher()
        # Checked for unknown names, so that they take as long as known ones.
        self._nobody = self._hasher.hash("no user has this password")
        self._wrong: dict[tuple[str, str], list[float]] = {}
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._users: dict[str, dict[str, Any]] = {}
        if not self._read():
            raise ConfigError(
                f"expected at least one user in {path}, found none; see 'thorax server add-user'"
            )

    def role(self, name: str) -> Role | None:
        """Role of a user as the file has it now, None for unknown ones."""
        entry = self._read().get(name)
        return Role[entry["role"].upper()] if entry else None

    def mark(self, name: str) -> str:
        """What changes with the password of a user, `""` for unknown ones."""
        entry = self._read().get(name)
        return hashlib.sha256(entry["password"].encode()).hexdigest()[:32] if entry else ""

    def check_tries(self, name: str, address: str = "") -> None:
        """Make sure that a password may be looked at.

        Wrong ones count for the address that they came from, so that nobody locks others out.

        Raises:
            TooManyTriesError: If there were too many wrong ones lately.
        """
        now = time.monotonic()
        with self._lock:
            self._wrong = {
                key: recent
                for key, times in self._wrong.items()
                if (recent := [one for one in times if now - one < WINDOW_S])
            }
            of_name = self._wrong.get((address, name[:100]), [])
            of_address = [
                one for (place, _), times in self._wrong.items() if place == address for one in times
            ]
        for times, most in ((of_name, TRIES), (sorted(of_address), TRIES_OF_ADDRESS)):
            if len(times) >= most:
                raise TooManyTriesError(max(1, math.ceil(times[-most] + WINDOW_S - now)))

    def is_right(self, name: str, password: str, address: str = "") -> bool:
        """Whether a user has this password; takes about as long for unknown names.

        Raises:
            TooManyTriesError: As for `check_tries`.
        """
        self.check_tries(name, address)
        entry = self._read().get(name)
        try:
            is_right = self._hasher.verify(
                entry["password"] if entry else self._nobody, password[:MOST_PASSWORD]
            )
        except (VerificationError, InvalidHashError):
            is_right = False
        if entry is None or not is_right or len(password) > MOST_PASSWORD:
            with self._lock:
                self._wrong.setdefault((address, name[:100]), []).append(time.monotonic())
            return False
        return True

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._users, self._stamp = read_users(self.path), stamp
        except OSError as error:
            raise ConfigError(
                f"expected a file of users at {self.path}, found none; add a user: thorax server add-user"
            ) from error
        return self._users


def read_users(path: Path) -> dict[str, dict[str, Any]]:
    """Users by name, each with `role` and `password`, an Argon2 hash.

    Raises:
        ConfigError: If the file, which must exist, is no file of users.
    """
    try:
        users = json.loads(path.read_text(encoding="utf-8"))["users"]
        known = {role.name.lower() for role in Role}
        if all(
            user["role"] in known and str(user["password"]).startswith("$argon2") for user in users.values()
        ):
            return dict(users)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ConfigError(
        f"expected names with a role and an Argon2 hash in {path}, found something else; "
        "write it with: thorax server add-user"
    )


def add_user(path: Path, name: str, password: str, role: Role) -> None:
    """Add a user to a file, or change one's password and role.

    Args:
        path: File of users; made, for the owner's eyes only, if it does not exist.
        name: Letters, digits, `.`, `_`, `-` and `@`.
        password: Kept as an Argon2id hash only.
        role: What the user may do.

    Raises:
        ConfigError: If the name or the password does not fit, or the file is something else.
        OutputError: If the file cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", name):
        raise ConfigError(f"expected a name of letters, digits, '.', '_', '-' or '@', found {name!r}")
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise ConfigError(
            f"expected a password of {LEAST_PASSWORD} to {MOST_PASSWORD} characters, found {len(password)}"
        )
    users = read_users(path) if path.is_file() else {}
    deed = "change user" if name in users else "add user"
    users[name] = {"role": role.name.lower(), "password": PasswordHasher().hash(password)}
    write_json(path, {"users": users})
    path.chmod(0o600)
    log = AuditLog(path.with_name(f"{path.stem}-{AUDIT_NAME}"))
    log.record(f"{deed} {name} as {role.name.lower()}", "done", who=getpass.getuser(), address="console")
