"""What a message says, what a status means, when a circuit opens: the parts by themselves."""

import asyncio

import pytest

from dicom_adapter.config import DicomStore
from dicom_adapter.delivery.verdict import Outcome, Verdict
from dicom_adapter.export import notification
from dicom_adapter.export.attempts import Attempts, Recent, pause
from dicom_adapter.export.circuit import Circuit
from dicom_adapter.export.events import ROWS, TABLE, Action, Event, Reason, Trouble, of_answer, of_status, of_verdict
from dicom_adapter.export.fetch import Budget
from dicom_adapter.export.leases import Leases
from dicom_adapter.export.peer import Contexts
from dicom_adapter.export.pubsub import Invalid, Unreachable, received
from tests.support import fakeclock

PATH = "projects/p/locations/l/datasets/d/dicomStores/s"
STORE = DicomStore(f"https://healthcare.googleapis.com/v1/{PATH}/dicomWeb", PATH)
ORTHANC = DicomStore("http://orthanc:8042/dicom-web")


# -- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        (f"{PATH}/dicomWeb/studies/1.2/series/1.3/instances/1.4", "/studies/1.2/series/1.3/instances/1.4"),
        (f"/{PATH}/dicomWeb/studies/1.2/", "/studies/1.2"),
        ("/studies/1.2/series/1.3\n", "/studies/1.2/series/1.3"),
    ],
)
def test_a_message_names_what_is_in_the_store(text, resource):
    assert notification.read(text.encode(), {}, STORE).resource == resource


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "studies",
        "studies/",
        f"{PATH}x/dicomWeb/studies/1.2",
        f"{PATH}/dicomWeb/../../other/dicomWeb/studies/1.2",
        f"{PATH}/studies/1.2",
        "https://evil.example/studies/1.2",
        "//evil.example/studies/1.2",
        "studies/1.2/series/1.3/instances/1.4/frames/1",
        "studies/1.2/series/1.3/instances/1.4?x=y",
        "studies/1.2%2f..",
        "studies/..",
        "studies/1..2",
        "studies/1.02",
        "studies/" + "1." * 40 + "1",
        "studies/1.2 \u00e9",
        "x" * 3000,
    ],
)
def test_anything_else_is_never_fetched(text):
    with pytest.raises(notification.Unreadable):
        notification.read(text.encode(), {}, STORE)


def test_a_store_that_is_none_of_googles_takes_the_short_form_only():
    assert notification.read(b"studies/1.2", {}, ORTHANC).study == "1.2"
    with pytest.raises(notification.Unreadable):
        notification.read(f"{PATH}/dicomWeb/studies/1.2".encode(), {}, ORTHANC)


@pytest.mark.parametrize(
    ("action", "arrival"),
    [
        ("", True),
        ("StoreInstances", True),
        ("ImportDicomData", True),
        ("SomethingNew", True),
        ("SetBlobSettings", False),
        ("DeleteSeries", False),
    ],
)
def test_an_action_that_nobody_knows_is_an_arrival(action, arrival):
    assert notification.read(b"studies/1.2", {"action": action} if action else {}, STORE).arrival is arrival


def test_what_pub_sub_sends_is_read_whatever_is_missing():
    assert received({}).data == b""
    assert received({"message": {"data": "no base64!"}}).data == b"\xff"
    one = received({"ackId": "a", "deliveryAttempt": 3, "message": {"messageId": "m", "publishTime": "2026-11-25T14:25:33.741368587Z"}})
    assert (one.handle, one.id, one.attempt) == ("a", "m", 3)
    assert one.published == pytest.approx(1795616733.741368)
    assert received({"message": {"publishTime": "2026-11-25T15:25:33+01:00"}}).published == 1795616733.0
    assert received({"message": {"publishTime": "yesterday", "attributes": ["no"]}}).published == 0.0


# -- the table -------------------------------------------------------------------------------------


def test_every_event_has_one_row():
    assert [row.event for row in TABLE] == list(ROWS)
    assert set(ROWS) == set(Event)
    assert all((row.side is not None) == (row.action is Action.HOLD) for row in TABLE)


