"""Parsers for environment variables. A bad value stops the start and says what was expected."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class ConfigError(SystemExit):
    """A variable holds a value that cannot be used."""


def env_text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def env_int(name: str, default: int, *, low: int = 0, high: int = 2**31) -> int:
    raw = env_text(name)
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError:
        raise ConfigError(f"{name}={raw!r}: expected a whole number, as in {name}={default}.") from None
    if not low <= value <= high:
        raise ConfigError(f"{name}={value}: expected a number from {low} to {high}.")
    return value


def env_bool(name: str, default: bool) -> bool:
    raw = env_text(name).lower()
    if not raw:
        return default
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise ConfigError(f"{name}={raw!r}: expected 1 or 0.")


def env_choice(name: str, *choices: str) -> str:
    """One of `choices`; the first is the default."""
    value = env_text(name, choices[0])
    if value not in choices:
        raise ConfigError(f"{name}={value!r}: expected {' or '.join(choices)}.")
    return value


def env_zone(name: str, default: str) -> str:
    """A time zone that this machine knows."""
    value = env_text(name, default)
    try:
        ZoneInfo(value)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ConfigError(f"{name}={value!r}: expected a time zone, as in {name}=Europe/Berlin.") from None
    return value


def env_list(name: str) -> list[str]:
    return [part.strip() for part in env_text(name).split(",") if part.strip()]


def env_path(name: str, default: Path) -> Path:
    return Path(env_text(name, str(default))).expanduser().resolve()


def env_paths(name: str, *, apart_from: Path | None = None) -> list[str]:
    """Absolute paths that exist, with the system's separator between them; none that holds `apart_from`."""
    paths = [os.path.expanduser(part.strip()) for part in env_text(name).split(os.pathsep) if part.strip()]
    for path in paths:
        if not os.path.isabs(path) or not os.path.exists(path):
            example = os.pathsep.join(["/data", "/opt/tools"])
            raise ConfigError(f"{name}: {path!r} does not exist. Expected absolute paths, as in {name}={example}.")
        _check_apart(name, path, apart_from)
    return paths


def env_folder(name: str, *, apart_from: Path | None = None) -> str:
    """The absolute path of a folder that may be written; "": none is given. Not a person's own home: that is all theirs."""
    path = os.path.expanduser(env_text(name))
    if not path:
        return ""
    if not os.path.isabs(path) or not os.path.isdir(path):
        raise ConfigError(f"{name}={path!r}: expected the whole path of a folder that exists, as in {name}=/home/agent.")
    if os.path.realpath(path) in {os.path.realpath(os.path.expanduser("~")), "/"}:
        raise ConfigError(f"{name}={path!r}: it would be written to. Expected a folder of its own, not your home folder.")
    _check_apart(name, path, apart_from)
    return path


def _check_apart(name: str, path: str, apart_from: Path | None) -> None:
    if apart_from is not None and apart_from.resolve().is_relative_to(Path(path).resolve()):
        raise ConfigError(f"{name}: {path!r} holds {apart_from}, with the database and its keys. Name a folder further in.")
