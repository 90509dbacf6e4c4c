import json
import tarfile
from pathlib import Path

import pytest

from cluster import baseimage, binaries, cgroups, images
from cluster.archive import references, write_image
from cluster.controlplane import render_kubeconfig
from cluster.linux import Process
from cluster.node import Binaries, Node
from cluster.record import Record

NODE = Node(Binaries(Path("/b/kube"), Path("/b/coredns"), Path("/b/helm"), Path("/b/pause")), Path("/state/x"), "localhost/pause:1")


def test_a_node_survives_being_written_and_read(tmp_path: Path):
    record = Record(tmp_path)
    record.write(NODE, [Path("/a.tar")])
    assert record.node() == NODE
    assert record.images() == [Path("/a.tar")]


def test_every_component_is_told_where_its_file_is():
    commands = NODE.commands()
    for name, file in {"containerd": "containerd.toml", "kubelet": "kubelet.yaml", "proxy": "proxy.yaml", "coredns": "Corefile"}.items():
        assert file in NODE.files()
        assert any(argument.endswith(f"/state/x/{file}") for argument in commands[name])


def test_the_store_keeps_what_it_is_sent():
    orthanc = json.loads(NODE.files()["orthanc.json"])
    assert orthanc["OverwriteInstances"] is True
    assert orthanc["UnknownSopClassAccepted"] is True
    assert "IngestTranscoding" not in orthanc


def test_a_kubeconfig_needs_no_other_file():
    document = json.loads(render_kubeconfig("https://127.0.0.1:1", b"ca", b"certificate", b"key"))
    assert document["clusters"][0]["cluster"] == {"server": "https://127.0.0.1:1", "certificate-authority-data": "Y2E="}


def test_an_image_names_itself_and_its_layer(tmp_path: Path):
    path = tmp_path / "image.tar"
    write_image(path, "localhost/x:1", {"x": b"program"}, ["/x"])
    assert references(path) == ["localhost/x:1"]
    with tarfile.open(path) as tar:
        names = tar.getnames()
        layer = next(name for name in names if name.endswith(".tar"))
        member = tar.extractfile(next(name for name in names if name != "manifest.json" and name.endswith(".json")))
        assert member is not None
        config = json.load(member)
    assert config["rootfs"]["diff_ids"] == [f"sha256:{layer.removesuffix('.tar')}"]
    assert len(config["history"]) == 1


def test_binaries_are_stamped_with_the_version_of_their_module():
    flags = binaries.flags("module x\n\nrequire (\n\tk8s.io/kubernetes v1.36.1\n)\n")
    assert "gitVersion=v1.36.1 " in flags
    assert "gitMinor=36 " in flags
    assert binaries.flags("module x\n") == "-s -w"


@pytest.mark.parametrize(
    ("text", "version"), [("go1.26.8", (1, 26)), ("module x\n\ngo 1.26.0\n", (1, 26)), ("", (0, 0)), ("devel", (0, 0))]
)
def test_go_versions_are_read(text: str, version: tuple[int, int]):
    assert binaries.go_version(text) == version


def test_what_a_dockerfile_copies_is_part_of_its_image():
    text = "FROM x\nCOPY a/one.txt b.txt \\\n  c/\nCOPY --from=build /opt /opt\nCOPY --chown=1:1 d/ d/\n# COPY e f\nRUN x\n"
    assert images.copied(text) == ["a/one.txt", "b.txt", "d"]


def test_settings_of_pip_come_from_files_and_then_from_variables(tmp_path: Path):
    file = tmp_path / "pip.conf"
    file.write_text("[global]\ncert = /old\nindex-url = https://index.example/simple\n")
    settings = images.pip_settings({"PIP_CERT": "/new", "PIP_NO_INDEX": "1", "HOME": "/x", "PIP_EMPTY": ""}, [file])
    assert settings == {"cert": "/new", "index-url": "https://index.example/simple", "no-index": "1"}


def test_certificates_are_mounted_where_debian_has_them(tmp_path: Path):
    bundle, configuration = tmp_path / "bundle.pem", tmp_path / "pip.conf"
    bundle.touch()
    volumes = images.pip_volumes({"PIP_CERT": str(bundle), "PIP_FIND_LINKS": f"{tmp_path}/absent {tmp_path}"}, configuration)
    assert volumes == {
        str(configuration): "/etc/pip.conf",
        str(bundle): "/etc/ssl/certs/ca-certificates.crt",
        str(tmp_path): str(tmp_path),
    }
    assert "cert = /etc/ssl/certs/ca-certificates.crt\n" in configuration.read_text()
    assert f"find-links = {tmp_path}\n" in configuration.read_text()


def test_the_mirror_is_the_one_that_the_machine_uses():
    targets = "https://other.example/ubuntu/ jammy main\nhttps://mirror.example/debian/ bookworm main\n"
    assert baseimage.debian_mirror(targets, "bookworm") == "https://mirror.example/debian/"
    assert baseimage.debian_mirror("", "bookworm") is None


def test_a_process_is_not_taken_for_an_earlier_one_of_the_same_id(tmp_path: Path):
    process = Process.of(1)
    assert process is not None
    assert process.alive()
    earlier = Process(process.pid, process.started - 1, process.boot)
    earlier.write(tmp_path / "init")
    assert Process.read(tmp_path / "init") == earlier
    assert not earlier.alive()
    # Were it not told apart from process 1, this would send it a signal.
    assert earlier.kill(0)


def test_only_control_groups_of_containers_are_removed(tmp_path: Path):
    assert cgroups.container_groups(["4:memory:/k8s.io/abc", "3:cpu:/", "0::/k8s.io/abc", "1:name=systemd:/user.slice"]) == {"/k8s.io/abc"}
    (tmp_path / "memory/k8s.io/abc/below").mkdir(parents=True)
    (tmp_path / "memory/k8s.io/other").mkdir()
    assert cgroups.remove(["/k8s.io/abc"], tmp_path) == []
    assert [entry.name for entry in (tmp_path / "memory/k8s.io").iterdir()] == ["other"]
