"""The process that converts data sets for an adapter: requests on standard input, answers on standard output, until the input ends.

Images come from anywhere, and codecs are written in C: what one of them does to its process must not happen to the associations.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import BinaryIO

from dicom_adapter.transform.transcode import CannotConvert, convert


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """A line of JSON and the bytes that it announces, either way."""
    while line := requests.readline():
        asked = json.loads(line)
        content = requests.read(asked["size"])
        try:
            result, said = convert(content, asked["source"], asked["target"]), {}
        except CannotConvert as error:
            result, said = b"", {"error": str(error)}
        answers.write(json.dumps({"size": len(result), **said}).encode() + b"\n" + result)
        answers.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # they quote values, as do the log lines
    logging.disable(logging.CRITICAL)
    serve(sys.stdin.buffer, sys.stdout.buffer)
