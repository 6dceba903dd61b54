"""Which addresses a program may name: plain ones of servers, and nothing where clouds keep their keys."""

from __future__ import annotations

import pytest

from experiments.researcher.address import ForbiddenAddress, check_address, resolve

FINE = [
    "http://127.0.0.1:11434/v1", "http://localhost:8000", "http://[::1]:8000/v1", "https://api.example.org/v1",
    "http://10.0.0.7:8000/v1", "http://192.168.1.2", "http://172.16.0.9", "http://ollama:11434/v1", "http://my_box.lan/v1",
    "http://100.64.0.3:8000", "https://xn--bcher-kva.example", "http://[fd12::7]:8000/v1", "HTTP://Server.LAN/v1",
]  # fmt: skip
REFUSED = [
    ("http://169.254.169.254/latest", "metadata"),
    ("http://169.254.0.1", "metadata"),
    ("http://[fd00:ec2::254]/", "metadata"),
    ("http://[fe80::1]/", "metadata"),
    ("http://100.100.100.200/", "metadata"),
    ("http://168.63.129.16/", "metadata"),
    ("http://0x7f000001/", "odd spelling"),
    ("http://0x7f.1/", "odd spelling"),
    ("http://127.1/", "odd spelling"),
    ("http://2130706433/", "odd spelling"),
    ("http://0177.0.0.1/", "odd spelling"),
    ("http://127.0.0.1./", "plain name"),
    ("http://0xa9fea9fe/", "odd spelling"),
    ("http://[::ffff:169.254.169.254]/", "hides an IPv4 address"),
    ("http://[::ffff:127.0.0.1]/", "hides an IPv4 address"),
    ("http://[::127.0.0.1]/", "hides an IPv4 address"),
    ("http://[64:ff9b::a9fe:a9fe]/", "hides an IPv4 address"),
    ("http://[2002:a9fe:a9fe::1]/", "hides an IPv4 address"),
    ("http://[2001::1]/", "hides an IPv4 address"),
    ("http://0.0.0.0:8000/", "no address of a server"),
    ("http://[::]/", "no address of a server"),
    ("http://224.0.0.1/", "no address of a server"),
    ("http://255.255.255.255/", "no address of a server"),
    ("http://１２７.0.0.1/", "plain name"),
    ("http://bücher.example/", "plain name"),
    ("http://[fe80::1%25eth0]/", ""),
    ("http://a%2eb/", "plain name"),
    ("ftp://127.0.0.1/", "http:// or https://"),
    ("file:///etc/passwd", "http:// or https://"),
    ("javascript:alert(1)", "http:// or https://"),
    ("//127.0.0.1/", "http:// or https://"),
    ("http://", "http:// or https://"),
    ("http://[::1", "http:// or https://"),
    ("http://x:99999/", "http:// or https://"),
    ("http://x:0/", "http:// or https://"),
    ("http://a b/", "http:// or https://"),
    ("http://a\\@b/", "http:// or https://"),
    ("http://a\n/", "http:// or https://"),
    ("https://me:key@host/", "Leave keys out"),
    ("https://me@host/", "Leave keys out"),
    ("https://@host/", "Leave keys out"),
    ("https://host/v1?key=1", "Leave out what stands behind ?"),
    ("https://host/v1#x", "Leave out what stands behind ?"),
]  # fmt: skip


@pytest.mark.parametrize("address", FINE)
def test_a_server_here_in_the_network_or_outside_is_fine(address: str) -> None:
    assert check_address(address)


@pytest.mark.parametrize(("address", "why"), REFUSED)
def test_a_disguise_or_a_metadata_service_is_refused(address: str, why: str) -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        check_address(address)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("http://169.254.169.254/v1", "169.254.169.254"),
        ("http://[fd00:ec2::254]:80/v1", "[fd00:ec2::254]"),
        ("http://169.254.1.1:8000/v1", "169.254.1.1:8000"),
        ("http://Box.LAN/v1", "box.lan"),
    ],
)
def test_what_the_operator_has_listed_is_fine(address: str, trusted: str) -> None:
    assert check_address(address, [trusted])


def test_a_listed_port_is_that_port_only() -> None:
    with pytest.raises(ForbiddenAddress):
        check_address("http://169.254.1.1:9000/v1", ["169.254.1.1:8000"])


def resolved(monkeypatch: pytest.MonkeyPatch, *numbers: str) -> None:
    answer = [(2, 1, 6, "", (number, 80)) for number in numbers]
    monkeypatch.setattr("experiments.researcher.address.socket.getaddrinfo", lambda *_, **__: answer)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        (["169.254.169.254"], "metadata"),
        (["93.184.216.34", "169.254.169.254"], "metadata"),
        (["fe80::1%eth0"], "metadata"),
        (["::ffff:169.254.169.254"], "hides"),
        (["127.0.0.1"], "this machine itself"),
        (["::1"], "this machine itself"),
        (["0.0.0.0"], "no address"),
    ],
)
def test_where_a_name_leads_is_looked_at_too(monkeypatch: pytest.MonkeyPatch, numbers: list[str], why: str) -> None:
    resolved(monkeypatch, *numbers)
    with pytest.raises(ForbiddenAddress) as caught:
        resolve("models.example", 80)
    assert why in str(caught.value) and "AUTORESEARCH_LLM_HOSTS" in str(caught.value)
    assert resolve("models.example", 80, ["models.example"]) == numbers


@pytest.mark.parametrize("numbers", [["10.0.0.7"], ["93.184.216.34", "2606:2800::1"], ["192.168.1.5"]])
def test_a_name_of_the_local_network_or_outside_is_fine(monkeypatch: pytest.MonkeyPatch, numbers: list[str]) -> None:
    resolved(monkeypatch, *numbers)
    assert resolve("models.example", 80) == numbers


@pytest.mark.parametrize("host", ["localhost", "box.localhost", "127.0.0.1"])
def test_this_machine_under_its_own_names_is_fine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    resolved(monkeypatch, "127.0.0.1")
    assert resolve(host, 80) == ["127.0.0.1"]
