"""How the app is, for people: one page that needs nothing but itself."""

from __future__ import annotations

from types import MappingProxyType

from shared.app import App
from shared.functions.health import HEADERS as OF_JSON
from shared.health.failed import reasons_of
from shared.health.page import STYLE_HASH, page, refusal_page
from shared.health.view import view

HEADERS = MappingProxyType(
    {
        **OF_JSON,
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
)


def run(app: App) -> tuple[int, str]:
    """HTTP status and HTML body."""
    return 200, page(view(app))


def refusal(error: Exception) -> tuple[int, str]:
    """The page of an app that can't even look."""
    return 503, refusal_page(reasons_of(error))
