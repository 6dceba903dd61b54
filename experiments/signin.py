"""One-time sign-in links, as printed on the console at start."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.encoding import force_str
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode


class _LinkTokens(PasswordResetTokenGenerator):
    """The token hashes last_login: the first use makes it worthless. It ends by PASSWORD_RESET_TIMEOUT (3 days) too."""

    key_salt = "experiments.signin"


_tokens = _LinkTokens()


def owner() -> User:
    """The first user, made at the first start; without a password, links are the way in."""
    user = User.objects.filter(is_superuser=True).order_by("pk").first()
    if user is None:
        user = User.objects.create_superuser("owner")
    return user


def link_path(user: User) -> str:
    uid = urlsafe_base64_encode(str(user.pk).encode())
    return reverse("sign-in-link", args=[uid, _tokens.make_token(user)])


def user_of_link(uid: str, token: str) -> User | None:
    """Whose link it is; None when it is used up, too old or forged."""
    try:
        user = User.objects.get(pk=int(force_str(urlsafe_base64_decode(uid))), is_active=True)
    except (User.DoesNotExist, ValueError, OverflowError):
        return None
    return user if _tokens.check_token(user, token) else None
