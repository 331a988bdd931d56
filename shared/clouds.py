"""The Microsoft clouds: where each keeps the Management Activity API."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ACTIVITY_ROOTS: Mapping[str, str] = MappingProxyType(
    {
        "commercial": "https://manage.office.com",
        "gcc": "https://manage-gcc.office.com",
        "gcchigh": "https://manage.office365.us",
        "dod": "https://manage.protection.apps.mil",
    }
)
"""Root of the Management Activity API per value of `CLOUD`; each root is also the audience of its tokens.

Source: Office 365 Management Activity API reference, "Activity API operations".
"""
