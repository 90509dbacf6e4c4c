"""All targets by name: what is fed to each decoder, and from which seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tests.fuzz import client, dicomweb, dimse, exports, prefix, queries, upper_layer
from tests.fuzz.streams import stream_seeds


@dataclass(frozen=True, slots=True)
class Target:
    """`run` raises when what came of its input is not what is documented."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    longest: int = 4096


TARGETS = {
    "pdu-reader": Target(upper_layer.pdu_reader, stream_seeds),
    "associate-request": Target(upper_layer.associate_request, upper_layer.associate_request_seeds),
    "associate-acceptance": Target(upper_layer.associate_acceptance, upper_layer.associate_acceptance_seeds),
    "acceptor": Target(upper_layer.acceptor, stream_seeds),
    "requestor": Target(upper_layer.requestor, upper_layer.requestor_seeds),
    "primitives": Target(upper_layer.primitives, stream_seeds),
    "command": Target(dimse.command, dimse.command_seeds, 1024),
    "messages": Target(dimse.messages, dimse.message_seeds, 2048),
    "association": Target(dimse.association, stream_seeds),
    "client": Target(client.client, client.client_seeds),
    "answer": Target(dicomweb.answer, dicomweb.answer_seeds),
    "parts": Target(dicomweb.parts, dicomweb.parts_seeds),
    "native-model": Target(dicomweb.native_model, dicomweb.native_model_seeds),
    "identifier": Target(queries.identifier, queries.identifier_seeds),
    "result": Target(queries.result, queries.result_seeds),
    "prefix": Target(prefix.prefix, prefix.prefix_seeds, 2048),
    "told": Target(exports.told, exports.told_seeds, 1024),
    "image": Target(exports.image, exports.image_seeds, 2048),
    "comment": Target(dicomweb.comment, dicomweb.comment_seeds, 512),
}
_ALL = tuple(TARGETS.values())


def _run_one(data: bytes) -> None:
    if data:
        _ALL[data[0] % len(_ALL)].run(data[1:])


def _some_seeds() -> Iterator[bytes]:
    """Not all of those that are many."""
    for number, target in enumerate(_ALL):
        seeds = list(target.seeds())
        for seed in islice(seeds, 0, None, 1 + len(seeds) // 50):
            yield bytes((number,)) + seed


EVERY = Target(_run_one, _some_seeds)
"""All of them in one process, the first byte says which: the short form."""
