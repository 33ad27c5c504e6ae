"""What a machine is given, and what the cluster is told of it."""

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hearth_api.kinds import InferenceNode
from hearth_api.kinds.node import AcceleratorType
from hearth_node.bundle import (
    Authority,
    make_bundle,
    make_token,
    node_manifest,
    read_authority,
    read_bundle,
    secret_manifests,
    write_bundle,
)  # fmt: skip
from hearth_node.cluster import Kubectl, invite
from hearth_node.errors import NodeError
from hearth_node.main import main
from hearth_node.tls import check_certificate, key_pem, read_certificate, read_facts
from support.node_front import NOW, authority

KEY, CERTIFICATE = authority()
PEM = serialization.Encoding.PEM
CA = {"ca.crt": CERTIFICATE.public_bytes(PEM), "ca.key": key_pem(KEY)}


def a_bundle(**given):
    wish = {"name": "studio", "namespace": "hearth", "hosts": ("10.10.12.5",), "ports": (8000, 8265)}
    wish |= {"tokens": ("s" * 43, "r" * 43), "invited": True, "now": NOW}
    return make_bundle(Authority(CERTIFICATE, KEY), **{**wish, **given})


def test_a_bundle_holds_a_certificate_that_the_cluster_trusts():
    bundle = a_bundle()
    made = read_certificate(bundle.certificate.encode())
    check_certificate(made, authority=CERTIFICATE, hosts=["10.10.12.5"], now=NOW + timedelta(days=89))
    assert read_facts(made).invited
    assert not read_facts(read_certificate(a_bundle(invited=False).certificate.encode())).invited
    key = serialization.load_pem_private_key(bundle.key.encode(), None)
    assert key.public_key() == made.public_key()


def test_the_file_is_its_owners_and_says_when_it_is_not(tmp_path):
    path = tmp_path / "b.json"
    write_bundle(a_bundle(), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_bundle(path).name == "studio"
    path.chmod(0o644)
    with pytest.raises(NodeError, match="chmod 600"):
        read_bundle(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"name": "Studio!"}'])
def test_what_is_no_bundle_is_said(tmp_path, text):
    path = tmp_path / "b.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(NodeError, match="not a bundle"):
        read_bundle(path)


def test_a_bundle_from_the_future_tells_of_the_clock(tmp_path, capsys):
    path = tmp_path / "b.json"
    write_bundle(a_bundle(now=datetime.now(UTC) + timedelta(days=1)), path)
    assert main(["join", "--bundle", str(path), "--release", "x", "--prefix", str(tmp_path / "p")]) == 1
    assert "24.0 hours in the future of this clock: set the clock" in capsys.readouterr().err


def test_no_secret_shows_in_a_repr():
    text = repr(a_bundle())
    assert "s" * 43 not in text
    assert "PRIVATE" not in text


def test_the_clusters_secrets_hold_no_private_key():
    for manifest in secret_manifests(a_bundle()):
        assert set(manifest["stringData"]) == {"token", "ca.crt"}
        assert "PRIVATE" not in json.dumps(manifest)


@pytest.mark.parametrize("host", ["10.10.12.5", "studio.lan", "fd00::5"])
def test_the_resource_is_valid_and_leads_to_the_machine(host):
    manifest = node_manifest(
        a_bundle(hosts=(host,)), accelerator=AcceleratorType.METAL, memory=400 << 30, reserve=1 << 30
    )
    node = InferenceNode.model_validate(yaml.safe_load(yaml.safe_dump(manifest)))
    shown = f"[{host}]" if ":" in host else host
    assert node.spec.external.dashboard_url == f"https://{shown}:8265"
    assert node.spec.external.ray_node_labels == {"hearth-node": "studio"}


def test_tokens_are_long_and_differ():
    made = {make_token(lambda n, i=i: bytes([i]) * n) for i in range(3)}
    assert {len(token) for token in made} == {43}
    assert len(made) == 3


@pytest.mark.parametrize("entries", [{}, {"ca.crt": b"x", "ca.key": b"y"}, {**CA, "ca.key": b""}])
def test_an_authority_that_is_none_is_said(entries):
    with pytest.raises(NodeError, match="hearth-ca"):
        read_authority(entries)


class Cluster:
    """Stands for kubectl."""

    def __init__(self, **secrets):
        self.secrets, self.applied, self.commands = secrets, [], []

    def __call__(self, command, **given):
        self.commands.append(command)
        verb, out, err = command[3], "", ""
        if verb == "get":
            entries = self.secrets.get(command[5].replace("-", "_"))
            if entries is not None:
                out = json.dumps({"data": {k: base64.b64encode(v).decode() for k, v in entries.items()}})
        elif verb == "create":
            out = json.dumps({"metadata": {"creationTimestamp": "2026-11-23T12:00:00Z"}})
        elif verb == "apply":
            self.applied += json.loads(given["input"])["items"]
        return subprocess.CompletedProcess(command, 0, out, err)


def ask(cluster, monkeypatch, **given):
    monkeypatch.setattr("hearth_node.cluster.subprocess.run", cluster)
    wish = {"name": "studio", "hosts": ("10.10.12.5",), "ports": (8000, 8265), "invited": True, "new_tokens": False}
    return invite(Kubectl(("kubectl",), "hearth"), random_bytes=lambda n: b"n" * n, **{**wish, **given})


def test_an_invitation_makes_both_secrets_by_the_clusters_clock(monkeypatch):
    cluster = Cluster(hearth_ca=CA)
    bundle = ask(cluster, monkeypatch)
    assert bundle.issued == NOW
    assert [m["metadata"]["name"] for m in cluster.applied] == ["hearth-ray-studio", "hearth-serve-studio"]
    assert not any(bundle.ray_token in " ".join(command) for command in cluster.commands)


def test_who_joins_again_keeps_the_tokens_unless_new_ones_are_asked_for(monkeypatch):
    cluster = Cluster(hearth_ca=CA, hearth_ray_studio={"token": b"r" * 43}, hearth_serve_studio={"token": b"s" * 43})
    assert ask(cluster, monkeypatch).ray_token == "r" * 43
    assert ask(cluster, monkeypatch, new_tokens=True).ray_token != "r" * 43


def test_a_cluster_without_an_authority_is_said(monkeypatch):
    with pytest.raises(NodeError, match="the operator makes it when it starts"):
        ask(Cluster(), monkeypatch)


def test_kubectl_that_fails_or_is_missing_is_a_sentence(monkeypatch):
    def refused(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "trace\nerror: You must be logged in\n")

    with pytest.raises(NodeError, match="kubectl get failed: error: You must be logged in"):
        ask(refused, monkeypatch)

    def missing(command, **_):
        raise FileNotFoundError

    with pytest.raises(NodeError, match="kubectl is not installed here"):
        ask(missing, monkeypatch)


def test_x509_is_what_openssl_reads():
    assert x509.load_pem_x509_certificates(a_bundle().authority.encode())[0] == CERTIFICATE