@pytest.mark.parametrize(
    ("code", "event"),
    [
        (0x0000, Event.STORED),
        (0xB000, Event.STORED_WITH_WARNING),
        (0xB007, Event.STORED_WITH_WARNING),
        (0xA700, Event.DESTINATION_UNAVAILABLE),
        (0xA7FF, Event.DESTINATION_UNAVAILABLE),
        (0x0124, Event.DESTINATION_UNAVAILABLE),
        (0xA900, Event.REFUSED),
        (0xC123, Event.REFUSED),
        (0x0122, Event.REFUSED),
        (0x0110, Event.FAILED),
        (0x0111, Event.FAILED),
        (0xFE00, Event.FAILED),
    ],
)
def test_what_a_c_store_status_means(code, event):
    assert of_status(code) is event


def test_what_the_verdict_of_a_store_means():
    assert of_verdict(Verdict(Outcome.STORED, 0)) is Event.STORED
    assert of_verdict(Verdict(Outcome.STORED, 0xB000)) is Event.STORED_WITH_WARNING
    assert of_verdict(Verdict(Outcome.INSTANCE_REFUSED, 0xC000)) is Event.REFUSED
    assert of_verdict(Verdict(Outcome.TRANSIENT, 0xA700)) is Event.DESTINATION_UNAVAILABLE
    assert of_verdict(Verdict(Outcome.DESTINATION_UNAVAILABLE, 0x0124)) is Event.DESTINATION_UNAVAILABLE


def test_what_an_answer_of_the_source_means():
    assert {of_answer(code) for code in (404, 410)} == {Event.NOT_THERE}
    assert {of_answer(code) for code in (301, 401, 403, 408, 429, 500, 503)} == {Event.SOURCE_UNAVAILABLE}
    assert {of_answer(code) for code in (400, 406, 415)} == {Event.UNREADABLE}


# -- attempts --------------------------------------------------------------------------------------


def test_pauses_double_up_to_ten_minutes():
    assert [pause(attempt) for attempt in (1, 2, 3, 6, 7, 8, 1000)] == [10, 20, 40, 320, 600, 600, 600]


def test_a_suspect_counts_only_when_others_got_through():
    stored = 0
    attempts = Attempts(lambda: stored)
    assert [attempts.suspect("m") for _ in range(3)] == [0, 0, 0]
    stored = 1
    assert [attempts.suspect("m") for _ in range(3)] == [1, 1, 1]
    attempts.forget("m")
    assert attempts.suspect("m") == 0


def test_what_is_remembered_is_bounded():
    attempts, recent = Attempts(lambda: 0), Recent(lambda: 0.0)
    for number in range(20_000):
        attempts.count(str(number))
    assert attempts.count("0") == 1
    for number in range(100_001):
        recent.add((str(number), ""))
    assert ("0", "") not in recent
    assert ("1", "") in recent


# -- circuits --------------------------------------------------------------------------------------


def test_a_circuit_probes_at_growing_pauses_and_lets_one_try():
    async def main():
        loop = asyncio.get_running_loop()
        asked: list[float] = []
        told: list[Trouble | None] = []
        trouble: Trouble | None = Trouble(Reason.REFUSED, "down")

        async def probe() -> Trouble | None:
            asked.append(loop.time())
            return trouble

        circuit = Circuit(probe, told.append, random=lambda: 1.0)
        circuit.fail(Trouble(Reason.REFUSED, "down"))
        passing = [asyncio.create_task(circuit.passage()) for _ in range(3)]
        await asyncio.sleep(200)
        assert asked == pytest.approx([1, 3, 7, 15, 31, 63, 123, 183])
        assert not any(task.done() for task in passing)
        trouble = None
        await asyncio.sleep(60)
        assert [task.done() for task in passing] == [True, False, False]
        circuit.fail(Trouble(Reason.FAILING, "A700"))  # it answers, and fails all the same
        await asyncio.sleep(2.5)
        assert [task.done() for task in passing] == [True, True, False]
        circuit.succeed()
        await asyncio.sleep(0.01)
        assert passing[2].done()
        assert told == [Trouble(Reason.REFUSED, "down"), Trouble(Reason.FAILING, "A700"), None]
        await circuit.end()

    fakeclock.run(main)


def test_many_failures_at_once_are_one_outage():
    async def main():
        asked: list[float] = []

        async def probe() -> Trouble | None:
            asked.append(asyncio.get_running_loop().time())
            return None

        circuit = Circuit(probe, lambda trouble: None, random=lambda: 1.0)
        for _ in range(32):
            circuit.fail(Trouble(Reason.REFUSED, "down"))
        await asyncio.wait_for(circuit.closed(), 10)
        assert asked == [1.0]

    fakeclock.run(main)


