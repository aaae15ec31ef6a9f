"""Who may use a server: names, roles, hashed passwords, signed tokens, and a log of who did what."""

import getpass
import hashlib
import json
import logging
import math
import re
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, read_json, write_json
from pipelines.server.work_queue import BusyError

AUDIT_NAME: Final = "audit.log"

MAX_BYTES: Final = 10_000_000
"""Length of a file of the log before it gets a number and another one begins."""

KEPT_FILES: Final = 20
"""Numbered files that are kept, the latest ones."""

DEEDS: Final = {
    ("POST", "/auth/token"): "log in",
    ("POST", "/auth/logout"): "log out",
    ("GET", "/datastore/image"): "download image",
    ("GET", "/datastore/label"): "download label",
    ("GET", "/viewer/data/cine"): "download cine",
    ("GET", "/viewer/data/probability"): "download probability",
    ("GET", "/viewer/data/report"): "download report",
    ("POST", "/infer/{model}"): "segment",
    ("PUT", "/datastore/"): "add image",
    ("PUT", "/datastore/image"): "add image",
    ("PUT", "/datastore/label"): "save label",
    ("PUT", "/viewer/data/reading"): "save reading",
    ("PUT", "/session/"): "begin session",
    ("POST", "/train/"): "begin training",
    ("POST", "/train/{model}"): "begin training",
    ("DELETE", "/train/"): "stop training",
    ("POST", "/scoring/{method}"): "begin scoring",
    ("DELETE", "/scoring/"): "stop scoring",
}
"""What is recorded, by method and path of the route; for want of rights refusals by all routes are."""


class AuditLog:
    """Lines of JSON in a file that is rotated; none holds a name of a patient unless that is asked for.

    Images are told apart by the first digits of the SHA-256 of their ids.

    Args:
        path: File to write to; its folder is made if it does not exist.
        names: Whether ids of images, which often are or hold patients' names, are written out.

    Raises:
        OutputError: If it cannot be written.
    """

    def __init__(self, path: Path, *, names: bool = False) -> None:
        self._names = names
        file = output_folder(path.parent) / path.name
        self._handler = RotatingFileHandler(
            file, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=True
        )
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def record(
        self, deed: str, outcome: str | int, *, who: str = "", address: str = "", image: str = ""
    ) -> None:
        """Write a line.

        Args:
            deed: What was done or tried.
            outcome: What came of it: a status of HTTP, or words.
            who: Name of the user, `""` if nobody was logged in.
            address: Where the request came from.
            image: Id of the image that it is about.
        """
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": who,
            "address": address,
            "what": deed,
            "outcome": outcome,
        }
        if image:
            entry["image"] = image if self._names else hashlib.sha256(image.encode()).hexdigest()[:16]
        text = json.dumps(entry, ensure_ascii=True)
        self._handler.handle(logging.LogRecord("audit", logging.INFO, "", 0, text, None, None))


ALGORITHM: Final = "HS256"
"""The only algorithm that is accepted, whatever a token says of itself."""

LIFETIME: Final = timedelta(hours=8)
"""Time for which a token is good; Slicer asks for another one by itself."""

AUDIENCE: Final = "thorax"


class Tokens:
    """Makes and checks tokens with a secret that ends with the process.

    Args:
        lifetime: Time for which a token is good.
    """

    def __init__(self, lifetime: timedelta = LIFETIME) -> None:
        self._lifetime = lifetime
        self._secret = secrets.token_bytes(32)
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()

    def issue(self, name: str, mark: str = "") -> str:
        """A token for a user whose password was right; it is worthless once the user's mark is another."""
        now = datetime.now(UTC)
        claims = {
            "sub": name,
            "mark": mark,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + self._lifetime,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def name(self, token: str) -> str | None:
        """Name that a token was issued for, None unless it is genuine, in time and not ended."""
        claims = self._claims(token)
        return claims["sub"] if claims and claims["jti"] not in self._ended else None

    def mark(self, token: str) -> str:
        """Mark that a genuine token was issued with."""
        return (self._claims(token) or {}).get("mark", "")

    def end(self, token: str) -> None:
        """Make a token worthless before its time."""
        claims = self._claims(token)
        if claims is not None:
            now = datetime.now(UTC).timestamp()
            with self._lock:
                self._ended = {key: until for key, until in self._ended.items() if until > now}
                self._ended[claims["jti"]] = float(claims["exp"])

    def _claims(self, token: str) -> dict[str, str] | None:
        try:
            found: dict[str, str] = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                options={"require": ["sub", "exp", "iat", "jti", "aud"]},
            )
        except jwt.PyJWTError:
            return None
        return found


MIN_PASSWORD: Final = 10
"""Fewest characters of a password."""

MAX_PASSWORD: Final = 1024
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


class TooManyTriesError(BusyError):
    """Too many wrong passwords for one name, or of one address."""


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
            of_address = [one for key, times in self._wrong.items() if key[0] == address for one in times]
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
        known = entry["password"] if entry else self._nobody
        try:
            is_right = self._hasher.verify(known, password[:MAX_PASSWORD])
        except (VerificationError, InvalidHashError):
            is_right = False
        if entry is None or not is_right or len(password) > MAX_PASSWORD:
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
        users = read_json(path)["users"]
        known = {role.name.lower() for role in Role}
        entries = [(user["role"], str(user["password"])) for user in users.values()]
        if all(role in known and password.startswith("$argon2") for role, password in entries):
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
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ConfigError(
            f"expected a password of {MIN_PASSWORD} to {MAX_PASSWORD} characters, found {len(password)}"
        )
    users = read_users(path) if path.is_file() else {}
    deed = "change user" if name in users else "add user"
    users[name] = {"role": role.name.lower(), "password": PasswordHasher().hash(password)}
    write_json(path, {"users": users})
    path.chmod(0o600)
    log = AuditLog(path.with_name(f"{path.stem}-{AUDIT_NAME}"))
    log.record(f"{deed} {name} as {role.name.lower()}", "done", who=getpass.getuser(), address="console")
