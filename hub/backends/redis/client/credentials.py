"""The password of the broker from a source that may change while the hub runs.

A file is read for each new connection. A program is run once; its password is kept until a server
refuses it, because a program may take seconds and may ask a service that limits its requests.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import structlog
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

from hub.engine.tasks import BackgroundTasks

COMMAND_TIMEOUT_SECONDS: Final = 10.0
_KILL_TIMEOUT_SECONDS: Final = 1.0
_MAX_PASSWORD_BYTES: Final = 16 * 1024
_MAX_ERROR_BYTES: Final = 2 * _MAX_PASSWORD_BYTES  # so that no secret in it is cut before the mask
_MAX_LOGGED_CHARS: Final = 500
_MIN_SECRET_CHARS: Final = 4  # shorter words of the output are not masked in the standard error
_MIN_SECRET_ARGUMENT_CHARS: Final = 8
_MASK: Final = "***"
_READ_BYTES: Final = 4096
_log = structlog.get_logger(__name__)


class PasswordSource(Protocol):
    """Where the password of the data servers comes from, instead of the URL."""

    @property
    def setting(self) -> str:
        """The setting that names the source, for errors."""
        ...

    async def read(self) -> str:
        """Return the password. Raise AuthenticationError when there is none."""
        ...

    def on_refused(self) -> None:
        """A server has refused the password, or requires it again."""
        ...


class SourceCredentials(CredentialProvider):
    """Implements redis-py's credential provider, for asyncio only.

    username: None for the default user.
    """

    def __init__(self, source: PasswordSource, username: str | None) -> None:
        self.source = source
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        raise NotImplementedError("connections of asyncio call get_credentials_async")

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the login. Raise AuthenticationError when the source has no password."""
        password = await self.source.read()
        return (self._username, password) if self._username else (password,)


class PasswordFile:
    """Implements PasswordSource: reads the file for each new connection."""

    setting: Final = "redis.password_file"

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def read(self) -> str:
        try:
            password = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AuthenticationError(
                f"the password file {self._path} cannot be read ({error})"
            ) from None
        if not password:
            raise AuthenticationError(f"the password file {self._path} is empty")
        return password

    def on_refused(self) -> None:
        """The file is read for each connection anyway."""


class PasswordCommand:
    """Implements PasswordSource: runs a program that prints the password.

    Rules:
    1. All connections share one run and its password.
    2. When a server refuses the password, the program is run again; also when it has failed. At
       least `min_interval_seconds` pass between the beginnings of two runs.
    3. A run lasts at most `timeout_seconds`; then the program and its children are killed.

    command: the program and its arguments. No shell reads them.
    """

    setting: Final = "redis.password_command"

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
        min_interval_seconds: float = 1.0,
    ) -> None:
        self._command = command
        self._timeout_seconds = timeout_seconds
        self._min_interval_seconds = min_interval_seconds
        self._password: asyncio.Future[str] | None = None  # of the last run
        self._started_at = 0.0  # loop time of the last run
        self._secrets: tuple[str, ...] = ()  # the last two passwords, which no log may show
        self._background_tasks = BackgroundTasks()

    async def read(self) -> str:
        run = self._password
        if run is None or (run.done() and run.exception() is not None and self._may_run):
            run = self._start()
        return await asyncio.shield(run)

    def on_refused(self) -> None:
        run = self._password
        if run is not None and run.done() and self._may_run:
            self._start()

    @property
    def _may_run(self) -> bool:
        elapsed = asyncio.get_running_loop().time() - self._started_at
        return elapsed >= self._min_interval_seconds

    def _start(self) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        self._password = password = loop.create_future()
        self._started_at = loop.time()
        self._background_tasks.run("password command", self._run(password))
        return password

    async def _run(self, password: asyncio.Future[str]) -> None:
        try:
            password.set_result(await self._output())
        except asyncio.CancelledError:
            password.cancel()
            raise
        except Exception as error:
            password.set_exception(error)
            password.exception()  # nobody may wait for it
            if not isinstance(error, AuthenticationError):
                raise

    async def _output(self) -> str:
        """Run the program and return what it prints. Raise AuthenticationError."""
        program = self._command[0]
        try:
            if any("\0" in word for word in self._command):  # uvloop would run the text before it
                raise ValueError("embedded null byte")
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise AuthenticationError(
                f"the password command {program} cannot be run ({error})"
            ) from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                output, errors, exit_code = await _read_to_end(process)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, TimeoutError):
                raise
            with suppress(TimeoutError):  # the pipes close at their end
                async with asyncio.timeout(_KILL_TIMEOUT_SECONDS):
                    await _read_to_end(process)
            _log.warning("redis.password_command_failed", program=program, reason="timeout")
            raise AuthenticationError(
                f"the password command {program} has not ended in {self._timeout_seconds:g} s"
            ) from None
        return self._parse(output, errors, exit_code)

    def _parse(self, output: bytes, errors: bytes, exit_code: int) -> str:
        """Return the password in the output of the program. Raise AuthenticationError."""
        program = self._command[0]
        password = output.decode("utf-8", "replace").strip()
        if exit_code != 0:
            reason = f"has ended with exit code {exit_code}; the log has its standard error"
        elif not password:
            reason = "has printed nothing"
        elif (
            len(output) > _MAX_PASSWORD_BYTES or not password.isprintable() or "\ufffd" in password
        ):
            reason = "has not printed a password, which is one line of UTF-8"
        else:
            self._secrets = (password, *self._secrets[:1])
            return password
        _log.warning(
            "redis.password_command_failed",
            program=program,
            exit_code=exit_code,
            stderr=self._masked(errors.decode("utf-8", "replace"), password),
        )
        raise AuthenticationError(f"the password command {program} {reason}")

    def _masked(self, text: str, output: str) -> str:
        """Return the standard error of the program without secrets.

        output: what it has printed to its standard output.
        """
        secrets = {each for each in (output, *output.split()) if len(each) >= _MIN_SECRET_CHARS}
        secrets |= {each for each in self._command[1:] if len(each) >= _MIN_SECRET_ARGUMENT_CHARS}
        for secret in sorted({*secrets, *self._secrets}, key=len, reverse=True):
            text = text.replace(secret, _MASK)
        return text.strip()[:_MAX_LOGGED_CHARS]


async def _read_to_end(process: asyncio.subprocess.Process) -> tuple[bytes, bytes, int]:
    """Wait for the end of a program. Return its standard output and standard error, each up to its
    limit, and its exit code.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    return await asyncio.gather(
        _read(process.stdout, _MAX_PASSWORD_BYTES),
        _read(process.stderr, _MAX_ERROR_BYTES),
        process.wait(),
    )


async def _read(stream: asyncio.StreamReader, max_bytes: int) -> bytes:
    """Read to the end, and return the first bytes: one more than `max_bytes` if there are more."""
    kept = b""
    while chunk := await stream.read(_READ_BYTES):
        kept = (kept + chunk)[: max_bytes + 1]
    return kept
