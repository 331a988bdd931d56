"""The storage in memory behind real HTTP, in a process of its own: for loads that an emulator is too slow for.

Azurite takes longer for every entity and message that it holds, so that half a million runs would take days.

python tests/hostile/storage_server.py   prints a connection string and ends with its standard input
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:3]]

from crash.memory_blobs import MemoryBlobs  # noqa: E402 - the path comes first
from crash.memory_queues import MemoryQueues  # noqa: E402
from crash.memory_tables import MemoryTables  # noqa: E402
from crash.wire import ACCOUNT, KEY, Answer, Handler, call_of  # noqa: E402
from processes import first_line_of  # noqa: E402

ONE_AT_A_TIME = threading.Lock()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def __init__(self, service: Handler, *arguments: object) -> None:
        self._service = service
        super().__init__(*arguments)  # type: ignore[arg-type] - what the server gives it

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        call = call_of(self.command, self.path, dict(self.headers), body)
        with ONE_AT_A_TIME:
            answer = self._service(call)
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of the library


@contextmanager
def storage_of_its_own() -> Iterator[str]:
    """The connection string of a storage account in another process."""
    with first_line_of(__file__) as told:
        yield told.strip()


def main() -> None:
    now: Callable[[], datetime] = partial(datetime.now, UTC)
    services = {"Blob": MemoryBlobs(now), "Queue": MemoryQueues(now), "Table": MemoryTables()}
    told = [f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY}"]
    for name, service in services.items():
        server = _Server(("127.0.0.1", 0), partial(_Requests, service))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told.append(f"{name}Endpoint=http://127.0.0.1:{server.server_address[1]}/{ACCOUNT}")
    print(";".join(told), flush=True)  # noqa: T201 - this is what it is for
    sys.stdin.read()


if __name__ == "__main__":
    main()