def test_who_tried_and_learnt_nothing_hands_the_turn_on():
    async def main():
        async def probe() -> Trouble | None:
            return None

        circuit = Circuit(probe, lambda trouble: None, random=lambda: 1.0)
        circuit.fail(Trouble(Reason.REFUSED, "down"))
        first, second = (asyncio.create_task(circuit.passage()) for _ in range(2))
        await asyncio.sleep(1.5)
        assert (first.done(), second.done()) == (True, False)
        circuit.undecided()
        await asyncio.sleep(0.01)
        assert second.done()
        assert circuit.open
        circuit.undecided()
        assert not circuit.open  # nobody is left to try it

    fakeclock.run(main)


# -- leases ----------------------------------------------------------------------------------------


class _Client:
    def __init__(self) -> None:
        self.acknowledged: list[list[str]] = []
        self.modified: list[tuple[list[str], int]] = []
        self.errors: list[Exception] = []

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    async def acknowledge(self, handles):
        self._fail()
        self.acknowledged.append(list(handles))

    async def modify(self, handles, seconds):
        self._fail()
        self.modified.append((list(handles), seconds))


def _leases(client: _Client, late: list[int] | None = None) -> Leases:
    return Leases(client, expired=(late if late is not None else []).append)  # type: ignore[arg-type]


def test_what_is_in_work_stays_ours_and_what_is_done_goes_out_in_batches():
    async def main():
        client = _Client()
        late: list[int] = []
        leases = _leases(client, late)
        task = asyncio.create_task(leases.run())
        leases.take(map(str, range(1200)))
        await asyncio.sleep(30)
        assert {seconds for _, seconds in client.modified} == {10}
        assert max(len(handles) for handles, _ in client.modified) == 500
        assert not late
        client.modified.clear()
        for number in range(1200):
            leases.done(str(number))
        await asyncio.sleep(0.1)
        assert [len(batch) for batch in client.acknowledged] == [500, 500, 200]
        assert leases.undone == 0
        await asyncio.sleep(30)
        assert not client.modified
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    fakeclock.run(main)


def test_an_acknowledgement_that_is_not_taken_is_sent_again_and_its_message_stays_ours():
    async def main():
        client = _Client()
        leases = _leases(client)
        task = asyncio.create_task(leases.run())
        leases.take(["a", "b"])
        client.errors = [Unreachable("no"), Unreachable("no"), Invalid("no")]
        leases.done("a")
        await asyncio.sleep(5)
        assert not client.acknowledged  # the third was refused for good: it comes again if it is still there
        leases.done("b")
        leases.postpone("b", 5000)
        await asyncio.sleep(1)
        assert client.acknowledged == [["b"]]
        assert client.modified[-1] == (["b"], 600)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    fakeclock.run(main)


def test_at_the_end_everything_that_is_not_done_is_given_back():
    async def main():
        client = _Client()
        leases = _leases(client)
        leases.take(["a", "b", "c"])
        leases.done("b")
        await leases.give_back(5)
        assert client.acknowledged == [["b"]]
        assert [(sorted(handles), seconds) for handles, seconds in client.modified] == [(["a", "c"], 0)]
        client.errors = [Unreachable("no")]
        leases.take(["d"])
        await leases.give_back(5)  # does not raise

    fakeclock.run(main)


# -- bounds ----------------------------------------------------------------------------------------


def test_bytes_in_flight_are_bounded_and_one_that_is_larger_goes_alone():
    async def main():
        budget = Budget(10)
        order: list[str] = []

        async def use(name: str, size: int) -> None:
            async with budget.hold(size):
                order.append(f"+{name}")
                await asyncio.sleep(1)
                order.append(f"-{name}")

        await asyncio.gather(use("a", 6), use("b", 4), use("c", 50))
        assert order == ["+a", "+b", "-a", "-b", "+c", "-c"]
        assert budget.used == 0

    fakeclock.run(main)


def test_contexts_are_those_of_what_was_seen_last_the_native_ones_apart_and_never_more_than_an_association_has():
    contexts = Contexts()
    first = contexts.of("1.2.3", "1.2.840.10008.1.2.4.70")
    assert [context.transfer_syntaxes for context in first] == [
        ("1.2.840.10008.1.2.4.70",),
        ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
    ]
    assert contexts.of("1.2.3", "1.2.840.10008.1.2.4.70") is first
    for number in range(200):
        found = contexts.of(f"1.2.{number}", "1.2.840.10008.1.2")
        assert any(context.abstract_syntax == f"1.2.{number}" for context in found)
        assert len(found) <= 128
