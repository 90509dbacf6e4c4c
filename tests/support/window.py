"""A window into a running process: how many objects are alive that must not outlive their cause.

`python tests/support/window.py ARGUMENTS` is `dicom-adapter ARGUMENTS` with such a window. Who connects to the Unix socket that
ADAPTER_WINDOW names is told, as JSON.
"""

import gc
import json
import os
import runpy
import socket
import sys
import threading
from collections import Counter

COUNTED = ("Task", "AcceptedAssociation", "Performer", "DataSetStream", "SocketProtocol")


def count() -> dict[str, int]:
    """Count the living of each kind; a task that is done is not."""
    gc.collect()
    found: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing).__name__
        if kind in COUNTED and not (kind == "Task" and thing.done()):
            found[kind] += 1
    return {kind: found[kind] for kind in COUNTED}


def answer(listener: socket.socket) -> None:
    """Answer each connection, for ever."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps(count()).encode())


def open_window() -> None:
    """Begin to answer, in a thread that ends with the process."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.environ["ADAPTER_WINDOW"])
    listener.listen()
    threading.Thread(target=answer, args=(listener,), daemon=True).start()


if __name__ == "__main__":
    open_window()
    sys.argv[0] = "dicom-adapter"
    runpy.run_module("dicom_adapter", run_name="__main__", alter_sys=True)
