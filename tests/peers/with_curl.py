"""curl, nghttp and h2load as visitors."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import tunnel
from http_app import FILE, http_app
from report import same

PIECES = 5


class Way:
    """How curl reaches the app."""

    def __init__(self, app, name, url, *args, spoken):
        self.app = app
        self.name = name
        self.url = url
        self.args = args
        self.spoken = spoken
        self.tls = url.startswith("https")

    def curl(self, path, *args, stdin=subprocess.DEVNULL):
        """The body, and what curl says of the transfer."""
        told = "%{stderr}%{json}"
        command = ["curl", "--silent", "--max-time", "20", "--write-out", told]
        command += [*self.args, *args, self.url + path]
        curl = subprocess.run(command, stdin=stdin, capture_output=True, timeout=25)
        told = json.loads(curl.stderr)
        same((curl.returncode, told["http_version"]), (0, self.spoken))
        return curl.stdout, told


def get(way):
    body, told = way.curl("/some/path?q=%20x")
    host = way.url.split("://")[1]
    same(json.loads(body), {"path": "/some/path?q=%20x", "host": host})
    same(told["http_code"], 200)


def get_1_mib(way):
    same(way.curl("/file")[0] == FILE, True)


def head(way):
    body, told = way.curl("/file", "--head")
    length = re.search(rb"(?im)^content-length: (\d+)", body)
    same((told["http_code"], length and int(length[1])), (200, len(FILE)))


def head_of_a_page_of_ours(way):
    """For a host that nobody serves; over TLS, for another than the connection's."""
    body, told = way.curl("/", "--head", "--header", "Host: nobody.example")
    same((told["http_code"], b"ngrnotok-cause" in body.lower()), (421 if way.tls else 400, True))


def ranges(way):
    for wanted, part in (("100-199", FILE[100:200]), ("-50", FILE[-50:]), ("1048000-", FILE[1048000:])):
        body, told = way.curl("/file", "--range", wanted)
        same((told["http_code"], body), (206, part))
    same(way.curl("/file", "--range", "9999999-")[1]["http_code"], 416)


def post(way):
    body, _ = way.curl("/", "--data-binary", "x" * 1000, "--header", "Expect:")
    said = json.loads(body)
    same((said["size"], said["chunked"]), (1000, False))


def chunked_upload(way):
    field = [] if way.spoken == "2" else ["--header", "Transfer-Encoding: chunked"]
    body, _ = way.curl("/", *field, "--header", "Expect:", "--data-binary", "@" + __file__)
    with open(__file__, "rb") as file:
        text = file.read()
    said = json.loads(body)
    same((said["size"], said["sha256"]), (len(text), hashlib.sha256(text).hexdigest()))


def expect_100_continue(way):
    body, told = way.curl("/", "--header", "Expect: 100-continue", "--data-binary", "x" * 70_000)
    same((told["http_code"], json.loads(body)["size"]), (200, 70_000))
    # curl waits a second for the 100 before it sends anyway.
    same(told["time_total"] < 0.9, True)


def expect_100_continue_refused(way):
    sent = ["--header", "Expect: 100-continue", "--data-binary", "x" * 70_000]
    body, told = way.curl("/refuse", *sent)
    same((told["http_code"], body, told["size_upload"]), (413, b"too large", 0))


def streaming_upload(way):
    """The app gets each piece before the next one is sent."""
    feeder, into = os.pipe()
    with ThreadPoolExecutor(1) as background, open(into, "wb", buffering=0) as into:
        args = ["--no-buffer", "--upload-file", "-"]
        upload = background.submit(way.curl, "/watched", *args, stdin=feeder)
        for number in range(PIECES):
            into.write(b"piece %d" % number)
            came = b""
            while len(came) < len("piece 1"):
                came += way.app.came.get(timeout=5)
            same(came, b"piece %d" % number)
        into.close()
        body, _ = upload.result(20)
    os.close(feeder)
    same(json.loads(body)["size"], PIECES * len("piece 1"))


