from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from experiments.signin import link_path

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-night-of-125"


@pytest.fixture
def mara() -> User:
    return User.objects.create_user("mara", password=PASSWORD)


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_a_password_signs_in_and_goes_home(client: Client, mara: User):
    answer = client.post(reverse("sign-in"), {"username": "mara", "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, reverse("home"))
    assert is_in(client)


def test_a_wrong_password_keeps_the_name_and_says_so(client: Client, mara: User):
    answer = client.post(reverse("sign-in"), {"username": "mara", "password": "wrong"})
    assert not is_in(client)
    assert 'value="mara"' in answer.text
    assert "Please enter a correct username and password" in answer.text


def test_the_page_says_how_to_get_a_link(client: Client):
    assert "python manage.py signin" in client.get(reverse("sign-in")).text


def test_a_link_signs_in_once(client: Client, mara: User):
    path = link_path(mara)
    assert client.get(path).status_code == 302
    assert is_in(client)
    stranger = Client()
    again = stranger.get(path)
    assert again.status_code == 403
    assert "has been used, or is too old" in again.text
    assert not is_in(stranger)


@pytest.mark.parametrize("path", ["/sign-in/MQ/forged-token/", "/sign-in/%00/x-y/", "/sign-in/!!!/x/", "/sign-in/é/x/"])
def test_a_forged_link_is_refused(client: Client, mara: User, path: str):
    assert client.get(path).status_code == 403


def test_a_link_of_a_disabled_user_is_refused(client: Client, mara: User):
    path = link_path(mara)
    User.objects.update(is_active=False)
    assert client.get(path).status_code == 403


def test_only_get_uses_a_link_up(client: Client, mara: User):
    path = link_path(mara)
    assert client.head(path).status_code == 405
    assert client.post(path).status_code == 405
    assert client.get(path).status_code == 302


@pytest.mark.parametrize(
    ("target", "goes"),
    [
        ("/runs/7/", "/runs/7/"), ("https://evil.example/", "/"), ("//evil.example", "/"), ("javascript:alert(1)", "/"),
        ("/\\evil.example", "/"), ("", "/"), ("/experiments/7/roll-back/", "/experiments/7/"),
        ("/programs/1/brief/2/", "/programs/1/brief/2/"),
    ],
)  # fmt: skip
def test_next_stays_on_this_site(client: Client, mara: User, target: str, goes: str):
    answer = client.post(reverse("sign-in"), {"username": "mara", "password": PASSWORD, "next": target})
    assert answer["Location"] == goes


def test_the_form_carries_next_along(client: Client):
    assert 'name="next" value="/runs/7/"' in client.get(reverse("sign-in") + "?next=/runs/7/").text


def test_who_is_in_already_goes_on(client: Client, mara: User):
    client.force_login(mara)
    assert client.get(reverse("sign-in") + "?next=/runs/7/")["Location"] == "/runs/7/"


def test_leaving_is_a_post(client: Client, mara: User):
    client.force_login(mara)
    assert client.get(reverse("sign-out")).status_code == 405
    assert is_in(client)
    assert client.post(reverse("sign-out"))["Location"] == reverse("sign-in")
    assert not is_in(client)


def test_leaving_twice_is_no_error(client: Client):
    assert client.post(reverse("sign-out")).status_code == 302


def test_a_stranger_is_sent_to_sign_in_and_back(client: Client):
    assert client.get("/programs/1/")["Location"] == reverse("sign-in") + "?next=/programs/1/"
