"""POST /dev/faults/{fault}: the demo page of `hub dev` makes something fail.

The route exists only in `hub dev`, which listens on loopback only, and takes requests only from the
hub's own page: another page of the browser could otherwise stop the developer's hub. It is not a
part of the API and of its description.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from hub.api.authentication import Authenticator
from hub.engine.streams.connections import Connections
from hub.error_codes import FILE_NOT_FOUND, ORIGIN_NOT_ALLOWED
from hub.errors import BrokerUnavailable, Forbidden, NotFound
from hub.http.json_body import json_response

CUT: Final = "cut-connection"
FAULTS: Final = (CUT, "kill-worker", "restart-node", "freeze-upstream")
_TIMEOUT_SECONDS: Final = 5.0
_MAX_REPLY_BYTES: Final = 1000


class DevFaultRoutes:
    """The route that makes something fail.

    faults_path: the socket on which the supervisor takes the faults of child processes.
    """

    def __init__(
        self, authenticator: Authenticator, connections: Connections, faults_path: str
    ) -> None:
        self._authenticator = authenticator
        self._connections = connections
        self._faults_path = faults_path

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/dev/faults/{fault}", self.make)]

    async def make(self, request: web.Request) -> web.Response:
        """Make the fault. Return `{"happened": …}`, a sentence.

        Raise Forbidden for a request of another page, NotFound for an unknown fault.
        """
        if request.headers.get("Sec-Fetch-Site") != "same-origin":
            raise Forbidden("only the hub's own page may use this route", code=ORIGIN_NOT_ALLOWED)
        user = (await self._authenticator.identify(request)).user
        fault = request.match_info["fault"]
        if fault not in FAULTS:
            raise NotFound(f"there is no fault {fault!r}", code=FILE_NOT_FOUND)
        if fault == CUT:
            return json_response({"happened": self._cut(user)})
        return json_response({"happened": await self._ask_supervisor(fault)})

    def _cut(self, user: str) -> str:
        connections = list(self._connections.by_user(user))
        for connection in connections:
            connection.writer.abort()
            connection.on_disconnect()
        count = len(connections)
        noun = "connection was" if count == 1 else "connections were"
        return f"{count} {noun} cut without a word. The page comes back by its cursor."

    async def _ask_supervisor(self, fault: str) -> str:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._faults_path)
                try:
                    writer.write(f"{fault}\n".encode())
                    return (await reader.read(_MAX_REPLY_BYTES)).decode()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise BrokerUnavailable("the supervisor of hub dev does not respond") from error
