"""Where an LLM may be called: which addresses a program may name. Plain spellings only, no metadata services.

A server on this machine or in the local network is what most people have, and is allowed. What a cloud keeps at
link-local addresses (its keys, among others) is not, in no spelling; an operator may list a host that is (`trusted`).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PLAIN_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z")
HIDE_IPV4 = [
    ipaddress.ip_network(net) for net in ("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
]
COMPATIBLE = ipaddress.ip_network("::/96")  # the oldest way to hide one; holds :: and ::1 too
METADATA = {ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")}
ASK_OPERATOR = "An operator who means it lists the host in AUTORESEARCH_LLM_HOSTS."


class ForbiddenAddress(Exception):
    """The words say what is wrong with the address and what to enter instead."""


def check_address(address: str, trusted: Collection[str] = ()) -> str:
    """The host that `address` names, in lower case. Looks at the text only. Raises ForbiddenAddress."""
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or port == 0 or re.search(r"[\s\\\x00-\x1f\x7f]", address):
        raise ForbiddenAddress("Enter an address that begins with http:// or https://, or leave it empty.")
    if "@" in parts.netloc:
        raise ForbiddenAddress("Leave keys out of the address: it is shown on this page. Use the environment.")
    if parts.query or parts.fragment:
        raise ForbiddenAddress("Leave out what stands behind ? and #: the address ends with its path, such as /v1.")
    if not is_trusted(host, port, trusted):
        _check_host(host)
    return host


def is_trusted(host: str, port: int | None, trusted: Collection[str]) -> bool:
    """`trusted` holds hosts, with a port or for every port."""
    names = {name.lower().replace("[", "").replace("]", "") for name in trusted}
    return host in names or f"{host}:{port}" in names


def _check_host(host: str) -> None:
    literal = _literal(host)
    if literal is not None:
        why = _why_not(literal)
        if why:
            raise ForbiddenAddress(f"{host} {why} {ASK_OPERATOR}")
    elif ":" in host or not PLAIN_HOST.match(host):
        raise ForbiddenAddress(f"{host} is no plain name of a host: write it in the letters a to z, or as its number.")
    elif _is_number(host):
        raise ForbiddenAddress(f"{host} is an address in an odd spelling: write it as four numbers, such as 127.0.0.1.")


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_number(host: str) -> bool:
    """Whether the system would read it as an address: 0x7f000001, 127.1, 2130706433, 0177.0.0.1."""
    try:
        socket.inet_aton(host.rstrip("."))
    except OSError:
        return False
    return True


def _why_not(ip: IPAddress) -> str:
    if any(ip in net for net in HIDE_IPV4) or (ip in COMPATIBLE and int(ip) > 1):
        return "hides an IPv4 address: write that address itself."
    if ip.is_link_local or ip in METADATA:
        return "is where clouds keep their metadata and keys: no model is there. Enter the address of your server."
    if ip.is_unspecified or ip.is_multicast or (ip.is_reserved and not ip.is_loopback):
        return "is no address of a server. For one on this machine write 127.0.0.1."
    return ""


def resolve(host: str, port: int, trusted: Collection[str] = ()) -> list[str]:
    """The numbers behind `host`, all of them allowed. Raises ForbiddenAddress, or OSError where there are none."""
    found = list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    if is_trusted(host, port, trusted):
        return found
    for number in found:
        ip = ipaddress.ip_address(number.partition("%")[0])
        why = _why_not(ip)
        if not why and ip.is_loopback and not _may_be_here(host):
            why = "is this machine itself, and that name is not its own: write 127.0.0.1."
        if why:
            raise ForbiddenAddress(f"{host} leads to {number}, which {why} {ASK_OPERATOR}")
    return found


def _may_be_here(host: str) -> bool:
    own = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
    return _literal(host) is not None or host in own or host.endswith(".localhost")
