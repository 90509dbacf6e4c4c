"""What `helm test` runs in the cluster: namespace of the example, and the operator's /readyz when it has a Service."""

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
EXAMPLE = {
    "apiVersion": "dicomadapter.io/v1alpha1",
    "kind": "DicomAdapter",
    "metadata": {"generateName": "helm-test-"},
    "spec": {"aeTitle": "HELMTEST", "dicomStore": "https://pacs.example/dicom-web"},
}

namespace, *pages = sys.argv[1:]
for page in pages:
    with urllib.request.urlopen(page, timeout=10) as answer:
        print(f"{page}: {answer.read().decode()}")
url = f"https://kubernetes.default.svc/apis/dicomadapter.io/v1alpha1/namespaces/{namespace}/dicomadapters?dryRun=All"
headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
request = urllib.request.Request(url, json.dumps(EXAMPLE).encode(), headers)
try:
    with urllib.request.urlopen(request, timeout=10, context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))) as answer:
        print(f"the API server takes a DicomAdapter ({answer.status})")
except urllib.error.HTTPError as error:
    sys.exit(f"the API server does not take a DicomAdapter: {json.loads(error.read())['message']}")
