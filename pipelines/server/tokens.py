"""Tokens that stand for a login: signed with one pinned algorithm, and ending."""

import secrets
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

import jwt

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
        return None if claims is None or claims["jti"] in self._ended else claims["sub"]

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
