"""HTTP/1.1 with keep-alive for a WSGI application: the standard library's server, a thread per connection."""

from __future__ import annotations

import socketserver
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer


class _Reply(ServerHandler):
    http_version = "1.1"


class _Handler(WSGIRequestHandler):
    """wsgiref's own serves one request a connection; this one serves as many as the client sends."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    # A whole answer leaves in one piece, or the client's delayed acknowledgements would set the pace.
    wbufsize = 64 * 1024
    server: Server

    def handle(self) -> None:
        self.close_connection = False
        while not self.close_connection:
            self.handle_one_request()

    def _serve(self) -> None:
        reply = _Reply(self.rfile, self.wfile, self.get_stderr(), self.get_environ(), multithread=True)  # type: ignore[arg-type]
        reply.request_handler = self  # type: ignore[attr-defined]
        application = self.server.get_app()
        assert application is not None
        reply.run(application)

    do_GET = do_PUT = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Access logs would be a cost of their own."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """``server_close()`` waits for the connections' threads: every span has then ended."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, application: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        # HTTPServer would ask the resolver for this machine's name, which takes seconds where there is none.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "notes.example", self.server_address[1]
        self.setup_environ()
