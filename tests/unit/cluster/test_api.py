"""The API server alone."""

from __future__ import annotations

import socket

from cluster import api


def test_its_ports_are_free_and_none_that_linux_gives_to_whoever_wants_any():
    with socket.socket() as taken:
        (number,) = api.free_ports(1)
        taken.bind(("127.0.0.1", number))
        found = api.free_ports(4)
        assert len(set(found)) == 4
        assert number not in found
        assert max(found) < 32_768


def test_a_port_that_is_taken_is_passed_over(monkeypatch):
    with socket.socket() as taken, socket.socket() as probe:
        for one in (taken, probe):
            one.bind(("127.0.0.1", 0))
        first, second = (one.getsockname()[1] for one in (taken, probe))
        probe.close()
        monkeypatch.setattr(api, "PORTS", [first, second])
        assert api.free_ports(1) == [second]
