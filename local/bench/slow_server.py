"""A server that answers everything with the same body after a while: what bounds a client is then the client."""

from __future__ import annotations

import asyncio
import sys

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


async def serve(latency_s: float, body: bytes) -> None:
    answer = HEAD.format(len(body)).encode() + body

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(latency_s)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started it closes the pipe


def main(latency_s: str, body_bytes: str) -> None:
    record = b'{"Workload":"Exchange","Operation":"MailItemsAccessed","RecordType":50}'
    count = max(1, int(body_bytes) // len(record))
    asyncio.run(serve(float(latency_s), b"[" + b",".join([record] * count) + b"]"))


if __name__ == "__main__":
    main(*sys.argv[1:])
