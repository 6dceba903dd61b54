"""Ask a model for one word: does its name, key and address work, how fast is it, what does it cost?"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from experiments.researcher.base import Message, ResearcherAway, ResearcherError, Text, Usage
from experiments.researcher.llm import LiteLLM
from experiments.researcher.llm_errors import OR_THE_SWEEP, TryAgain

QUESTION = "Answer with the single word: ready"


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="as litellm names it: provider/model")
        parser.add_argument("--api-base", default="", help="the address of a server of your own")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            ok, words = True, ask(options["model"], options["api_base"])
        except (ResearcherError, ResearcherAway) as error:
            ok, words = False, why_not(error, options["model"], options["api_base"])
        self.stdout.write(json.dumps({"ok": ok, "words": words}) if options["json"] else words)
        sys.exit(0 if ok else 1)


def why_not(error: ResearcherError | ResearcherAway, model: str, api_base: str) -> str:
    """In words for somebody who has no run yet that could be resumed, and maybe no program."""
    if not isinstance(error, ResearcherAway):
        return str(error).replace(f", {OR_THE_SWEEP}", ".").replace(" on the program page", "")
    why = error.__cause__.why if isinstance(error.__cause__, TryAgain) else str(error)
    if api_base:
        return f"{model} did not answer at {api_base}: {why}. Start that server, or correct the address, then try again."
    return f"{model} did not answer: {why}. Check the network and the provider's limits, then try again."


def ask(model: str, api_base: str) -> str:
    """One line on the answer. Raises ResearcherError or ResearcherAway."""
    researcher = LiteLLM(model, api_base, timeout_seconds=30, tries=1)
    began = time.monotonic()
    pieces = list(researcher.reply((Message("user", QUESTION),), None))
    seconds = time.monotonic() - began
    text = "".join(piece.text for piece in pieces if isinstance(piece, Text)).strip()
    usage = [piece for piece in pieces if isinstance(piece, Usage)]
    tokens = f", {sum(u.tokens_in for u in usage)} tokens in, {sum(u.tokens_out for u in usage)} out" if usage else ""
    costs = [u.cost for u in usage]
    price = f", ${sum(filter(None, costs)):.6f}" if costs and None not in costs else ", price unknown"
    return f"{model} answered {text[:40]!r} in {seconds:.1f} s{tokens}{price}."
