"""The status page: one file of HTML that polls what it shows as JSON."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from importlib.resources import files

from stellar_arrow_source.monitoring.http import Page


def status_page() -> Page:
    """The page, which a browser lets run only the script and use only the style that it holds."""
    html = files(__package__).joinpath("status.html").read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "script-src": _hash_of("script", html),
        "style-src": _hash_of("style", html),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return Page(
        html.encode(),
        "text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "Referrer-Policy": "no-referrer",
        },
    )


def _hash_of(tag: str, html: str) -> str:
    [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
