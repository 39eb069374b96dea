"""Python's `websockets` as visitor and as local app."""

import asyncio
import http
import os
import socket
import time
import urllib.request
from contextlib import contextmanager

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

import tunnel
from report import median_and_p99, same

TINY_FRAMES = 10_000
FAT_FRAME = b"f" * (64 * 1024)
FAT_FRAMES = 256


class App:
    """The local app; `/close` and its kin do what they are called, every other path echoes."""

    def __init__(self):
        self.closes = asyncio.Queue()
        self.flooded = False
        self.go_on = asyncio.Event()

    async def handle(self, socket):
        path = socket.request.path
        if path == "/close":
            await socket.close(4002, "the app leaves: ä")
        elif path == "/abort":
            socket.transport.abort()
        elif path == "/flood":
            await self.flood(socket)
        elif path == "/stall":
            await self.stall(socket)
        else:
            await self.echo(socket)
            if path == "/watched":
                await self.closes.put((socket.close_code, socket.close_reason))

    async def echo(self, socket):
        try:
            async for message in socket:
                await socket.send(message)
        except ConnectionClosed:
            pass

    async def flood(self, socket):
        """Fat frames first, until the visitor holds everything up, then tiny ones."""
        self.flooded = False
        for _ in range(FAT_FRAMES):
            await socket.send(FAT_FRAME)
        for number in range(TINY_FRAMES):
            await socket.send(str(number))
        self.flooded = True
        await socket.wait_closed()

    async def stall(self, socket):
        """Reads nothing until told to, then says what came."""
        await self.go_on.wait()
        sizes = fat = tiny = 0
        async for message in socket:
            sizes += len(message)
            if isinstance(message, bytes):
                fat += 1
            else:
                same(message, str(tiny))
                tiny += 1
            if tiny == TINY_FRAMES:
                break
        await socket.send(f"{fat} {tiny} {sizes}")

    def ordinary(self, connection, request):
        """Answers what is no WebSocket, and refuses some that are."""
        if request.path == "/ordinary":
            return connection.respond(http.HTTPStatus.OK, "ordinary\n")
        if request.path == "/401":
            answer = connection.respond(http.HTTPStatus.UNAUTHORIZED, "who are you\n")
            answer.headers["WWW-Authenticate"] = "Basic"
            return answer
        if request.path == "/404":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "not here\n")
        return None


class Way:
    """How a visitor reaches the app: directly, or through a tunnel."""

    def __init__(self, name, app, host, port, context=None):
        self.name = name
        self.app = app
        self.authority = f"{host}:{port}"
        self.port = port
        self.context = context

    def connect(self, path="/", **options):
        scheme = "wss" if self.context else "ws"
        where = {"host": "127.0.0.1", "port": self.port, "proxy": None, "max_size": None}
        if self.context:
            where["ssl"] = self.context
        if "sock" in options:
            del where["host"], where["port"]
        return connect(f"{scheme}://{self.authority}{path}", **where, **options)

    def connect_with_small_buffer(self, path):
        """A visitor whose kernel takes little, so that not reading is felt soon."""
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect(("127.0.0.1", self.port))
        small.setblocking(False)
        return self.connect(path, sock=small, compression=None, max_queue=1)

    def ordinary(self):
        """One request of another visitor, as curl would send it."""
        scheme = "https" if self.context else "http"
        request = urllib.request.Request(f"{scheme}://127.0.0.1:{self.port}/ordinary")
        request.add_header("Host", self.authority)
        if self.context:
            return self._ordinary_over_tls()
        with urllib.request.urlopen(request, timeout=3) as answer:
            return answer.read()

    def _ordinary_over_tls(self):
        host = self.authority.rsplit(":", 1)[0]
        with socket.create_connection(("127.0.0.1", self.port), 3) as plain:
            with self.context.wrap_socket(plain, server_hostname=host) as stream:
                head = f"GET /ordinary HTTP/1.1\r\nHost: {self.authority}\r\nConnection: close\r\n\r\n"
                stream.sendall(head.encode())
                answer = b""
                while more := stream.recv(65536):
                    answer += more
        same(answer.split(b" ", 2)[1], b"200")
        return answer.split(b"\r\n\r\n", 1)[1]


async def subprotocol(way):
    async with way.connect(subprotocols=["no", "chat"]) as visitor:
        same(visitor.subprotocol, "chat")
        await visitor.send("hello")
        same(await visitor.recv(), "hello")


async def permessage_deflate(way):
    async with way.connect() as visitor:
        extension = visitor.response.headers.get("Sec-WebSocket-Extensions", "")
        same("permessage-deflate" in extension, True)
        for text in ("a" * 1_000_000, "b", "ä" * 100_000):
            await visitor.send(text)
            same(await visitor.recv() == text, True)


async def message_of_16_mib(way):
    big = os.urandom(16 << 20)
    async with way.connect(compression=None) as visitor:
        await visitor.send(big)
        same(await visitor.recv() == big, True)


async def fragments(way):
    async with way.connect() as visitor:
        await visitor.send(["one ", "two ", "three"])
        same(await visitor.recv(), "one two three")


