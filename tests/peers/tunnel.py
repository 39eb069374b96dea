"""Programs that run as long as a `with` block: the tunnel, its server, local apps."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

# Set by `peers.py`: the folder with `ngrnotok` and `ngrnotok-server`, and the one for what the peers
# themselves need.
BINARIES = Path()
WORK = Path()

DOMAIN = "tunnel.test"


class Program:
    """A program whose lines go into files, so that nobody has to read along."""

    def __init__(self, args, folder, cwd=None, env=None):
        self.name = Path(args[0]).name
        self.lines = Path(tempfile.mkstemp(prefix=f"{self.name}-", suffix=".out", dir=folder)[1])
        self.log = self.lines.with_suffix(".err")
        with open(self.lines, "wb") as lines, open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(arg) for arg in args],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=log,
            )

    def line(self, begins, limit=15):
        """What follows `begins` in the first line that starts so, once it is there."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            for line in self.lines.read_text(errors="replace").splitlines(keepends=True):
                if line.startswith(begins) and line.endswith("\n"):
                    return line[len(begins) :].strip()
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        said = self.lines.read_text(errors="replace") + self.log.read_text(errors="replace")
        raise RuntimeError(f"{self.name} did not say {begins!r} but: {said[-2000:]}")

    def stop(self):
        """Its exit code, after TERM; None if it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(12)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            return None


class Tunnel:
    """A public URL: where visitors knock and what they say."""

    def __init__(self, client, host, port, authority=None):
        self.client = client
        self.host = host
        self.port = port
        # PEM of the authority behind the server's certificate; None: no TLS.
        self.authority = authority
        scheme = "https" if authority else "http"
        self.url = f"{scheme}://{host}:{port}"

    def ssl(self):
        return ssl.create_default_context(cafile=self.authority) if self.authority else None

    def curl(self):
        """The arguments with which curl finds the tunnel."""
        args = ["--resolve", f"{self.host}:{self.port}:127.0.0.1"]
        return args + (["--cacert", str(self.authority)] if self.authority else [])

    def event(self, kind):
        """The first JSON line of one kind, once it is there."""
        begins = '{"event":"%s"' % kind
        return json.loads(begins + self.client.line(begins))


@contextmanager
def embedded(target, *options):
    """`ngrnotok http TARGET` without a server: visitors in clear."""
    with folder() as here, client(here, target, *options) as (found, ready):
        port = int(ready["url"].rsplit(":", 1)[1])
        yield Tunnel(found, "127.0.0.1", port)


@contextmanager
def with_server(target, *options):
    """A server with a certificate of its own and a client of it: visitors over TLS."""
    with folder() as here, server(here) as program:
        address = program.line("https")
        way = ["--server", address, "--server-pin", program.line("pin"), "--name", "app"]
        with client(here, target, *way, *options) as (found, _):
            port = int(address.rsplit(":", 1)[1])
            authority = Path(here, "ngrnotok-server", "dev-ca.pem")
            yield Tunnel(found, f"app.{DOMAIN}", port, authority)


@contextmanager
def server(folder, *options):
    """A server for `*.tunnel.test`, which says its addresses and its pin."""
    args = ["--domain", DOMAIN, "--https", "127.0.0.1:0", "--admin", "off", "--dev-cert", *options]
    program = Program([BINARIES / "ngrnotok-server", *args], folder, env=clean(folder))
    with _stopped(program):
        yield program


@contextmanager
def client(folder, target, *options):
    """A client, and its first event."""
    args = ["http", *target, *options, "--output", "json"]
    program = Program([BINARIES / "ngrnotok", *args], folder, env=clean(folder))
    with _stopped(program):
        begins = '{"event":"ready"'
        yield program, json.loads(begins + program.line(begins))


@contextmanager
def _stopped(program):
    try:
        yield
    except BaseException:
        program.stop()
        raise
    code = program.stop()
    if code != 0:
        raise RuntimeError(f"{program.name} ended with {code}: {program.log.read_text()[-2000:]}")


@contextmanager
def app(args, ready, cwd=None):
    """A local app that is a program of its own: what it says behind `ready`."""
    with running(args, cwd) as program:
        yield program.line(ready)


@contextmanager
def running(args, cwd=None):
    """A program of others, or one that may end as it likes."""
    with folder() as here:
        # Some colour their lines in CI, where nobody sees it.
        program = Program(args, here, cwd=cwd, env={**os.environ, "NO_COLOR": "1"})
        try:
            yield program
        finally:
            program.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(port, limit=10):
    """Returns when somebody listens there."""
    end = time.monotonic() + limit
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextmanager
def folder():
    """An empty folder, gone afterwards."""
    path = tempfile.mkdtemp(prefix="ngrnotok-peers-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def clean(folder):
    """An environment with nothing of ours in it."""
    ours = ("NGRNOTOK", "STATE_DIRECTORY")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**env, "XDG_STATE_HOME": folder, "NGRNOTOK_WEB": "off"}
