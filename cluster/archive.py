"""Container images without a registry: the docker-archive format, as `docker save` writes it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# Part of the key of what is written in it: an archive in an older form is not found again.
FORMAT = b"docker-archive with history"


def write_image(path: Path, reference: str, files: Mapping[str, bytes], entrypoint: Sequence[str]) -> None:
    """Write an image of one layer that holds the given executables."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, content in sorted(files.items()):
            _add(tar, name, content, 0o755)
    layer.seek(0)
    write_layer_image(path, reference, layer, {"Entrypoint": list(entrypoint)})


def write_layer_image(path: Path, reference: str, layer: io.BytesIO | io.BufferedReader, config: Mapping[str, object]) -> None:
    """Write an image of one layer, a tar file that can be read and rewound."""
    layer_digest = hashlib.file_digest(layer, "sha256").hexdigest()
    size = layer.seek(0, io.SEEK_END)
    layer.seek(0)
    image = json.dumps(
        {
            "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
            # One entry for each layer: buildah refuses to build on an image where they do not match.
            "history": [{"created_by": reference}],
        },
        sort_keys=True,
    ).encode()
    image_name = f"{hashlib.sha256(image).hexdigest()}.json"
    manifest = [{"Config": image_name, "RepoTags": [reference], "Layers": [f"{layer_digest}.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, image_name, image)
        header = tarfile.TarInfo(f"{layer_digest}.tar")
        header.size = size
        tar.addfile(header, layer)


def references(path: Path) -> list[str]:
    """Read the names of the images in an archive."""
    with tarfile.open(path) as tar:
        member = tar.extractfile("manifest.json")
        if member is None:
            return []
        with member:
            return [tag for image in json.load(member) for tag in image["RepoTags"] or []]


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(content), mode
    tar.addfile(header, io.BytesIO(content))
