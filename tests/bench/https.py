"""https visitors, beside nginx that terminates TLS and has the app one plain hop away: HTTP/1.1 and HTTP/2, by
h2load. Both have a certificate on P-256 and prefer AES-128-GCM."""

import re
import shutil
import subprocess
from contextlib import contextmanager
from statistics import median

import systems
import tunnel
from processes import processor_seconds
from table import markdown

HOST = f"app.{tunnel.DOMAIN}"

# What h2load is told; every connection does its TLS handshake first, so there are few of them.
VISITORS = {
    "HTTP/1.1, 64 connections": ["--h1", "-c", "64"],
    "HTTP/2, 64 connections of 1 stream": ["-c", "64", "-m", "1"],
    "HTTP/2, 64 connections of 10 streams": ["-c", "64", "-m", "10"],
}

SECONDS = "2"

NGINX = """
daemon off; worker_processes 2; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
    upstream app {{ server 127.0.0.1:{app}; keepalive 512; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{public} ssl http2 backlog=4096;
        ssl_certificate certificate.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.3;
        location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


@contextmanager
def ngrnotok(app):
    with tunnel.folder() as folder, tunnel.server(folder) as program:
        address = program.line("https")
        way = ["--server", address, "--server-pin", program.line("pin"), "--name", "app"]
        with tunnel.client(folder, ["-p", app], *way) as (client, _):
            yield systems.Running(int(address.rsplit(":", 1)[1]), [program, client])


def nginx(app):
    return systems.others(app, {"nginx.conf": NGINX}, "nginx -p . -c nginx.conf", identity=True)


def run(rounds, order):
    missing = [program for program in ("h2load", "nginx", "openssl") if not shutil.which(program)]
    if missing:
        print(f"FAIL  not installed: {', '.join(missing)}")
        return 1
    rows = [["1 KiB over https, requests/CPU-s", "ngrnotok", "nginx, one hop", "ours / nginx"]]
    with systems.origin() as app, ngrnotok(app) as ours, nginx(app) as theirs:
        for name, options in VISITORS.items():
            figures = {id(ours): [], id(theirs): []}
            for _ in range(rounds):
                for system in order.sample([ours, theirs], 2):
                    figures[id(system)].append(requests_a_processor_second(system, options))
            both = figures[id(ours)], figures[id(theirs)]
            ratio = median(mine / other for mine, other in zip(*both))
            rows.append([name, *(f"{median(seen):,.0f}" for seen in both), f"{ratio:.2f} ×"])
    print(markdown(rows))
    return 0


def requests_a_processor_second(system, options):
    address = [f"https://{HOST}:{system.port}/bytes/1024", f"--connect-to=127.0.0.1:{system.port}"]
    before = processor_seconds(system.programs)
    done = subprocess.run(["h2load", "-D", SECONDS, *options, *address], capture_output=True, text=True, check=True)
    taken = processor_seconds(system.programs) - before
    answered = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", done.stdout)
    if not answered or "0 failed, 0 errored" not in done.stdout:
        raise RuntimeError(f"not every answer was a 200: {done.stdout[-800:]}")
    return int(answered[1]) / taken
