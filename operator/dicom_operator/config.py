"""What the operator is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one operator process; made once, from arguments and environment."""

    adapter_image: str
    allowed_images: tuple[str, ...] = ()
    """Prefixes that `spec.image` may begin with, beside the adapter image itself."""
    namespaces: tuple[str, ...] = ()
    """Watched namespaces; empty = all."""
    operator_namespace: str = ""
    """Where the operator runs: its pods may read the adapters' HTTP port."""
    pod_name: str = "dicom-operator"
    lease: str = ""
    """Name of the Lease by which several replicas agree which one works; empty = there is only this one."""
    http_host: str = ""
    http_port: int = 8080
    log_format: str = "json"
    log_level: str = "info"
    workers: int = 4
    relist_seconds: float = 60.0
    """How often every kind is listed and compared with what the watches told."""
    resync_seconds: float = 600.0
    """How often an adapter is reconciled although nothing happened."""
    probe_seconds: float = 15.0
    """How often each adapter pod is asked for its `/status`."""
    close_seconds: float = 20.0
    """How long a running reconcile may take to end after SIGTERM."""

    def image_allowed(self, image: str) -> bool:
        """Whether `spec.image` may say this.

        The right to create a DicomAdapter must not be the right to run anything. The adapter image itself is allowed by
        equality, and a prefix ends where a part of the reference does: `ghcr.io/acme/dicom` does not allow `ghcr.io/acme/dicom-evil`.
        """
        return image == self.adapter_image or any(_within(image, prefix) for prefix in self.allowed_images)


def _within(image: str, prefix: str) -> bool:
    """Whether a prefix ends where a part of the reference ends; one that names a tag may end within the tag."""
    if not prefix or not image.startswith(prefix):
        return False
    repository, _, last = prefix.rpartition("/")
    return prefix[-1] in "/:@" or (repository != "" and ":" in last) or image[len(prefix) :][:1] in ("", "/", ":", "@")
