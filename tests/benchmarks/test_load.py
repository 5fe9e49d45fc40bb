from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import NoConnection, load, wrk
from benchmarks.processes import free_port
from benchmarks.requests import NUMBER, Request

REQUEST = Request("/a", b"n=%b" % NUMBER, {"Content-Type": "text/plain"})
CONNECTIONS = 4


class Recorder(ThreadingHTTPServer):
    """Answers the first ten requests with 503, the others with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(503 if len(self.server.bodies) <= 10 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["wrk", "python"])
def client(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """Either client: without wrk on the path, the other takes its place."""
    if request.param == "python":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    wrk.cache_clear()
    yield
    wrk.cache_clear()


@pytest.mark.usefixtures("client")
def test_a_client_counts_answers_and_tells_the_bad_ones(recorder: Recorder) -> None:
    url = f"http://127.0.0.1:{recorder.server_port}"

    told = load(url, REQUEST, connections=CONNECTIONS, seconds=1)

    # What was on its way at the end was received and not counted.
    assert 0 <= len(recorder.bodies) - told.requests <= CONNECTIONS
    assert told.failed == 10
    assert 0 < told.p50_ms <= told.p99_ms


@pytest.mark.usefixtures("client")
def test_requests_in_flight_differ(recorder: Recorder) -> None:
    url = f"http://127.0.0.1:{recorder.server_port}"

    load(url, REQUEST, connections=CONNECTIONS, seconds=1)

    assert len(set(recorder.bodies)) == 2 * CONNECTIONS
    assert all(body.startswith(b"n=1000000") and len(body) == 10 for body in recorder.bodies)


@pytest.mark.usefixtures("client")
def test_where_nobody_listens_there_are_no_figures() -> None:
    with pytest.raises(NoConnection):
        load(f"http://127.0.0.1:{free_port()}", REQUEST, connections=1, seconds=1)
