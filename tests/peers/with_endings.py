"""Apps that say something and leave at once: what they said must arrive, and that they left."""

import re
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager

import tunnel
from report import same

TRIES = 10
SIZES = [5, 100_000]
LAST_WORDS = b"too much, bye\n"


@contextmanager
def leaving_app():
    """Answers `/N` with N bytes of a longer body, and an upgrade with its last words."""
    listener = socket.create_server(("127.0.0.1", 0))

    def leave(visitor):
        with visitor:
            head = b""
            while b"\r\n\r\n" not in head:
                head += visitor.recv(65536)
            if b"Upgrade: raw" in head or b"upgrade: raw" in head:
                agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n"
                visitor.sendall(agreed)
                visitor.recv(4096)
                visitor.sendall(LAST_WORDS)
            else:
                size = int(re.match(rb"GET /(\d+)", head)[1])
                visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * size)

    def accept():
        while True:
            try:
                visitor, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=leave, args=[visitor], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answers_http1(url, size):
    """All of what was sent arrives, and does not look whole."""
    told = "%{stderr}%{http_code} %{size_download}"
    for _ in range(TRIES):
        command = ["curl", "--silent", "--http1.1", "--max-time", "5", "--write-out", told]
        curl = subprocess.run([*command, f"{url}/{size}"], capture_output=True, timeout=10)
        same(curl.stderr.decode(), f"200 {size}")
        same(curl.returncode in (18, 56), True)


def answers_http2(url, size):
    """The same. curl 7.88 loses what RST_STREAM follows closely, so nghttp looks."""
    for _ in range(TRIES):
        command = ["nghttp", "-nv", "--timeout=5", f"{url}/{size}"]
        nghttp = subprocess.run(command, capture_output=True, timeout=10)
        frames = re.sub(r"\x1b\[[0-9;]*m", "", nghttp.stdout.decode())
        received = sum(map(int, re.findall(r"recv DATA frame <length=(\d+)", frames)))
        same((":status: 200" in frames, received), (True, size))
        same("recv RST_STREAM" in frames, True)


def last_words(port):
    """They arrive although the visitor is still talking, which makes the app's leaving an abort."""
    for _ in range(TRIES):
        with socket.create_connection(("127.0.0.1", port), 5) as visitor:
            head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
            visitor.sendall(head.encode())
            said = b""
            while b"\r\n\r\n" not in said:
                said += visitor.recv(4096)
            said = said.split(b"\r\n\r\n", 1)[1]
            talking = threading.Thread(target=talk, args=[visitor])
            talking.start()
            try:
                while more := visitor.recv(4096):
                    said += more
            except ConnectionError:
                pass
            talking.join(5)
            same(said, LAST_WORDS)


def talk(visitor):
    try:
        for _ in range(500):
            visitor.sendall(b"z" * 10_000)
    except OSError:
        pass


def run(report):
    with leaving_app() as port, tunnel.embedded(["-p", port]) as found:
        for size in SIZES:
            name = f"endings an answer breaks off after {size} bytes"
            for way, url in (("direct", f"http://127.0.0.1:{port}"), ("tunnelled", found.url)):
                check = lambda url=url, size=size: answers_http1(url, size)
                report.check(f"{name}, {way}, HTTP/1.1", check)
            if shutil.which("nghttp"):
                check = lambda size=size: answers_http2(found.url, size)
                report.check(f"{name}, tunnelled, HTTP/2", check)
            else:
                report.skip(f"{name}, tunnelled, HTTP/2", "no nghttp")
        for way, at in (("direct", port), ("tunnelled", found.port)):
            check = lambda at=at: last_words(at)
            report.check(f"endings last words of an upgraded app, {way}", check)
