"""What every answer of the server tells browsers not to do."""

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def headers(ancestors: Sequence[str] = ()) -> dict[str, str]:
    """The headers by name.

    Args:
        ancestors: the hosts, such as "https://course.example", whose pages may show the app in a frame besides its own.
    """
    allowed = " ".join(["'self'", *ancestors])
    return {
        "X-Content-Type-Options": "nosniff",
        # It can name no hosts, so where there are some only the policy below speaks of frames.
        **({} if ancestors else {"X-Frame-Options": "SAMEORIGIN"}),
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        # Nothing about scripts and styles: Streamlit's own pages need those that such a rule would forbid.
        "Content-Security-Policy": f"frame-ancestors {allowed}; object-src 'none'; base-uri 'self'",
    }


class SecurityHeaders:
    """Starlette middleware that adds them where the answer does not say otherwise."""

    def __init__(self, app: ASGIApp, ancestors: Sequence[str] = ()):
        self.app = app
        self.headers = headers(ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    sent.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)
