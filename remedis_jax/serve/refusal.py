"""A request that is turned away: a status, what is wrong and what to do about it, as JSON."""

import asyncio
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

# Key in the ASGI scope: the body has been read to its end.
BODY_READ = "remedis_jax.body_read"
# A client that is still sending gets this long to notice the answer.
_PATIENCE_SECONDS = 5.0


class Refusal(Exception):
    """Ends a request.

    Args:
        status: HTTP status.
        problem: What is wrong.
        remedy: What the client can do about it.
        image: Which image of the request it is about: {"index", "name"}.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        problem: str,
        remedy: str,
        *,
        image: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ):
        self.status = status
        self.content = {"problem": problem, "remedy": remedy, "image": image}
        self.headers = headers
        super().__init__(problem)

    def response(self) -> "RefusalResponse":
        """What is sent."""
        return RefusalResponse(self.content, status_code=self.status, headers=self.headers)


class RefusalResponse(JSONResponse):
    """An answer that may come before the request has been read.

    The answer is sent at once. What the client still sends is thrown away for a short time before
    the connection is closed: closed at once, it would be reset, and many clients then report a
    broken connection instead of the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get(BODY_READ):
            await super().__call__(scope, receive, send)
            return
        self.headers["connection"] = "close"

        async def send_but_stay_open(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = message | {"more_body": True}
            await send(message)

        await super().__call__(scope, receive, send_but_stay_open)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                message = await receive()
                while message["type"] == "http.request" and message.get("more_body"):
                    message = await receive()
        except TimeoutError:
            pass  # patience is at an end; closing is all that is left
        await send({"type": "http.response.body", "body": b""})
