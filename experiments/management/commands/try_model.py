"""Ask a model for one word: does its name, key and address work, how fast is it, what does it cost?"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from experiments.loop.llm_settings import llm_settings
from experiments.researcher.base import ResearcherError
from experiments.researcher.limits import Prices
from experiments.researcher.llm import LiteLLM
from experiments.researcher.llm_errors import OR_THE_SWEEP
from experiments.researcher.trial import try_model

SECONDS = 30


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="as litellm names it: provider/model")
        parser.add_argument("--api-base", default="", help="the address of a server of your own")
        parser.add_argument("--price-in", type=float, help="US dollars a million tokens, where litellm knows no price")
        parser.add_argument("--price-out", type=float)
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        price_in, price_out = options["price_in"], options["price_out"]
        by_hand = Prices(price_in, price_out) if price_in is not None and price_out is not None else None
        # a person waits: one try, and not in the queue of the runs
        shared = replace(llm_settings(), timeout_seconds=SECONDS, tries=1, folder=None)
        try:
            ok, words = True, try_model(LiteLLM(options["model"], options["api_base"], by_hand=by_hand, shared=shared)).words
        except ResearcherError as error:
            ok, words = False, why_not(error)
        self.stdout.write(json.dumps({"ok": ok, "words": words}) if options["json"] else words)
        sys.exit(0 if ok else 1)


def why_not(error: ResearcherError) -> str:
    """In words for somebody who has no run yet that could be resumed, and maybe no program."""
    words = str(error).replace(f", {OR_THE_SWEEP}", ".").replace(" on the program page", "")
    return words.replace(", then resume the run", ", then try again").replace(" and resume the run", "")
