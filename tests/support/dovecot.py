"""A real Dovecot on loopback with a certificate of its own authority, for tests of mail accounts."""

import contextlib
import datetime as dt
import grp
import imaplib
import ipaddress
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "me@home.example", 'pass "word\\ ü'


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Authority:
    """A certificate authority for one test run; `ca` is its certificate as PEM text."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path, *, name: str = "House") -> "Authority":
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key.public_key(), days=10)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(folder, key, certificate)

    @property
    def ca(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(
        self, name: str, *, hosts: tuple[str, ...] = ("localhost", "127.0.0.1"), days: int = 5
    ) -> tuple[Path, Path]:
        """Return the files of a certificate and its key; negative days make it expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        for host in hosts:
            with contextlib.suppress(ValueError):
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
                continue
            names.append(x509.DNSName(host))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, self.certificate.subject, key.public_key(), days=days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        crt, pem = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return crt, pem


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
    )


@dataclass
class Dovecot:
    """One server with one account. `separator` and `prefix` shape its mailbox names."""

    folder: Path
    authority: Authority
    certificate: tuple[Path, Path]
    separator: str = "/"
    prefix: str = ""
    address: str = "127.0.0.1"
    tls_port: int = field(default_factory=free_port)
    plain_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Return the name that its certificate carries."""
        return "localhost" if self.address == "127.0.0.1" else self.address

    def start(self) -> None:
        """Start and wait until it greets."""
        program = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin")
        assert program, "dovecot is missing: apt-get install dovecot-imapd"
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "dovecot.conf"
        config.write_text(self._config(), encoding="utf-8")
        self.process = subprocess.Popen([program, "-F", "-c", str(config)], start_new_session=True)
        for _ in range(200):
            if self._greets():
                return
            assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")
            time.sleep(0.05)
        raise AssertionError("dovecot did not start")

    def stop(self) -> None:
        """Kill the server and its helpers at once: what started it started a process group.

        Returns when its ports are closed: the kernel ends a helper, and what it listens on, a moment after its parent.
        """
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        self.process = None
        for port in (self.tls_port, self.plain_port):
            self._until_closed(port)

    def _greets(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.plain_port), timeout=2) as link:
            return link.recv(64).startswith(b"* OK")
        return False

    def _until_closed(self, port: int) -> None:
        for _ in range(200):
            try:
                socket.create_connection((self.address, port), timeout=1).close()
            except ConnectionRefusedError:
                return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"port {port} stays open")

    def client(self) -> imaplib.IMAP4_SSL:
        """Return a signed-in client that may change the account."""
        context = ssl.create_default_context(cadata=self.authority.ca)
        client = imaplib.IMAP4_SSL(self.host, self.tls_port, ssl_context=context, timeout=20)
        client.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())
        return client

    def wipe(self) -> None:
        """Forget all mails and mailboxes, as a new account (the server must not run)."""
        shutil.rmtree(self.folder / "mail", ignore_errors=True)

    def _config(self) -> str:
        root = os.geteuid() == 0
        uid, gid = (10001, 10001) if root else (os.geteuid(), os.getegid())
        for name in ("mail", "run", "state"):
            (self.folder / name).mkdir(exist_ok=True)
        if root:
            # Dovecot reads mail as another user than root, who must be able to walk here.
            os.chown(self.folder / "mail", uid, gid)
            for path in (self.folder, *self.folder.parents):
                if not path.stat().st_mode & 0o001:
                    path.chmod(path.stat().st_mode | 0o011)
        (self.folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}:{uid}:{gid}::{self.folder}::\n")
        crt, pem = self.certificate
        me, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        # As root the package's own users are taken; another user can only run everything as itself.
        users = (
            "" if root else f"default_internal_user = {me}\ndefault_login_user = {me}\ndefault_internal_group = {group}"
        )
        return f"""
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/log
protocols = imap
listen = {self.address}
{users}
first_valid_uid = 0
ssl = required
ssl_cert = <{crt}
ssl_key = <{pem}
disable_plaintext_auth = yes
auth_mechanisms = plain login
auth_username_chars =
mail_location = maildir:{self.folder}/mail:LAYOUT=fs
mail_max_userip_connections = 100
namespace inbox {{
  inbox = yes
  separator = {self.separator}
  prefix = {self.prefix}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {self.folder}/users
}}
userdb {{
  driver = passwd-file
  args = {self.folder}/users
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.plain_port}
  }}
  inet_listener imaps {{
    port = {self.tls_port}
    ssl = yes
  }}
}}
service stats {{
  chroot =
}}
"""


@contextlib.contextmanager
def running(server: Dovecot) -> Iterator[Dovecot]:
    """Run a server inside the block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
