"""How many of what, in a sentence."""

from __future__ import annotations


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 image`, `4 images`; `nouns` where an s does not make them."""
    return f"{number} {noun if number == 1 else nouns or f'{noun}s'}"
