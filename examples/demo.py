"""The main job, step by step, each with the command that does it: `make demo`.

Runs inside the namespaces of a test cluster that has the two images and a DICOMweb store: installs the operator, applies
`examples/dicomadapter.yaml`, sends images with dcmtk and looks for each in the store. Exit status 1 when one is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import dicom

HERE = Path(__file__).resolve().parent
CHART = HERE.parent / "charts" / "dicom-operator"
RESOURCE = HERE / "dicomadapter.yaml"
STORE = "http://10.10.0.1:8042/dicom-web"
IMAGES = ("CT", "MR", "JPEG baseline", "JPEG 2000", "RLE")


class StepFailed(Exception):
    """A step's command failed; the message says which and how."""


def say(text: str) -> None:
    """Prints a step's heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(*command: str, quiet: bool = False) -> str:
    """Shows a command as a user would type it, runs it, shows and returns what it printed."""
    print("$ " + shlex.join(command).replace(f"{HERE.parent}/", ""), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=HERE.parent)
    if not quiet or done.returncode:
        print("".join(f"  {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if done.returncode:
        raise StepFailed(f"`{command[0]}` ended with exit status {done.returncode}")
    return done.stdout


def install(namespace: str) -> None:
    """Step 1: the operator, from its chart, with the images that were just built."""
    say("1. Install the operator")
    run(
        *(
            "helm",
            "upgrade",
            "--install",
            "dicom-operator",
            str(CHART),
            "--namespace",
            namespace,
            "--create-namespace",
            "--wait",
            "--timeout",
            "120s",
        ),
        *("--set", "image.repository=localhost/dicom-operator,image.tag=dev"),
        *("--set", "adapter.image.repository=localhost/dicom-adapter,adapter.image.tag=dev"),
        quiet=True,
    )
    run("kubectl", "--namespace", namespace, "get", "deployment")


def apply() -> tuple[str, str, str]:
    """Step 2: the adapter; returns its address, port and AE title."""
    say("2. Apply a DicomAdapter")
    run("kubectl", "apply", "-f", str(RESOURCE))
    run("kubectl", "wait", "--for=condition=Ready", "-f", str(RESOURCE), "--timeout=120s")
    run("kubectl", "get", "dicomadapters")
    found = json.loads(subprocess.run(["kubectl", "get", "-f", str(RESOURCE), "-o", "json"], check=True, stdout=subprocess.PIPE).stdout)
    address, port, ae_title = found["status"]["address"], str(found["spec"]["port"]), found["spec"]["aeTitle"]
    verify(address, port, ae_title)
    return address, port, ae_title


def verify(address: str, port: str, ae_title: str) -> None:
    """C-ECHO until it is answered: a new address gets its route on the node up to a second after Kubernetes tells it."""
    command = ("echoscu", "--timeout", "2", address, port, "-aec", ae_title)
    deadline = time.monotonic() + 20
    while subprocess.run(command, capture_output=True).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    run(*command)


def send(files: list[Path], address: str, port: str, ae_title: str) -> None:
    """Step 3: each image over DICOM, as a modality would send it."""
    say("3. Send images to it, as a modality does")
    os.environ["TCP_NODELAY"] = "1"  # Debian's dcmtk otherwise waits 40 ms for each image
    for file in files:
        output = run("dcmsend", "--verbose", address, port, str(file), "-aec", ae_title, quiet=True)
        summary = output[output.find("Status Summary") :].splitlines() if "Status Summary" in output else output.splitlines()[-4:]
        print("".join(f"  {line.removeprefix('I: ')}\n" for line in summary if line.removeprefix("I:").strip()), end="")


def missing(files: list[Path]) -> list[Path]:
    """Step 4: looks for each image in the store (QIDO-RS, PS3.18 10.6); returns those that are not there."""
    say("4. Find them in the store, over DICOMweb")
    lost = []
    for file in files:
        instance = dicom.instance(file)
        answer = run("curl", "--silent", "--fail", f"{STORE}/instances?SOPInstanceUID={instance.sop_instance_uid}", quiet=True)
        found = [item["00080018"]["Value"][0] for item in json.loads(answer or "[]")]
        stored = instance.sop_instance_uid in found
        print(f"  {'found' if stored else 'NOT IN THE STORE'}: {file.stem}")
        if not stored:
            lost.append(file)
    return lost


def main() -> int:
    """Runs the four steps; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--namespace", default="dicom-system", help="where the operator is installed (default %(default)s)")
    parser.add_argument("--enter", default="", help="the command that opens a shell in this cluster, for the closing words")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as directory:
            install(options.namespace)
            address, port, ae_title = apply()
            files = dicom.write_samples(Path(directory), IMAGES)
            send(files, address, port, ae_title)
            lost = missing(files)
        run("kubectl", "get", "dicomadapters")
    except StepFailed as failure:
        print(f"\nthe demo stopped: {failure}; what it printed is above", file=sys.stderr)
        return 1
    if lost:
        print(f"\n{len(lost)} of {len(files)} images are not in the store; the log of the adapter tells why:", file=sys.stderr)
        print("  kubectl logs -l app.kubernetes.io/name=dicom-adapter", file=sys.stderr)
        return 1
    print(f"\nAll {len(files)} images are in the store ({time.monotonic() - started:.0f} s). The cluster stays up; try next:")
    for command in (options.enter, "kubectl describe dicomadapter import", "kubectl explain dicomadapter.spec", "make demo-down"):
        if command:
            print(f"  {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
