"""Where the browser is, and how it is started: headless, and silent towards the network."""

from __future__ import annotations

import shutil

ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]


def executable() -> str | None:
    """The system's Chromium; None: the one that Playwright has installed (a missing one fails the tests)."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)
