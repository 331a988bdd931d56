"""Download of a file column: whole, in ranges, or wrapped in JSON."""

from __future__ import annotations

import base64
import re
from http import HTTPStatus

from local.tenant.rows import LOG_FILE_NAME
from local.tenant.wire import Request, Response, json_response
from local.tenant.world import LogFile, resolved

CHUNK_BYTES = 4_194_304
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def download(request: Request, key: str, file: LogFile | None, base: str, *, as_value: bool) -> Response:
    """The file of the session `key`; 204 when there is none.

    `as_value` gives the raw bytes of /$value, which honours Range for a chunkable file; else the property
    is answered as JSON with base64.
    """
    if file is None:
        return Response(HTTPStatus.NO_CONTENT, kind="additionalcontext")
    content = resolved(file.content)
    if not as_value:
        text = base64.b64encode(content).decode()
        wrapped = {"@odata.context": f"{base}$metadata#flowsessions({key})/additionalcontext", "value": text}
        return json_response(HTTPStatus.OK, wrapped, "additionalcontext")
    wanted = _RANGE.fullmatch(request.headers.get("range", "")) if file.chunkable else None
    return _ranged(key, content, wanted) if wanted else _whole(key, content)


def _whole(key: str, content: bytes) -> Response:
    return Response(HTTPStatus.OK, content, _headers(content), "additionalcontext", (("log file", key),))


def _ranged(key: str, content: bytes, wanted: re.Match[str]) -> Response:
    """A part of the file; the file counts as served when its last byte goes out."""
    first = int(wanted[1])
    last = min(int(wanted[2] or len(content)), len(content) - 1)
    if first > last:
        headers = {"Content-Range": f"bytes */{len(content)}"}
        return Response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", headers, "additionalcontext")
    headers = {
        **_headers(content),
        "Content-Range": f"bytes {first}-{last}/{len(content)}",
        "x-ms-chunk-size": str(CHUNK_BYTES),
    }
    served = (("log file", key),) if last == len(content) - 1 else ()
    part = content[first : last + 1]
    return Response(HTTPStatus.PARTIAL_CONTENT, part, headers, "additionalcontext", served)


def _headers(content: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "x-ms-file-size": str(len(content)),
        "x-ms-file-name": LOG_FILE_NAME,
        "mimetype": "application/json",
    }
