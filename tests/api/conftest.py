"""A real API server for each process of the run, with a look at its end at what was asked of it, and an operator for each module."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.api.pages import PAGE_ADDRESS, StatusPage
from tests.api.rights import covers, granted, rendered, used
from tests.api.support import Api, Namespace, OperatorProcess
from tests.support.apiserver import ApiServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.install_crds()
        yield server
        asked_no_more_than_granted(server)


def asked_no_more_than_granted(server: ApiServer) -> None:
    """Whichever tests ran here: no operator of theirs asked for more than the chart grants."""
    agents = ("dicom-operator/", "kopf")
    events = [event for event in server.audited() if event.get("userAgent", "").startswith(agents)]
    rights = granted(rendered("dicom-system", "--set=replicas=2"))
    needed = [right for right in used(events) if not right.resource.startswith("leases.")]
    assert [right for right in needed if not covers(rights, right)] == []


@pytest.fixture(scope="session")
def api(api_server: ApiServer) -> Iterator[Api]:
    client = Api(api_server)
    yield client
    client.close()


@pytest.fixture(scope="module")
def operator(api: Api) -> Iterator[OperatorProcess]:
    with OperatorProcess(api.server.environment) as process:
        process.wait_ready()
        yield process


@pytest.fixture
def namespace(api: Api) -> Iterator[Namespace]:
    name = f"test-{next(_numbers)}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    found = Namespace(api, name)
    yield found
    found.scan()
    for plural in ("dicomadapters", "dicomexports"):
        api.delete(f"/apis/dicomadapter.io/v1alpha1/namespaces/{name}/{plural}")


@pytest.fixture
def status_page() -> Iterator[type[StatusPage]]:
    """An adapter's HTTP port, for pods with the address PAGE_ADDRESS."""
    page = type("Page", (StatusPage,), {})
    server = ThreadingHTTPServer((PAGE_ADDRESS, 8080), page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield page
    server.shutdown()
    thread.join()
    server.server_close()
