"""The HTTP client for an address on a program page: it follows no redirect and connects to allowed numbers only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import httpx

from .address import is_trusted, resolve

# Who uses OpenAI's own client, and who litellm's; others cannot be held to an address.
OPENAI_CLIENT = {"openai", "custom_openai", "lm_studio", "litellm_proxy", "llamafile", "xinference"}
OWN_CLIENT = {
    "anthropic", "deepseek", "gemini", "groq", "hosted_vllm", "mistral", "ollama", "ollama_chat", "openrouter", "xai",
}  # fmt: skip
# Where a provider's own key may go; a key for another address is AUTORESEARCH_API_BASE_KEY.
OWN_HOSTS = {
    "anthropic": "api.anthropic.com", "deepseek": "api.deepseek.com", "gemini": "generativelanguage.googleapis.com",
    "groq": "api.groq.com", "mistral": "api.mistral.ai", "openai": "api.openai.com", "openrouter": "openrouter.ai",
    "xai": "api.x.ai",
}  # fmt: skip


class PinnedTransport(httpx.BaseTransport):
    """Looks a name up, checks what came, and connects to exactly that: a later answer of the name server changes nothing."""

    def __init__(self, trusted: Collection[str], verify: Any) -> None:
        self._trusted = trusted
        self._inner = httpx.HTTPTransport(verify=verify)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            numbers = resolve(host, port, self._trusted)
        except OSError as error:
            raise httpx.ConnectError(f"the host {host} is not known", request=request) from error
        for number in numbers:
            try:
                return self._inner.handle_request(_pinned(request, host, number))
            except httpx.ConnectError:
                if number == numbers[-1]:
                    raise
        raise httpx.ConnectError(f"the host {host} has no address", request=request)

    def close(self) -> None:
        self._inner.close()


def _pinned(request: httpx.Request, host: str, number: str) -> httpx.Request:
    """The same request to a number; its Host header and the name on the certificate stay."""
    return httpx.Request(
        request.method, request.url.copy_with(host=number), headers=request.headers, stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def client_for(provider: str, api_base: str, key: str, trusted: Collection[str]) -> tuple[Any, httpx.Client]:
    """(what litellm wants as `client`, what to close afterwards)."""
    import openai
    from litellm.llms.custom_httpx.http_handler import HTTPHandler, get_ssl_configuration

    verify, url = get_ssl_configuration(), httpx.URL(api_base)
    # a listed host may also be behind a proxy of the environment, where no number can be checked
    pinned = None if is_trusted(url.host, url.port, trusted) else PinnedTransport(trusted, verify)
    http = httpx.Client(transport=pinned, follow_redirects=False, verify=verify)
    if provider in OPENAI_CLIENT:
        return openai.OpenAI(api_key=key, base_url=api_base, http_client=http, max_retries=0), http
    return HTTPHandler(client=http), http


def is_own_host(provider: str, scheme: str, host: str) -> bool:
    own = OWN_HOSTS.get(provider)
    return own is not None and scheme == "https" and (host == own or host.endswith(f".{own}"))

