"""The import of litellm: slow, so put off to the first call, and offline."""

from __future__ import annotations

import os
from typing import Any


def import_litellm() -> Any:
    """Takes seconds; without the flag it would also download its price table."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # otherwise it reads a .env file from wherever we run
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm
