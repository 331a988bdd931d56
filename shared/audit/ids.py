"""Ids and addresses as the columns hold them."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

PROVIDER_PATH = re.compile(r"/providers/[^/?#]+/[^/?#]+/([^/?#]+)/?", re.IGNORECASE)
OWNER_PATH = re.compile(r".*/(?:apis|apps|connections|flows|gateways)/([^?#]+)", re.IGNORECASE | re.DOTALL)
PORT_BEHIND_V4 = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::[0-9]+)?")
PORT_BEHIND_V6 = re.compile(r"\[([^\]]+)\](?::[0-9]+)?")
MAPPED_V4 = re.compile(r"^[0:]*ffff:(?=[0-9]{1,3}\.)", re.IGNORECASE)


def freed(text: str) -> tuple[str, bool]:
    """An id in lower case, freed from the path in front of it, and whether it says all of the text.

    What can be shared owns what stands behind it: the id of a permission begins with that of its connection, for
    events of one request differ in nothing else.
    """
    if "/" not in text:
        return text.lower(), True
    if "://" in text:
        return text.lower(), text == text.lower()
    if match := PROVIDER_PATH.fullmatch(text):
        return match[1].strip().lower(), True
    owner = OWNER_PATH.match(text)
    found = owner[1].rstrip("/") if owner else text.rstrip("/").rpartition("/")[2]
    return found.strip().lower(), False


def whole_id(text: str) -> str:
    """An id freed from the path around it, or nothing where the path says more."""
    found, is_whole = freed(text)
    return found if is_whole else ""


@lru_cache(maxsize=4096)
def address(text: str | None) -> str | None:
    """An IP address without port, and an IPv4 address without the prefix that maps it into IPv6."""
    if not text:
        return None
    plain = MAPPED_V4.sub("", text.strip())
    match = PORT_BEHIND_V4.fullmatch(plain) or PORT_BEHIND_V6.fullmatch(plain)
    plain = MAPPED_V4.sub("", match[1]) if match else plain
    try:
        found = ipaddress.ip_address(plain)
    except ValueError:
        return plain.lower()
    return str((found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None) or found)
