"""A one-node Kubernetes for tests and for the demo, in namespaces of its own, without Docker."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import api, baseimage, binaries, images, packages
from cluster.artefacts import Cache
from cluster.clusters import DEFAULT_NAME, Cluster, check_name
from cluster.errors import ClusterError
from cluster.paths import Paths, paths_from
from cluster.running import say

OK, FAILED = 0, 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = parser().parse_args(arguments)
    paths = paths_from(os.environ, Path.home())
    try:
        return dispatch(options, paths)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("cluster: interrupted", file=sys.stderr)
        return INTERRUPTED


def dispatch(options: argparse.Namespace, paths: Paths) -> int:
    """Hand the parsed options to the part that they are for."""
    match options.command:
        case "build":
            build(paths)
        case "packages" if options.install:
            packages.install(paths.cache / "logs")
        case "packages":
            return OK if packages.check() else FAILED
        case "start":
            cluster = Cluster(paths, options.name)
            archives = images.archives(paths, build=False)
            if len(archives) < len(images.IMAGES):
                say("the product's images are not built for the source as it is; python3 -m cluster image builds them")
            cluster.start(archives)
            print(cluster.hint())
        case "stop":
            Cluster(paths, options.name).stop()
        case "exec":
            Cluster(paths, options.name).execute(options.arguments)
        case "shell":
            Cluster(paths, options.name).execute([os.environ.get("SHELL", "/bin/sh")])
        case "image":
            print(*images.archives(paths, build=True), sep="\n")
        case "helm":
            helm = Cache(paths.cache).obtain(binaries.artefact(paths.source, binaries.HELM)) / "helm"
            os.execv(helm, ["helm", *options.arguments])
        case "load":
            Cluster(paths, options.name).load(options.archives)
        case "api":
            return api.run(paths, options.directory)
    return OK


def build(paths: Paths) -> None:
    """Fill the cache, so that nothing needs the network any more."""
    Cluster(paths, DEFAULT_NAME).obtain()
    Cache(paths.cache).obtain(binaries.artefact(paths.source, binaries.PUBSUB))
    Cache(paths.cache).obtain(baseimage.artefact())


def parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    top = argparse.ArgumentParser(
        prog="python3 -m cluster", description=__doc__, epilog="Each command has its own --help. Run from the root of the repository."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument(
        "--name", type=cluster_name, default=DEFAULT_NAME, help="which cluster; several can run at once (default: %(default)s)"
    )

    def add(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=parents)

    add("build", "build every program and the base image into the cache: about 10 minutes once, then nothing")
    group = add("packages", "say which Debian packages are missing, or install them").add_mutually_exclusive_group(required=True)
    group.add_argument("--check", action="store_true", help="exit status 1 and one line if any is missing")
    group.add_argument("--install", action="store_true", help="say what is missing and install it, as root")
    add("start", "start a cluster and return when it is Ready: about 15 s once everything is built; as root", named)
    add("stop", "end a cluster and remove all of it; fine if there is none", named)
    execute = add(
        "exec", "run a command in a cluster's network, same directory, as its administrator: exec [--name NAME] -- COMMAND...", named
    )
    execute.add_argument("arguments", nargs="+", metavar="COMMAND", help="the command, after --")
    add("shell", "a shell in a cluster's network, with kubectl and helm", named)
    add("image", "build the product's images from their Dockerfiles, unless they are built; prints the archives; as root")
    add("helm", "run the helm that the product is tested with, outside of any cluster").add_argument("arguments", nargs=argparse.REMAINDER)
    load = add("load", "load image archives into a running cluster", named)
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="docker-archive files")
    serve = add("api", "serve the Kubernetes API alone (etcd, API server, controller manager) on loopback, for any user, until interrupted")
    serve.add_argument("--directory", type=Path, required=True, help="where to keep its state: new or empty, left behind at the end")
    return top


def cluster_name(text: str) -> str:
    """Parse --name."""
    try:
        return check_name(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 32 lower-case letters, digits and inner hyphens") from None
