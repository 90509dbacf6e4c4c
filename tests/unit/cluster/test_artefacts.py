import multiprocessing
from pathlib import Path

import pytest

from cluster.artefacts import KEPT, Artefact, Cache, digest, read_tree
from cluster.errors import CommandFailed
from cluster.running import Task


def test_a_digest_depends_on_names_and_contents_and_not_on_order():
    assert digest({"a": b"1", "b": b"2"}) == digest({"b": b"2", "a": b"1"})
    assert len({digest({"a": b"bc"}), digest({"ab": b"c"}), digest({"a": b"b", "c": b""}), digest({"a": b"bd"})}) == 4


def test_a_tree_is_read_without_what_is_left_out(tmp_path: Path):
    (tmp_path / "package/__pycache__").mkdir(parents=True)
    (tmp_path / "package/module.py").write_text("x")
    (tmp_path / "package/__pycache__/module.pyc").write_text("y")
    (tmp_path / "run").write_text("z")
    (tmp_path / "run").chmod(0o755)
    assert read_tree(tmp_path, without=["**/__pycache__"]) == {"- package/module.py": b"x", "x run": b"z"}


def artefact(key: str, content: str = "built") -> Artefact:
    def build(output: Path, _task: Task) -> None:
        (output / "file").write_text(content)

    return Artefact("thing", key, "a moment", build)


def test_what_was_built_is_not_built_again(tmp_path: Path):
    cache = Cache(tmp_path)
    assert not cache.holds(artefact("k"))
    assert (cache.obtain(artefact("k")) / "file").read_text() == "built"
    assert (cache.obtain(artefact("k", "anew")) / "file").read_text() == "built"
    assert cache.holds(artefact("k"))


def test_a_build_that_fails_leaves_nothing_to_be_found(tmp_path: Path):
    cache = Cache(tmp_path)

    def fail(output: Path, task: Task) -> None:
        (output / "half").write_text("")
        task.run(["sh", "-c", "echo what is wrong; exit 3"])

    broken = Artefact("thing", "k", "a moment", fail)
    with pytest.raises(CommandFailed) as failure:
        cache.obtain(broken)
    log = tmp_path / "logs/thing.log"
    assert str(failure.value) == (
        f"thing failed: sh ended with exit status 3. The end of {log}:\n  | + sh -c echo what is wrong; exit 3\n  | what is wrong"
    )
    assert not cache.holds(broken)
    assert list((tmp_path / "thing").iterdir()) == []


def build_and_count(root: Path) -> None:
    def build(output: Path, _task: Task) -> None:
        with (root / "builds").open("a") as builds:
            builds.write("x")
        (output / "file").write_text("")

    Cache(root).obtain(Artefact("thing", "k", "a moment", build))


def test_two_processes_do_not_build_the_same(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=build_and_count, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "builds").read_text() == "x"


def test_only_the_latest_are_kept(tmp_path: Path):
    cache = Cache(tmp_path)
    for number in range(KEPT + 2):
        cache.obtain(artefact(str(number)))
    left = {entry.name for entry in (tmp_path / "thing").iterdir()}
    assert len(left) == KEPT
    assert str(KEPT + 1) in left


def test_a_long_build_shows_that_it_lives(tmp_path: Path):
    said: list[str] = []
    Task("thing", "about a moment", tmp_path / "log", said.append, progress_seconds=0.05).run(["sleep", "0.2"])
    assert said
    assert said[0] == "  thing: 0 s so far; about a moment"
