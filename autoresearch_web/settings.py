"""Settings. Every variable is read here, once; docs/settings.md lists them all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Any

import dj_database_url

from autoresearch_web.env import (
    ConfigError,
    env_bool,
    env_choice,
    env_folder,
    env_int,
    env_list,
    env_path,
    env_paths,
    env_text,
    env_zone,
)

# numpy solves small systems here: more threads wait for each other (a hundredfold), and take cores from a training.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = env_path("AUTORESEARCH_VAR", BASE_DIR / "var")
VAR_DIR.mkdir(parents=True, exist_ok=True)

REPOS_DIR = VAR_DIR / "repos"  # one bare repository per program
WORK_DIR = VAR_DIR / "work"  # one folder per training in progress
DATA_DIR = env_path("AUTORESEARCH_CACHE_DIR", VAR_DIR / "data")  # corpus and tokenizer
AGENT_DIR = VAR_DIR / "agents"  # one folder per external agent at work
LOG_DIR = VAR_DIR / "log"
PREFLIGHT_DIR = VAR_DIR / "preflight"  # one folder per rehearsal in progress
COMPILED_DIR = VAR_DIR / "compiled"  # what compilers made of the programs
ANSWERS_DIR = VAR_DIR / "answers"  # what each token of the held-out text costs a best, for the judge
DEVICE_DIR = VAR_DIR / "devices"  # one lock file per device
TEMPLATE_DIR = BASE_DIR / "trainer" / "template"


def _secret_key() -> str:
    given = env_text("SECRET_KEY")
    if given:
        return given
    path = VAR_DIR / "secret_key"
    if not path.exists():
        fresh = path.with_suffix(f".{secrets.token_hex(4)}")
        fresh.write_text(secrets.token_urlsafe(50))
        fresh.chmod(0o600)
        try:
            path.hardlink_to(fresh)  # the first of several processes wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


SECRET_KEY = _secret_key()
DEBUG = env_bool("DEBUG", False)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *env_list("ALLOWED_HOSTS")]
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")
HOST = env_text("HOST", "127.0.0.1")
PORT = env_int("PORT", 0, low=0, high=65535)  # 0: 8000, or the next free one

# The loop
DEMO = env_bool("AUTORESEARCH_DEMO", True)
TICK_SECONDS = env_int("AUTORESEARCH_TICK", 2, low=1, high=60)
STALE_SECONDS = env_int("AUTORESEARCH_STALE", 15, low=3, high=600)  # then a silent stage is taken over
PAGE_BEAT_SECONDS = env_int("AUTORESEARCH_PAGE_BEAT", 10, low=1, high=600)  # a page's: is the line still there?
AHEAD = env_int("AUTORESEARCH_AHEAD", 6, low=1, high=16)  # ideas worked out at once for each lane, at most
BREAKER_FAILURES = env_int("AUTORESEARCH_BREAKER", 10, low=1, high=1000)  # failures in a row that pause a run
MIN_FREE_MB = env_int("AUTORESEARCH_MIN_FREE_MB", 200, low=0, high=10**9)
LLM_TIMEOUT_SECONDS = env_int("AUTORESEARCH_LLM_TIMEOUT", 120, low=1, high=3600)
LLM_TRIES = env_int("AUTORESEARCH_LLM_TRIES", 5, low=1, high=100)
LLM_PARALLEL = env_int("AUTORESEARCH_LLM_PARALLEL", 8, low=1, high=1000)  # calls at once with one key, over all runs
LLM_HOSTS = env_list("AUTORESEARCH_LLM_HOSTS")  # that an API address may name, whatever they are
KEYS_FILE = env_path("AUTORESEARCH_KEYS_FILE", VAR_DIR / "keys.env")
PREFLIGHT_SECONDS = env_int("AUTORESEARCH_PREFLIGHT_SECONDS", -1, low=-1, high=600)  # -1: by the device; 0: none
DEVICES = env_list("AUTORESEARCH_DEVICES")  # empty: detected
SHARE_GPUS = env_bool("AUTORESEARCH_SHARE_GPUS", False)  # train also on a GPU that somebody else uses
THREADS = env_int("AUTORESEARCH_THREADS", 1, low=1)  # of a processor, that a training is given
KEEP_COMPILED = env_bool("AUTORESEARCH_KEEP_COMPILED", True)  # on a GPU a training starts with what its parent compiled
STANDBY = env_bool("AUTORESEARCH_STANDBY", True)  # the next training's process is ready before its device is free
SANDBOX = env_choice("AUTORESEARCH_SANDBOX", "auto", "require", "off")
SANDBOX_READ = env_paths("AUTORESEARCH_SANDBOX_READ")  # what else a training may read
AGENT_ENV = env_list("AUTORESEARCH_AGENT_ENV")  # names of our environment that an external agent gets
AGENT_READ = env_paths("AUTORESEARCH_AGENT_READ", apart_from=VAR_DIR)  # what else it may read
AGENT_HOME = env_folder("AUTORESEARCH_AGENT_HOME", apart_from=VAR_DIR)  # "": an empty one each time
PRESETS = ("h100", "upstream", "gpu-24gb", "gpu-16gb", "gpu-8gb", "mps", "cpu")  # of trainer/presets.py
PRESET = env_choice("AUTORESEARCH_PRESET", "", *PRESETS)  # "": by detection
DEMO_RESEARCHER = env_choice("AUTORESEARCH_RESEARCHER", "sweep", "litellm")
DEMO_MODEL = env_text("AUTORESEARCH_MODEL")
DEMO_API_BASE = env_text("AUTORESEARCH_API_BASE")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "template_partials",
    "django_htmx",
    "channels",
    "experiments",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",  # also of static files that have no .gz beside them, such as htmx
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "experiments.views.not_allowed.WordsForWrongMethods",
]
ROOT_URLCONF = "autoresearch_web.urls"
ASGI_APPLICATION = "autoresearch_web.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

_SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}
DATABASE_URL = env_text("DATABASE_URL", f"sqlite:///{VAR_DIR / 'db.sqlite3'}")
try:
    _database = dj_database_url.parse(DATABASE_URL, conn_max_age=0)
except (ValueError, dj_database_url.ParseError) as error:
    raise ConfigError(f"DATABASE_URL cannot be read: {error}. Expected postgres://user:password@host/name.") from None
if _database["ENGINE"].endswith("sqlite3"):
    _database["OPTIONS"] = _SQLITE_OPTIONS
    # A test database in memory is private to one connection; ours must be seen by worker processes.
    _database["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _redis_socket() -> Path:
    """Beside the data; a path over 100 bytes (the kernel cuts at 107) moves to a short folder of its own."""
    path = VAR_DIR / "redis.sock"
    if len(os.fsencode(path)) <= 100:
        return path
    name = hashlib.sha256(os.fsencode(VAR_DIR)).hexdigest()[:12]
    return Path("/tmp") / f"autoresearch-{os.getuid()}-{name}" / "redis.sock"


REDIS_SOCKET = _redis_socket()  # of the embedded server
REDIS_URL = env_text("REDIS_URL", f"unix://{REDIS_SOCKET}")
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)


def channel_layer(url: str) -> dict[str, Any]:
    """Redis tells every number's messages to all numbers: the number is part of each channel's name."""
    number = re.search(r"(?:/|[?&]db=)(\d+)(?:[?&]|$)", url)
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [{"address": url, "socket_connect_timeout": 2, "socket_timeout": 30}],
            "prefix": f"autoresearch-{number[1] if number else 0}-",
        },
    }


CHANNEL_LAYERS = {"default": channel_layer(REDIS_URL)}

LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
SESSION_COOKIE_AGE = 60 * 60 * 24 * 30
SESSION_COOKIE_NAME = "autoresearch_session"
CSRF_COOKIE_NAME = "autoresearch_csrf"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024  # program.md of 5 MB must reach the form that refuses it

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
LANGUAGE_CODE = "en"
TIME_ZONE = env_zone("TZ", "UTC")
USE_TZ = True
USE_I18N = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django.channels.server": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "LiteLLM": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},  # a line per tick otherwise
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
    },
}
