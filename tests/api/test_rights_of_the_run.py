"""Over the whole run of these tests, whichever ran: no operator asked for more than the chart grants. The file's name puts it last."""

from __future__ import annotations

from tests.api.rights import covers, granted, rendered, used
from tests.support.apiserver import ApiServer


def test_no_operator_of_this_run_asked_for_more_than_the_chart_grants(api_server: ApiServer):
    agents = ("dicom-operator/", "kopf")
    events = [event for event in api_server.audited() if event.get("userAgent", "").startswith(agents)]
    rights = granted(rendered("dicom-system", "--set=replicas=2"))
    needed = [right for right in used(events) if not right.resource.startswith("leases.")]
    assert [right for right in needed if not covers(rights, right)] == []
