"""The blob service in memory: containers, blobs, whole or in blocks, ETags, conditions, ranges and leases."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from xml.sax.saxutils import escape

from crash.wire import Answer, Call, http_date, refusal

RANGE = re.compile(r"bytes=(\d+)-(\d*)")
BLOCK = re.compile(rb"<Latest>([^<]+)</Latest>")
MOST_LISTED = 5000


@dataclass(frozen=True)
class Lease:
    lease_id: str
    seconds: int
    until: datetime


@dataclass(frozen=True)
class Blob:
    content: bytes
    etag: str
    modified: datetime
    lease: Lease | None = None


Containers = dict[str, dict[str, Blob]]


class Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.answer = refusal(status, code)


class MemoryBlobs:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self.containers: Containers = {}
        self._blocks: dict[str, dict[str, bytes]] = {}
        self._now = now
        self._numbers = count(1)

    def snapshot(self) -> Containers:
        return {name: dict(blobs) for name, blobs in self.containers.items()}

    def restore(self, kept: Containers) -> None:
        self.containers = {name: dict(blobs) for name, blobs in kept.items()}

    def end_leases(self) -> None:
        for blobs in self.containers.values():
            blobs.update({name: replace(blob, lease=None) for name, blob in blobs.items() if blob.lease})

    def __call__(self, call: Call) -> Answer:
        try:
            return self._answer(call)
        except Refused as refused:
            return replace(refused.answer, body=b"") if call.method == "HEAD" else refused.answer

    def _answer(self, call: Call) -> Answer:
        container, _, name = call.path.partition("/")
        if not container:
            return self._containers() if call.method == "GET" else Answer(501)
        if not name:
            return self._container(call, container)
        if container not in self.containers:
            raise Refused(404, "ContainerNotFound")
        if comp := call.query.get("comp"):
            parts = {"lease": self._lease, "block": self._put_block, "blocklist": self._put_blocks}
            return parts[comp](call, container, name) if comp in parts and call.method == "PUT" else Answer(501)
        work = {"PUT": self._put, "GET": self._get, "HEAD": self._head, "DELETE": self._delete}
        return work[call.method](call, container, name)

    def _containers(self) -> Answer:
        listed = "".join(
            f"<Container><Name>{name}</Name><Properties><Etag>0x1</Etag></Properties></Container>"
            for name in sorted(self.containers)
        )
        return _xml(f"<EnumerationResults><Containers>{listed}</Containers><NextMarker/></EnumerationResults>")

    def _container(self, call: Call, container: str) -> Answer:
        if call.method == "GET" and call.query.get("comp") == "list":
            return self._list(call, container)
        if call.method != "PUT" or len(call.query) > 1:
            return Answer(501)
        if container in self.containers:
            raise Refused(409, "ContainerAlreadyExists")
        self.containers[container] = {}
        return Answer(201, headers={"ETag": self._etag(), "Last-Modified": http_date(self._now())})

    def _list(self, call: Call, container: str) -> Answer:
        if container not in self.containers:
            raise Refused(404, "ContainerNotFound")
        blobs, prefix = self.containers[container], call.query.get("prefix", "")
        after, most = call.query.get("marker", ""), int(call.query.get("maxresults", MOST_LISTED))
        names = sorted(name for name in blobs if name.startswith(prefix) and name >= after)
        listed = "".join(_listed(name, blobs[name]) for name in names[:most])
        marker = escape(names[most]) if len(names) > most else ""
        asked = f"<MaxResults>{most}</MaxResults>"
        rest = f"<Blobs>{listed}</Blobs><NextMarker>{marker}</NextMarker>"
        return _xml(f"<EnumerationResults>{asked}{rest}</EnumerationResults>")

    def _there(self, container: str, name: str) -> Blob:
        try:
            return self.containers[container][name]
        except KeyError:
            raise Refused(404, "BlobNotFound") from None

    def _check(self, call: Call, blob: Blob | None, *, writes: bool) -> None:
        wanted = call.headers.get("if-match")
        if call.headers.get("if-none-match") == "*" and blob is not None:
            raise Refused(409, "BlobAlreadyExists")
        if wanted and wanted != "*" and (blob is None or blob.etag != wanted):
            raise Refused(412, "ConditionNotMet")
        if writes and blob and self._held(blob) and call.headers.get("x-ms-lease-id") is None:
            raise Refused(412, "LeaseIdMissing")

    def _put(self, call: Call, container: str, name: str) -> Answer:
        if call.headers.get("x-ms-blob-type") != "BlockBlob":
            return Answer(501)
        return self._replace(call, container, name, call.body)

    def _replace(self, call: Call, container: str, name: str, content: bytes) -> Answer:
        before = self.containers[container].get(name)
        self._check(call, before, writes=True)
        blob = Blob(content, self._etag(), self._now(), before.lease if before else None)
        self.containers[container][name] = blob
        self._blocks.pop(f"{container}/{name}", None)
        return Answer(201, headers=_headers(blob))

    def _put_block(self, call: Call, container: str, name: str) -> Answer:
        self._blocks.setdefault(f"{container}/{name}", {})[call.query["blockid"]] = call.body
        return Answer(201)

    def _put_blocks(self, call: Call, container: str, name: str) -> Answer:
        there = self._blocks.get(f"{container}/{name}", {})
        wanted = [block.decode() for block in BLOCK.findall(call.body)]
        if not all(block in there for block in wanted):
            raise Refused(400, "InvalidBlockList")
        return self._replace(call, container, name, b"".join(there[block] for block in wanted))

    def _get(self, call: Call, container: str, name: str) -> Answer:
        blob = self._there(container, name)
        self._check(call, blob, writes=False)
        span = RANGE.fullmatch(call.headers.get("x-ms-range", ""))
        if not span:
            return Answer(200, blob.content, _headers(blob))
        begin, size = int(span[1]), len(blob.content)
        if begin >= size:
            raise Refused(416, "InvalidRange")
        end = min(int(span[2] or size), size - 1)
        shown = {"Content-Range": f"bytes {begin}-{end}/{size}", **_headers(blob)}
        return Answer(206, blob.content[begin : end + 1], shown)

    def _head(self, call: Call, container: str, name: str) -> Answer:
        blob = self._there(container, name)
        self._check(call, blob, writes=False)
        return Answer(200, headers={**_headers(blob), "Content-Length": str(len(blob.content))})

    def _delete(self, call: Call, container: str, name: str) -> Answer:
        self._check(call, self._there(container, name), writes=True)
        del self.containers[container][name]
        return Answer(202)

    def _lease(self, call: Call, container: str, name: str) -> Answer:
        blob, action = self._there(container, name), call.headers["x-ms-lease-action"]
        held, given = self._held(blob), call.headers.get("x-ms-lease-id")
        if action == "acquire":
            if held:
                raise Refused(409, "LeaseAlreadyPresent")
            seconds, lease_id = int(call.headers["x-ms-lease-duration"]), call.headers["x-ms-proposed-lease-id"]
            return self._leased(container, name, self._new_lease(lease_id, seconds), 201)
        if action not in ("renew", "release"):
            return Answer(501)
        if blob.lease is None or blob.lease.lease_id != given:
            raise Refused(409, "LeaseIdMismatchWithLeaseOperation")
        if action == "release":
            return self._leased(container, name, None, 200)
        return self._leased(container, name, self._new_lease(blob.lease.lease_id, blob.lease.seconds), 200)

    def _new_lease(self, lease_id: str, seconds: int) -> Lease:
        return Lease(lease_id, seconds, self._now() + timedelta(seconds=seconds))

    def _leased(self, container: str, name: str, lease: Lease | None, status: int) -> Answer:
        blob = replace(self.containers[container][name], lease=lease)
        self.containers[container][name] = blob
        return Answer(status, headers={**_headers(blob), **({"x-ms-lease-id": lease.lease_id} if lease else {})})

    def _held(self, blob: Blob) -> bool:
        return blob.lease is not None and blob.lease.until > self._now()

    def _etag(self) -> str:
        return f'"0x{next(self._numbers):X}"'


def _headers(blob: Blob) -> dict[str, str]:
    return {"ETag": blob.etag, "Last-Modified": http_date(blob.modified), "x-ms-blob-type": "BlockBlob"}


def _listed(name: str, blob: Blob) -> str:
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{http_date(blob.modified)}</Last-Modified>"
        f"<Etag>{blob.etag.strip(chr(34))}</Etag><Content-Length>{len(blob.content)}</Content-Length>"
        "<BlobType>BlockBlob</BlobType></Properties></Blob>"
    )


def _xml(text: str) -> Answer:
    return Answer(
        200, f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode(), {"Content-Type": "application/xml"}
    )
