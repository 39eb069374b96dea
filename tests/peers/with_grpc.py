"""gRPC's C core as visitor and as local app."""

import json
import os
import threading
import time
import urllib.request
from concurrent import futures
from contextlib import contextmanager

import grpc

import tunnel
from report import same
from with_inspector import key_of

BIG = os.urandom(4_000_000)
LIMITS = [
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.max_send_message_length", 8 << 20),
    ("grpc.enable_http_proxy", 0),
]

# Set by the app when a call that waits for it was cancelled.
cancelled = threading.Event()


def echo(request, context):
    context.send_initial_metadata((("x-first", "1"),))
    sent = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-last", sent.get("x-sent", "")), ("x-raw-bin", b"\0\xff")))
    return request


def refuse(_, context):
    context.set_trailing_metadata((("x-why", "tired"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nope: äöü ✓ 100%")


def sleep(_, context):
    context.add_callback(cancelled.set)
    while context.is_active():
        time.sleep(0.02)
    return b""


def count(request, _):
    for number in range(int(request)):
        yield str(number).encode()


def endless(_, context):
    context.add_callback(cancelled.set)
    while context.is_active():
        yield b"x" * 100
        time.sleep(0.01)


def half(_, context):
    yield b"1"
    context.abort(grpc.StatusCode.DATA_LOSS, "half of it")


def join(requests, _):
    return b",".join(requests)


def mirror(requests, _):
    for request in requests:
        yield request[::-1]


METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
    "Half": grpc.unary_stream_rpc_method_handler(half),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Mirror": grpc.stream_stream_rpc_method_handler(mirror),
}


class Visitor:
    def __init__(self, channel):
        self.channel = channel

    def unary(self, method):
        return self.channel.unary_unary(f"/peer.Peer/{method}")

    def pull(self, method):
        return self.channel.unary_stream(f"/peer.Peer/{method}")

    def push(self, method):
        return self.channel.stream_unary(f"/peer.Peer/{method}")

    def both(self, method):
        return self.channel.stream_stream(f"/peer.Peer/{method}")


def refusal(call):
    """The status that `call` ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def unary(visitor):
    same(visitor.unary("Echo")(b"hello", timeout=5), b"hello")
    same(visitor.unary("Echo")(b"", timeout=5), b"")


def metadata(visitor):
    sent = (("x-sent", "across"),)
    _, call = visitor.unary("Echo").with_call(b"", timeout=5, metadata=sent)
    same(dict(call.initial_metadata())["x-first"], "1")
    last = dict(call.trailing_metadata())
    same((last["x-last"], last["x-raw-bin"]), ("across", b"\0\xff"))


def status(visitor):
    error = refusal(lambda: visitor.unary("Refuse")(b"", timeout=5))
    same(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
    same(error.details(), "nope: äöü ✓ 100%")
    same(dict(error.trailing_metadata())["x-why"], "tired")


def unknown_method(visitor):
    error = refusal(lambda: visitor.unary("None")(b"", timeout=5))
    same(error.code(), grpc.StatusCode.UNIMPLEMENTED)


def deadline(visitor):
    cancelled.clear()
    start = time.monotonic()
    error = refusal(lambda: visitor.unary("Sleep")(b"", timeout=0.4))
    same(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    same(time.monotonic() - start < 1.5, True)
    same(cancelled.wait(3), True)


def server_streaming(visitor):
    answers = list(visitor.pull("Count")(b"1000", timeout=10))
    same(answers, [str(number).encode() for number in range(1000)])


def status_after_messages(visitor):
    call = visitor.pull("Half")(b"", timeout=5)
    same(next(call), b"1")
    error = refusal(lambda: next(call))
    same((error.code(), error.details()), (grpc.StatusCode.DATA_LOSS, "half of it"))


def client_streaming(visitor):
    words = [str(number).encode() for number in range(200)]
    same(visitor.push("Join")(iter(words), timeout=10), b",".join(words))


def bidi_streaming(visitor):
    """Each answer comes before the next question is asked."""
    answered = threading.Semaphore(1)
    answers = []

    def questions():
        for number in range(50):
            if not answered.acquire(timeout=5):
                return
            yield f"question {number}".encode()

    for answer in visitor.both("Mirror")(questions(), timeout=15):
        answers.append(answer)
        answered.release()
    same(answers, [f"question {number}".encode()[::-1] for number in range(50)])


def cancel_seen_by_the_app(visitor):
    cancelled.clear()
    call = visitor.pull("Endless")(b"", timeout=20)
    next(call)
    call.cancel()
    same(cancelled.wait(3), True)


def big_messages(visitor):
    same(visitor.unary("Echo")(BIG, timeout=20) == BIG, True)
    answers = visitor.both("Mirror")(iter([BIG, BIG]), timeout=20)
    same([answer == BIG[::-1] for answer in answers], [True, True])


def compression(visitor):
    body = b"again and " * 10_000
    call = visitor.unary("Echo")
    same(call(body, timeout=5, compression=grpc.Compression.Gzip), body)


def fifty_at_once(visitor):
    calls = [visitor.unary("Echo").future(b"%d" % n + BIG[:20_000], timeout=20) for n in range(50)]
    for number, call in enumerate(calls):
        same(call.result() == b"%d" % number + BIG[:20_000], True)


CASES = [
    unary,
    metadata,
    status,
    unknown_method,
    deadline,
    server_streaming,
    status_after_messages,
    client_streaming,
    bidi_streaming,
    cancel_seen_by_the_app,
    big_messages,
    compression,
    fifty_at_once,
]


def inspected(web, found, visitor):
    key = key_of(web.rstrip("/"), found)

    def ask(path):
        request = urllib.request.Request(web + path, headers={"X-Ngrnotok-Key": key})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return json.load(answer)

    same(list(visitor.both("Mirror")(iter([b"abc", b"de"]), timeout=5)), [b"cba", b"ed"])
    while True:
        newest = ask("api/exchanges?limit=1")["exchanges"][0]
        if newest["state"] != "open":
            break
    same((newest["kind"], newest["path"], newest["messages"]), ("grpc", "/peer.Peer/Mirror", 4))
    whole = ask(f"api/exchanges/{newest['id']}")
    said = sorted((message["from"], message["kind"], message["bytes"]) for message in whole["message_list"])
    same(said, [("app", "grpc", 2), ("app", "grpc", 3), ("visitor", "grpc", 2), ("visitor", "grpc", 3)])
    same({"name": "grpc-status", "value": "0"} in whole["answer"]["trailers"], True)


@contextmanager
def grpc_app():
    app = grpc.server(futures.ThreadPoolExecutor(64), options=LIMITS)
    app.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Peer", METHODS),))
    port = app.add_insecure_port("127.0.0.1:0")
    app.start()
    try:
        yield port
    finally:
        app.stop(0).wait(5)


def over_tls(found):
    credentials = grpc.ssl_channel_credentials(found.authority.read_bytes())
    named = [("grpc.ssl_target_name_override", found.host)]
    named += [("grpc.default_authority", f"{found.host}:{found.port}")]
    return grpc.secure_channel(f"127.0.0.1:{found.port}", credentials, LIMITS + named)


def run(report):
    with grpc_app() as port:
        target = ["-p", port, "--local-protocol", "h2c"]
        with grpc.insecure_channel(f"127.0.0.1:{port}", LIMITS) as channel:
            matrix(report, "direct", channel)
        with tunnel.embedded(target, "--web", "127.0.0.1:0") as found:
            with grpc.insecure_channel(f"127.0.0.1:{found.port}", LIMITS) as channel:
                matrix(report, "tunnelled, h2c visitor", channel)
                web = found.event("ready")["web"]
                report.check("grpc messages, both ways, in the inspector", lambda: inspected(web, found, Visitor(channel)))
        with tunnel.with_server(target) as found, over_tls(found) as channel:
            matrix(report, "tunnelled, TLS visitor", channel)


def matrix(report, way, channel):
    for case in CASES:
        name = case.__name__.replace("_", " ")
        report.check(f"grpc {name}, {way}", lambda case=case: case(Visitor(channel)))
