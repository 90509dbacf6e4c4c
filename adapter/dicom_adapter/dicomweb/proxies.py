"""Which HTTP proxy a request takes: the configured one, or what HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment say."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs by the scheme of the request, and the hosts that are reached directly.

    An entry of `direct` is `*`, a host name (its subdomains count, with or without a leading dot), an address, or a network in CIDR form,
    each perhaps with `:port`.
    """

    http: str = ""
    https: str = ""
    direct: tuple[str, ...] = ()

    @classmethod
    def always(cls, url: str) -> Proxies:
        """The one proxy of `spec.credentials.proxy`: whoever writes it means it, whatever NO_PROXY says."""
        return cls(url, url)

    def choose(self, scheme: str, host: str, port: int) -> str | None:
        """The proxy's URL, or None for the direct way."""
        proxy = self.https if scheme == "https" else self.http
        if not proxy or any(_covers(entry, host.lower(), port) for entry in self.direct):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


NO_PROXIES = Proxies()


def _covers(entry: str, host: str, port: int) -> bool:
    entry = entry.strip().lower()
    if entry == "*":
        return True
    name, colon, suffix = entry.rpartition(":")
    if colon and suffix.isdigit() and ":" not in name:
        if int(suffix) != port:
            return False
        entry = name
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        entry = entry.removeprefix("*").removeprefix(".")
        return bool(entry) and (host == entry or host.endswith(f".{entry}"))
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
