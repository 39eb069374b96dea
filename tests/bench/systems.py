"""What is measured side by side. Each is a `with` block around programs that carry visitors to the app."""

import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tunnel

# Set by `bench.py`: the program with the parts that are not ngrnotok.
TOOL = Path()


@dataclass
class Running:
    """Where visitors go, and the programs whose processor time counts."""

    port: int
    programs: list = field(default_factory=list)


@contextmanager
def origin():
    """The app: its port."""
    with tunnel.running([TOOL, "origin"]) as program:
        yield int(program.line("listening on "))


@contextmanager
def direct(app):
    yield Running(app)


@contextmanager
def ngrnotok(app):
    with tunnel.folder() as folder, server(folder) as (program, port, way):
        with tunnel.client(folder, ["-p", app], *way, "--name", "app") as (client, _):
            yield Running(port, [program, client])


@contextmanager
def server(folder):
    """Our server: the program, the port for visitors in clear, and the options of its clients."""
    plain = ["--http", "127.0.0.1:0", "--http-mode", "serve"]
    with tunnel.server(folder, *plain) as program:
        port = int(program.line("http ").rsplit(":", 1)[1])
        yield program, port, ["--server", program.line("https"), "--server-pin", program.line("pin")]


@contextmanager
def sessions(way, app, count):
    """So many tunnels `t0`, `t1`, … of clients in one process."""
    gate, pin = way[1].rsplit(":", 1)[1], way[3]
    with tunnel.running([TOOL, "sessions", gate, pin, app, "--count", count]) as program:
        program.line("held ", limit=300)
        yield program


@contextmanager
def relay(app):
    """Two hops that parse nothing, with TLS between them."""
    with tunnel.running([TOOL, "relay", "far", app]) as far:
        way = [far.line("listening on "), far.line("pin ")]
        with tunnel.running([TOOL, "relay", "near", *way]) as near:
            yield Running(int(near.line("listening on ")), [near, far])


NGINX = """
daemon off; worker_processes 2; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000; client_max_body_size 0;
    client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
    upstream app {{ server 127.0.0.1:{app}; keepalive 512; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{public} backlog=4096;
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_max_temp_file_size 0; proxy_request_buffering off;
        }}
    }}
}}
"""

RATHOLE_SERVER = """
[server]
bind_addr = "127.0.0.1:{gate}"
default_token = "bench"
[server.transport]
type = "tls"
[server.transport.tls]
pkcs12 = "identity.p12"
pkcs12_password = "bench"
[server.services.app]
bind_addr = "127.0.0.1:{public}"
"""

RATHOLE_CLIENT = """
[client]
remote_addr = "127.0.0.1:{gate}"
default_token = "bench"
[client.transport]
type = "tls"
[client.transport.tls]
trusted_root = "certificate.pem"
hostname = "localhost"
[client.services.app]
local_addr = "127.0.0.1:{app}"
"""

FRP_SERVER = """
bindAddr = "127.0.0.1"
bindPort = {gate}
proxyBindAddr = "127.0.0.1"
"""

FRP_CLIENT = """
serverAddr = "127.0.0.1"
serverPort = {gate}
[[proxies]]
name = "app"
type = "tcp"
localIP = "127.0.0.1"
localPort = {app}
remotePort = {public}
"""


@contextmanager
def others(app, files, *commands, identity=False):
    """A system of others: its files and commands know `app`, and the ports `public` and `gate`."""
    ports = {"app": app, "public": tunnel.free_port(), "gate": tunnel.free_port()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tunnel.folder()))
        for name, text in files.items():
            (folder / name).write_text(text.format(**ports))
        if identity:
            make_identity(folder)
        programs = []
        for command in commands:
            command = [word.format(**ports) for word in command.split()]
            programs.append(stack.enter_context(tunnel.running(command, folder)))
            # The client of some gives up when it finds no server.
            tunnel.wait_for(ports["gate" if len(commands) > 1 else "public"])
        tunnel.wait_for(ports["public"])
        yield Running(ports["public"], programs)


def make_identity(folder):
    """A certificate of localhost, and the same with its key as PKCS #12."""

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    openssl(*new.split(), *names, "-keyout", "key.pem", "-out", "certificate.pem")
    both = ["-inkey", "key.pem", "-in", "certificate.pem"]
    openssl("pkcs12", "-export", "-passout", "pass:bench", *both, "-out", "identity.p12")


def nginx(app):
    return others(app, {"nginx.conf": NGINX}, "nginx -p . -c nginx.conf")


def rathole(app):
    files = {"server.toml": RATHOLE_SERVER, "client.toml": RATHOLE_CLIENT}
    return others(app, files, "rathole -s server.toml", "rathole -c client.toml", identity=True)


def wstunnel(app):
    server = "wstunnel --log-lvl ERROR server --tls-certificate certificate.pem --tls-private-key key.pem"
    client = "wstunnel --log-lvl ERROR client -R tcp://127.0.0.1:{public}:127.0.0.1:{app}"
    commands = server + " wss://127.0.0.1:{gate}", client + " wss://127.0.0.1:{gate}"
    return others(app, {}, *commands, identity=True)


def frp(app):
    files = {"frps.toml": FRP_SERVER, "frpc.toml": FRP_CLIENT}
    return others(app, files, "frps -c frps.toml", "frpc -c frpc.toml")


@contextmanager
def bore(app):
    """Its port for clients is always the same."""
    public = tunnel.free_port()
    server = "bore server --min-port 1024 --bind-addr 127.0.0.1 --bind-tunnels 127.0.0.1"
    client = f"bore local {app} --local-host 127.0.0.1 --to 127.0.0.1 --port {public}"
    with tunnel.running(server.split()) as far:
        tunnel.wait_for(7835)
        with tunnel.running(client.split()) as near:
            tunnel.wait_for(public)
            yield Running(public, [far, near])


# The programs that each needs on the path, `openssl` for those that want certificates.
NEEDED = {
    nginx: ["nginx"],
    rathole: ["rathole", "openssl"],
    wstunnel: ["wstunnel", "openssl"],
    bore: ["bore"],
    frp: ["frps", "frpc"],
}

OURS = [direct, relay, ngrnotok]


def installed():
    """Those of others that are here; one line for each that is not."""
    for system, programs in NEEDED.items():
        missing = [program for program in programs if not shutil.which(program)]
        if missing:
            print(f"skip  {system.__name__}: skipped: no {missing[0]}")
        else:
            yield system