CASES = [
    get,
    get_1_mib,
    head,
    head_of_a_page_of_ours,
    ranges,
    post,
    chunked_upload,
    expect_100_continue,
    expect_100_continue_refused,
    streaming_upload,
]


def run(report):
    with tunnel.embedded(["--hello"]) as found:
        for spoken, flag in (("1.1", "--http1.1"), ("2", "--http2-prior-knowledge")):
            way = Way(None, "--hello", found.url, flag, spoken=spoken)
            check = lambda way=way: same(way.curl("/", "--head")[1]["http_code"], 200)
            report.check(f"curl head of --hello, HTTP/{spoken}", check)
    with http_app() as app:
        direct = f"http://127.0.0.1:{app.port}"
        matrix(report, Way(app, "direct, HTTP/1.1", direct, "--http1.1", spoken="1.1"))
        with tunnel.embedded(["-p", app.port]) as found:
            clear = "--http2-prior-knowledge"
            matrix(report, Way(app, "tunnelled, HTTP/1.1", found.url, "--http1.1", spoken="1.1"))
            matrix(report, Way(app, "tunnelled, HTTP/2 in clear", found.url, clear, spoken="2"))
            nghttp(report, "HTTP/2 in clear", found)
            h2load(report, "HTTP/2 in clear", found)
        with tunnel.with_server(["-p", app.port]) as found:
            args = found.curl()
            matrix(report, Way(app, "tunnelled, TLS, HTTP/1.1", found.url, "--http1.1", *args, spoken="1.1"))
            matrix(report, Way(app, "tunnelled, TLS, HTTP/2", found.url, "--http2", *args, spoken="2"))
            nghttp(report, "TLS", found)
            h2load(report, "TLS", found)


def matrix(report, way):
    for case in CASES:
        # curl 7.88 loses an early answer over HTTP/2, whoever sends it: nghttp asks instead.
        if case is expect_100_continue_refused and way.spoken == "2":
            continue
        if case is head_of_a_page_of_ours and way.name.startswith("direct"):
            continue
        name = case.__name__.replace("_", " ")
        report.check(f"curl {name}, {way.name}", lambda case=case: case(way))


def nghttp(report, way, found):
    name = f"nghttp, tunnelled, {way}"
    if not shutil.which("nghttp"):
        report.skip(name, "no nghttp")
        return

    def visit(path, *args):
        url = found.url.replace(found.host, "127.0.0.1") + path
        host = f":authority: {found.host}:{found.port}"
        command = ["nghttp", "-nv", "--no-verify-peer", "--timeout=10", "-H", host, *args, url]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=15)
        same(said.returncode, 0)
        return re.sub(r"\x1b\[[0-9;]*m", "", said.stdout.decode())

    def file():
        frames = visit("/file")
        same(":status: 200" in frames, True)
        received = re.findall(r"recv DATA frame <length=(\d+)", frames)
        same(sum(map(int, received)), len(FILE))
        same("recv RST_STREAM" in frames, False)

    def refused():
        frames = visit("/refuse", "--expect-continue", f"--data={__file__}")
        same((":status: 413" in frames, "send DATA" in frames), (True, False))

    report.check(f"nghttp 1 mib, tunnelled, {way}", file)
    report.check(f"nghttp expect 100 continue refused, tunnelled, {way}", refused)


def h2load(report, way, found):
    name = f"h2load -n 2000 -c 4 -m 8, tunnelled, {way}"
    if not shutil.which("h2load"):
        report.skip(name, "no h2load")
        return

    def load():
        start = time.monotonic()
        there = f"--connect-to=127.0.0.1:{found.port}"
        command = ["h2load", "-n", "2000", "-c", "4", "-m", "8", there, f"{found.url}/"]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=40)
        outcome = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", said.stdout.decode())
        same(outcome and outcome.groups(), ("2000", "0", "0"))
        same(" 2000 2xx" in said.stdout.decode(), True)
        return f"{2000 / (time.monotonic() - start):.0f} requests a second"

    report.check(name, load, limit=45)
