"""What `helm test` runs in the cluster: namespace of the examples, and the operator's /readyz when it has a Service."""

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
STORE = "https://pacs.example/dicom-web"
SUBSCRIPTION = {"subscription": "projects/p/subscriptions/helm-test", "endpoint": "https://pubsub.example"}
EXAMPLES = {
    "DicomAdapter": {"aeTitle": "HELMTEST", "dicomStore": STORE},
    "DicomExport": {
        "source": {"dicomStore": STORE, "pubsub": SUBSCRIPTION},
        "destination": {"peer": {"aeTitle": "HELMTEST", "host": "pacs.example", "port": 104}},
    },
}

namespace, *pages = sys.argv[1:]
for page in pages:
    with urllib.request.urlopen(page, timeout=10) as answer:
        print(f"{page}: {answer.read().decode()}")
headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
for kind, spec in EXAMPLES.items():
    url = f"https://kubernetes.default.svc/apis/dicomadapter.io/v1alpha1/namespaces/{namespace}/{kind.lower()}s?dryRun=All"
    example = {"apiVersion": "dicomadapter.io/v1alpha1", "kind": kind, "metadata": {"generateName": "helm-test-"}, "spec": spec}
    request = urllib.request.Request(url, json.dumps(example).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))) as answer:
            print(f"the API server takes a {kind} ({answer.status})")
    except urllib.error.HTTPError as error:
        sys.exit(f"the API server does not take a {kind}: {json.loads(error.read())['message']}")
