"""A live page of what this process's spans are doing: ``otlpfast.web.serve()``, or ``OTLPFAST_WEB``.

    with otlpfast.web.serve("127.0.0.1:4320") as page:
        print(page.url)

The account of each processor, its queue and exports, recent traces as waterfalls, the slowest operations; the
same as JSON under ``/api``. docs/web.md has all of it.
"""

from __future__ import annotations

from .server import Server

__all__ = ["Server", "serve"]


def serve(address: str = "127.0.0.1:0", token: str | None = None) -> Server:
    """Serves the page from threads of its own, until ``close()`` or the end of the process.

    Args:
        address: HOST:PORT, or a PORT of 127.0.0.1; port 0 takes a free one, which ``url`` has.
        token: who knows it may see the page; by default ``OTLPFAST_WEB_TOKEN``. Without either, only
            addresses of this machine alone are allowed.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, or one that is not allowed.
        OSError: the address can't be listened at; the port may be in use.
    """
    return Server(address, token)
