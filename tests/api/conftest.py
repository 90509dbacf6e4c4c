"""A real API server for the whole run, and an operator process for each module."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.api.pages import PAGE_ADDRESS, StatusPage
from tests.api.support import Api, Namespace, OperatorProcess
from tests.support.apiserver import ApiServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.install_crds()
        yield server


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
    api.delete(f"/apis/dicomadapter.io/v1alpha1/namespaces/{name}/dicomadapters")


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
