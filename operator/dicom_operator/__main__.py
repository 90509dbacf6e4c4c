"""The command line: arguments and environment to Config, and exit codes. The only reader of os.environ."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from dicom_operator import __version__
from dicom_operator.app import run
from dicom_operator.config import Config
from dicom_operator.errors import StartupError
from dicom_operator.logs import configure

LEASE = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Parser(argparse.ArgumentParser):
    """One line per mistake, exit 2."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and what to write instead."""
        found = re.fullmatch(r"unrecognized arguments: (\S+).*", message)
        if found:
            name = found[1].partition("=")[0]
            near = difflib.get_close_matches(name, self._option_string_actions, 1)
            message = f"{name}: no such flag; {f'did you mean {near[0]}?' if near else '--help lists them'}"
        self.exit(2, f"dicom-operator: {message}\n")


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="dicom-operator", description="Runs DICOM to DICOMweb adapters from DicomAdapter resources.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"dicom-operator {__version__}")
    parser.add_argument("--adapter-image", required=True, metavar="IMAGE", help="image of the adapter pods")
    parser.add_argument(
        "--allowed-image",
        action="append",
        default=[],
        metavar="PREFIX",
        help="what spec.image may begin with; repeatable",
    )
    parser.add_argument("--namespace", action="append", default=[], type=_namespace, help="namespace to watch; repeatable; default all")
    parser.add_argument("--operator-namespace", type=_namespace, help="namespace of the operator itself; default POD_NAMESPACE")
    parser.add_argument("--lease", type=_lease, metavar="NAME", help="Lease for electing a leader; default none")
    parser.add_argument("--http-port", type=_port, default=8080, metavar="PORT", help="/healthz, /readyz and /metrics; default 8080")
    parser.add_argument("--http-host", default="", metavar="HOST", help="address for them; default all")
    parser.add_argument("--log-format", choices=["json", "text"], default="json", help="default json")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info", help="default info")
    parser.add_argument("--relist-seconds", type=_seconds, default=60.0, help=argparse.SUPPRESS)
    parser.add_argument("--resync-seconds", type=_seconds, default=600.0, help=argparse.SUPPRESS)
    parser.add_argument("--probe-seconds", type=_seconds, default=15.0, help=argparse.SUPPRESS)
    return parser


def read_config(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Config from flags and environment; exits with 2 when a flag is wrong."""
    parser = build_parser()
    found = parser.parse_args(arguments)
    if not found.adapter_image.strip():
        parser.error("argument --adapter-image: must not be empty; write the image of the adapter")
    operator_namespace = found.operator_namespace or environment.get("POD_NAMESPACE", "")
    if found.lease and not operator_namespace:
        parser.error("argument --lease: is in the operator's own namespace; write --operator-namespace as well, or set POD_NAMESPACE")
    return Config(
        adapter_image=found.adapter_image,
        allowed_images=tuple(found.allowed_image),
        namespaces=tuple(dict.fromkeys(found.namespace)),
        operator_namespace=operator_namespace,
        pod_name=environment.get("POD_NAME") or "dicom-operator",
        lease=found.lease or "",
        http_host=found.http_host,
        http_port=found.http_port,
        log_format=found.log_format,
        log_level=found.log_level,
        relist_seconds=found.relist_seconds,
        resync_seconds=found.resync_seconds,
        probe_seconds=found.probe_seconds,
    )


def main() -> None:
    """Runs the operator: 0 after SIGTERM, 1 when it cannot go on, 2 for wrong flags."""
    config = read_config(sys.argv[1:], os.environ)
    log = configure(config.log_format, config.log_level, sys.stderr)
    try:
        asyncio.run(run(config, os.environ, log))
    except StartupError as error:
        log.error("%s", error)  # a sentence for a person, no traceback
        sys.exit(1)
    except Exception:
        log.exception("the operator ends")
        sys.exit(1)


def _namespace(text: str) -> str:
    if not NAMESPACE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no namespace; write lower-case letters, digits and '-'")
    return text


def _lease(text: str) -> str:
    if not LEASE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a Lease; write lower-case letters, digits, '-' and '.'")
    return text


def _port(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write seconds")
    return value


if __name__ == "__main__":
    main()
