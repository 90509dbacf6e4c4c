"""What one writes first: fetch an instance with `requests`, send it with stock pynetdicom, then the next one.

    python -m bench.load.fetcher URL PORT

Fetches every instance that the archive at URL has and sends it to the SCP at PORT; prints the seconds that it took.
"""

from __future__ import annotations

import sys
import time
import warnings
from io import BytesIO

import pydicom
import requests
from pynetdicom import AE

from bench.load import images
from bench.load.archive import STUDY
from dicom_adapter.dicomweb.multipart import PartBegins, PartsReader


def main() -> None:
    """Fetch and send."""
    warnings.simplefilter("ignore")
    url, port = sys.argv[1], int(sys.argv[2])
    began = time.monotonic()
    session = requests.Session()
    found = session.get(f"{url}/studies/{STUDY}/instances?limit=100000", timeout=60).json()
    ae = AE("SINK")
    ae.add_requested_context(images.CT_STORAGE, images.EXPLICIT)
    association = ae.associate("127.0.0.1", port, max_pdu=131072)
    for match in found:
        study, series, uid = (match[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        answer = session.get(f"{url}/studies/{study}/series/{series}/instances/{uid}", timeout=60)
        reader = PartsReader(answer.headers["Content-Type"])
        part = b"".join(piece for piece in reader.feed(answer.content) if not isinstance(piece, PartBegins))
        if association.send_c_store(pydicom.dcmread(BytesIO(part))).Status:
            raise SystemExit("the sink refuses")
    association.release()
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
