"""Sentences with a number, of one and of several."""

from __future__ import annotations

import pytest

from dicom_adapter import messages
from dicom_adapter.export import messages as export

SENTENCES = {
    messages.draining(0): "draining: 0 associations open",
    messages.draining(1): "draining: 1 association open",
    messages.draining(2): "draining: 2 associations open",
    messages.cut_off(1): "aborted at once on a second signal: 1 association was open",
    messages.cut_off(2): "aborted at once on a second signal: 2 associations were open",
    messages.association_ended("CT1", "10.0.0.1", "released", {}, 1, 0.1): "'CT1' from 10.0.0.1 released: no operations; 1 byte in 0.1 s",
    messages.association_ended("CT1", "10.0.0.1", "released", {}, 2, 0.1): "'CT1' from 10.0.0.1 released: no operations; 2 bytes in 0.1 s",
    messages.more_matches(1): "More than 1 match, it is sent; search narrower",
    messages.more_matches(5000): "More than 5000 matches, the first are sent; search narrower",
    messages.spool_adopted(1, "archive"): "found 1 image in the spool for 'archive': it is delivered now",
    messages.spool_adopted(20, "archive"): "found 20 images in the spool for 'archive': they are delivered now",
    messages.spool_orphaned(1, "archive"): (
        "found 1 image in the spool for 'archive', which is not in spec.destinations any more: it stays; add the destination again, or "
        "discard it with `dicom-adapter spool discard`"
    ),
    messages.spool_orphaned(3, "archive"): (
        "found 3 images in the spool for 'archive', which is not in spec.destinations any more: they stay; add it again, or discard them "
        "with `dicom-adapter spool discard`"
    ),
    messages.leftovers_adopted(1): "found 1 file that Google's adapter has left in the spool's directory: it is delivered now",
    messages.leftovers_adopted(4): "found 4 files that Google's adapter has left in the spool's directory: they are delivered now",
    messages.left_in_spool(1): "1 image is undelivered: it stays in the spool, and the next start delivers it",
    messages.left_in_spool(4): "4 images are undelivered: they stay in the spool, and the next start delivers them",
    messages.damaged_length(1, 900): "it has 1 byte instead of 900",
    messages.damaged_length(800, 900): "it has 800 bytes instead of 900",
    export.drained(0): "drained: nothing was left in hand",
    export.drained(1): "drained: 1 message given back to Pub/Sub",
    export.drained(3): "drained: 3 messages given back to Pub/Sub",
}


@pytest.mark.parametrize(("said", "sentence"), SENTENCES.items(), ids=SENTENCES.values())
def test_one_is_said_of_one(said: str, sentence: str) -> None:
    assert said == sentence
