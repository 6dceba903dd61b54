"""Brings in what an autoresearch clone has done: its results.tsv as an ended run, its commits as diffs."""
