"""Take an autoresearch clone, or a results.tsv alone, as an ended run: its scores, and diffs where the commits exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from experiments.importing.bring import Wish, bring
from experiments.importing.refused import ImportRefused
from experiments.importing.source import read_file


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("where", nargs="?", default="", metavar="PATH|URL", help="a clone, its address, or a .tsv")
        parser.add_argument("--branch", default="", help="unless told, the one that is checked out")
        parser.add_argument("--tsv", default="", metavar="FILE", help="the results.tsv, where it does not lie in the clone")

    def handle(self, *args: Any, **options: Any) -> None:
        file = Path(options["tsv"]).resolve() if options["tsv"] else None
        where = options["where"] or (str(file) if file else "")
        if not where:
            raise CommandError("Give a folder, an address or --tsv FILE. An example: manage.py import ../autoresearch")
        try:
            table = read_file(file) if file else None
            done = bring(Wish(where, options["branch"], table, file.name if file else ""), by="import")
        except ImportRefused as refused:
            there = f" See {reverse('run', args=[refused.run])}" if refused.run else ""
            raise CommandError(f"{refused}{there} Nothing was imported.") from None
        self.stdout.write(f"{done.run}: {done.counts}, {reverse('run', args=[done.run.pk])}")
        for remark in done.remarks:
            self.stdout.write(remark)
