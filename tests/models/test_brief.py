"""program.md in versions: nothing is ever overwritten."""

from __future__ import annotations

import pytest

from experiments.models import BriefConflict, BriefVersion
from tests.factories import make_program

pytestmark = pytest.mark.django_db


def test_a_save_makes_the_next_version_and_keeps_the_old_one():
    program = make_program()
    program.save_brief("# New aim\n", by="ada", based_on=1)
    assert [(brief.number, brief.author) for brief in program.briefs.order_by("number")] == [(1, "template"), (2, "ada")]
    assert program.brief.text == "# New aim\n"


def test_the_second_of_two_at_once_is_told_and_nothing_is_overwritten():
    program = make_program()
    program.save_brief("Ada's\n", by="ada", based_on=1)
    with pytest.raises(BriefConflict, match="ada saved version 2 while you were editing"):
        program.save_brief("Bob's\n", by="bob", based_on=1)
    assert program.brief.text == "Ada's\n"


def test_a_race_within_a_moment_is_judged_by_the_database(monkeypatch):
    program = make_program()
    stale = program.brief
    BriefVersion.objects.create(program=program, number=2, text="Ada's\n", author="ada")
    real, answers = type(program).brief.fget, iter([stale])
    monkeypatch.setattr(type(program), "brief", property(lambda self: next(answers, None) or real(self)))
    with pytest.raises(BriefConflict):
        program.save_brief("Bob's\n", by="bob", based_on=1)
    assert program.brief.text == "Ada's\n"


def test_a_save_without_a_change_makes_no_version():
    program = make_program()
    program.save_brief(program.brief.text, by="ada", based_on=1)
    assert program.briefs.count() == 1