async def ping_and_pong(way):
    async with way.connect() as visitor:
        answered = await visitor.ping(b"are you there")
        await asyncio.wait_for(answered, 3)


async def close_by_the_visitor(way):
    async with way.connect("/watched") as visitor:
        await visitor.close(4001, "bye: ä")
    same(await asyncio.wait_for(way.app.closes.get(), 3), (4001, "bye: ä"))
    same((visitor.close_code, visitor.close_reason), (4001, "bye: ä"))


async def close_by_the_app(way):
    async with way.connect("/close") as visitor:
        try:
            await asyncio.wait_for(visitor.recv(), 3)
        except ConnectionClosed as closed:
            same((closed.rcvd.code, closed.rcvd.reason), (4002, "the app leaves: ä"))


async def abort_by_the_app(way):
    async with way.connect("/abort") as visitor:
        try:
            await asyncio.wait_for(visitor.recv(), 3)
        except ConnectionClosedError as closed:
            same(closed.rcvd, None)
        same(visitor.close_code, 1006)


async def abort_by_the_visitor(way):
    visitor = await way.connect("/watched")
    await visitor.send("hello")
    same(await visitor.recv(), "hello")
    visitor.transport.abort()
    same((await asyncio.wait_for(way.app.closes.get(), 3))[0], 1006)


async def refused_handshakes(way):
    for path, status, text in (("/401", 401, b"who are you\n"), ("/404", 404, b"not here\n")):
        try:
            await way.connect(path)
        except InvalidStatus as refused:
            same((refused.response.status_code, refused.response.body), (status, text))
        else:
            raise AssertionError("it was accepted")


async def a_visitor_that_stalls(way):
    """It holds up its own frames and nobody else."""
    async with way.connect_with_small_buffer("/flood") as visitor:
        await asyncio.sleep(1.5)
        times = await ordinary_requests(way)
        same(way.app.flooded, False)
        for _ in range(FAT_FRAMES):
            same(len(await visitor.recv()), len(FAT_FRAME))
        for number in range(TINY_FRAMES):
            same(await visitor.recv(), str(number))
    return f"20 other requests meanwhile, {median_and_p99(times)}"


async def an_app_that_stalls(way):
    way.app.go_on.clear()
    async with way.connect("/stall", compression=None) as visitor:

        async def send():
            for number in range(TINY_FRAMES):
                await visitor.send(str(number))
                if number == TINY_FRAMES // 2:
                    for _ in range(FAT_FRAMES):
                        await visitor.send(FAT_FRAME)

        sending = asyncio.create_task(send())
        await asyncio.sleep(1.5)
        times = await ordinary_requests(way)
        same(sending.done(), False)
        way.app.go_on.set()
        await sending
        digits = sum(len(str(number)) for number in range(TINY_FRAMES))
        fat = FAT_FRAMES * len(FAT_FRAME)
        same(await visitor.recv(), f"{FAT_FRAMES} {TINY_FRAMES} {fat + digits}")
    return f"20 other requests meanwhile, {median_and_p99(times)}"


async def ordinary_requests(way):
    times = []
    for _ in range(20):
        start = time.monotonic()
        same(await asyncio.to_thread(way.ordinary), b"ordinary\n")
        times.append(time.monotonic() - start)
    return times


async def echo_latency(way):
    times = []
    async with way.connect(compression=None) as visitor:
        for _ in range(500):
            start = time.monotonic()
            await visitor.send("y")
            await visitor.recv()
            times.append(time.monotonic() - start)
    return median_and_p99(times)


CASES = [
    subprotocol,
    permessage_deflate,
    message_of_16_mib,
    fragments,
    ping_and_pong,
    close_by_the_visitor,
    close_by_the_app,
    abort_by_the_app,
    abort_by_the_visitor,
    refused_handshakes,
    a_visitor_that_stalls,
    an_app_that_stalls,
    echo_latency,
]


@contextmanager
def websocket_app(loop):
    app = App()
    options = {"max_size": None, "select_subprotocol": chat, "process_request": app.ordinary}

    async def start():
        return await serve(app.handle, "127.0.0.1", 0, **options)

    listener = loop.run_until_complete(start())
    try:
        yield app, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        loop.run_until_complete(asyncio.wait_for(listener.wait_closed(), 5))


def chat(_, offered):
    return "chat" if "chat" in offered else None


def run(report):
    loop = asyncio.new_event_loop()
    with websocket_app(loop) as (app, port):
        matrix(report, loop, Way("direct", app, "127.0.0.1", port))
        with tunnel.embedded(["-p", port]) as found:
            matrix(report, loop, Way("tunnelled", app, found.host, found.port))
        with tunnel.with_server(["-p", port]) as found:
            way = Way("tunnelled, TLS", app, found.host, found.port, found.ssl())
            matrix(report, loop, way)
    loop.close()


def matrix(report, loop, way):
    for case in CASES:
        name = case.__name__.replace("_", " ")
        run_case = lambda case=case: loop.run_until_complete(case(way))
        report.check(f"websockets {name}, {way.name}", run_case)
