"""A local app whose traffic is looked at, and the page of a stranger who would like to look, too."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# It would tell on itself, if it could do anything.
PAGE = b"""<!doctype html><h1>Otter shop</h1><img src=/told/picture onerror="top.told=1">
<script>top.told = 1; fetch("/told/script")</script><form action=/told/form><button>Go</button></form>"""

ANSWERS = {
    "/page": (200, "text/html", PAGE),
    "/json": (200, "application/json", b'{"otters": [{"name": "Ann", "age": 3}], "more": null}'),
    "/boom": (500, "text/plain", b"Traceback: otter overboard"),
    "/bytes": (200, "application/octet-stream", bytes(range(256))),
}


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fields = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, fields, body))
        path = self.path.split("?")[0]
        status, kind, answer = ANSWERS.get(path, (200, "text/plain", b"hello"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        if path == "/login":
            self.send_header("Set-Cookie", "session=crumbs")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = any

    def log_message(self, *_):
        pass


class Stranger(BaseHTTPRequestHandler):
    """A page of another origin, which tries what a page can."""

    def do_GET(self):
        page = STRANGE.replace("TARGET", self.server.target).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


STRANGE = """<!doctype html><title>A stranger</title>
<form id=form method=post enctype=text/plain action="TARGET/api/requests/http" target=inner><input name='{"id":"1","x":"' value='"}'></form>
<iframe name=inner></iframe><iframe id=framed src="TARGET/"></iframe>
<script>
const got = (window.got = {});
const tries = {
  read: () => fetch("TARGET/api/exchanges").then((answer) => answer.text()),
  blind: () => fetch("TARGET/api/har", { mode: "no-cors" }).then((answer) => answer.text()).then((text) => text || Promise.reject(Error("empty"))),
  change: () => fetch("TARGET/api/exchanges", { method: "DELETE" }).then((answer) => answer.status),
  guess: () => fetch("TARGET/api/exchanges", { method: "DELETE", headers: { "X-Ngrnotok-Key": "0" } }).then((answer) => answer.status),
  script: () => new Promise((yes, no) => document.head.append(Object.assign(document.createElement("script"), { src: "TARGET/app.js", onload: () => yes(1), onerror: () => no(Error("refused")) }))),
  style: () => new Promise((yes, no) => document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "TARGET/app.css", onload: () => yes(1), onerror: () => no(Error("refused")) }))),
  picture: () => new Promise((yes, no) => Object.assign(new Image(), { src: "TARGET/api/exchanges/1/body?part=answer", onload: () => yes(1), onerror: () => no(Error("refused")) })),
  events: () => new Promise((yes, no) => Object.assign(new EventSource("TARGET/api/events"), { onmessage: yes, onopen: () => yes(1), onerror: () => no(Error("refused")) })),
  socket: () => new Promise((yes, no) => Object.assign(new WebSocket("TARGET/api/events".replace("http", "ws")), { onopen: () => yes(1), onerror: () => no(Error("refused")) })),
  form: () => new Promise((yes, no) => { const frame = document.getElementsByName("inner")[0]; form.submit(); frame.onload = () => { try { yes(frame.contentDocument.body.innerText) } catch { no(Error("hidden")) } } }),
};
for (const [name, attempt] of Object.entries(tries)) {
  attempt().then((value) => (got[name] = ["got", String(value)]), (error) => (got[name] = ["refused", error.message]));
}
window.names = Object.keys(tries);
</script>"""


@contextmanager
def serving(handler, **more):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.asked = []
    for name, value in more.items():
        setattr(server, name, value)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
