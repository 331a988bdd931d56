"""JSON text that is nearly right: what strict decoders refuse, replaced."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

LONE_SURROGATE = re.compile(
    rb"(?<!\\)((?:\\\\)*)(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


def sanitized(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text with what no decoder accepts replaced: bytes that are no UTF-8, and half surrogate pairs."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    held = b""
    for chunk in chunks:
        held += decoder.decode(chunk).encode()
        cut = held.rfind(b'"', 0, max(0, len(held) - 16)) + 1  # never inside an escape
        yield LONE_SURROGATE.sub(rb"\1\\ufffd", held[:cut])
        held = held[cut:]
    yield LONE_SURROGATE.sub(rb"\1\\ufffd", held + decoder.decode(b"", final=True).encode())
