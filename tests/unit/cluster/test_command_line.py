from pathlib import Path

import pytest

from cluster import cli, packages
from cluster.packages import Package
from cluster.paths import paths_from


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["start", "--name", "A b"], "argument --name: 'A b' is not 1 to 32 lower-case letters, digits and inner hyphens"),
        (["packages"], "one of the arguments --check --install is required"),
        (["api"], "the following arguments are required: --directory"),
        (["exec"], "the following arguments are required: COMMAND"),
        (["load"], "the following arguments are required: ARCHIVE"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_wrong(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]):
    for command in ("build", "packages", "start", "stop", "exec", "shell", "image", "load", "api", "helm"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert len(capsys.readouterr().out.splitlines()) > 3


def test_the_command_after_two_hyphens_is_left_as_it_is():
    options = cli.parser().parse_args(["exec", "--name", "x", "--", "kubectl", "exec", "pod", "--", "ls", "--name", "y"])
    assert options.name == "x"
    assert options.arguments == ["kubectl", "exec", "pod", "--", "ls", "--name", "y"]


def test_entering_a_cluster_that_does_not_run_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert cli.main(["exec", "--name", "x", "--", "true"]) == 1
    assert capsys.readouterr().err == "cluster: Cluster x is not running: start it with python3 -m cluster start --name x.\n"


def test_only_root_can_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["stop"]) == 1
    assert "needs root" in capsys.readouterr().err


def test_what_is_missing_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "there").touch(mode=0o755)
    known = [
        Package("a", "there"),
        Package("b", "absent"),
        Package("c", str(tmp_path / "absent.so")),
        Package("d", str(tmp_path / "there")),
    ]
    absent = packages.missing(known, str(tmp_path))
    assert [package.name for package in absent] == ["b", "c"]
    assert packages.describe(absent) == ("these Debian packages are missing: b c; run as root: apt-get install --no-install-recommends b c")


def test_directories_follow_the_environment():
    home = Path("/home/x")
    assert paths_from({}, home).cache == home / ".cache/dicom-operator"
    assert paths_from({"XDG_CACHE_HOME": "relative"}, home).cache == home / ".cache/dicom-operator"
    assert paths_from({"XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, home).cluster("n") == Path("/s/dicom-operator/clusters/n")
