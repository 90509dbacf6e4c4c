"""The mounted Secrets and ConfigMaps."""

from __future__ import annotations


def object_missing(what: str, name: str, namespace: str, directory: str) -> str:
    """Nothing is mounted: the Secret or ConfigMap does not exist."""
    where = f"does not exist in namespace '{namespace}'" if namespace else f"does not exist: there is nothing in {directory}"
    return f"{what} '{name}' {where}; create it, no restart is needed"


def key_missing(what: str, name: str, key: str, others: list[str]) -> str:
    """The Secret or ConfigMap is there, its key is not."""
    has = ", ".join(f"'{other}'" for other in others[:5])
    return f"{what} '{name}' has no key '{key}' (it has {has}); add it, no restart is needed"


def key_unusable(what: str, name: str, key: str, why: str) -> str:
    """The key holds something else than it should."""
    return f"{what} '{name}', key '{key}': {why}; correct it, no restart is needed"
