"""The password of the broker from a file that may change while the hub runs."""

from __future__ import annotations

from pathlib import Path

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError


class PasswordFile(CredentialProvider):
    """Reads the password for each new connection, so that it can be rotated without a restart.

    username: None for the default user.
    """

    def __init__(self, path: str, username: str | None) -> None:
        self._path = Path(path)
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the login. Raise AuthenticationError when the file has no password."""
        try:
            password = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AuthenticationError(
                f"the password file {self._path} cannot be read ({error})"
            ) from None
        if not password:
            raise AuthenticationError(f"the password file {self._path} is empty")
        return (self._username, password) if self._username else (password,)
