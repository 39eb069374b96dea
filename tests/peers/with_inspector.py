"""The inspector's page in a browser, strangers' pages beside it, and its API against its own description."""

import gzip
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import tunnel
import webdriver
from inspected_app import App, Stranger, serving
from report import same

HERE = Path(__file__).parent
CHROMIUM = ["chromium", "chromium-browser", "google-chrome"]


def run(report):
    # The API is asked to open tunnels, too; one without a name in its URL is found only while it is the only one.
    with inspected() as (web, found, app):
        api(report, web, found, app)
    with inspected() as (web, found, app):
        chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
        chromedriver = shutil.which("chromedriver")
        for needed, there in (("chromium", chromium), ("chromedriver", chromedriver)):
            if not there:
                report.skip("the inspector's page", f"no {needed}")
                return
        with tempfile.TemporaryDirectory() as downloads, webdriver.browser(chromium, chromedriver, downloads) as page:
            Looks(report, web, found, app, page, Path(downloads)).all()


@contextmanager
def inspected():
    with serving(App) as app, tunnel.embedded(["-p", app.server_address[1]], "--web", "127.0.0.1:0") as found:
        yield found.event("ready")["web"].rstrip("/"), found, app


def visit(found, method, path, body=None, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def key_of(web, found):
    """The key, from the file that only the user can read."""
    port = web.rsplit(":", 1)[1]
    return json.loads((found.client.lines.parent / f"ngrnotok/web/{port}.json").read_text())["key"]


def ask(web, key, method, path, body=None):
    connection = http.client.HTTPConnection(web.removeprefix("http://"), timeout=60)
    connection.request(method, path, body, {"X-Ngrnotok-Key": key})
    answer = connection.getresponse()
    content = answer.read()
    same(answer.status // 100, 2)
    return json.loads(content) if content else None


def link_to(web, found):
    """What lets a browser in."""
    return ask(web, key_of(web, found), "POST", "/api/sign-in/links")["url"]


def api(report, web, found, app):
    """What the API says of itself is what it does."""

    def described():
        visit(found, "GET", "/json")
        visit(found, "POST", "/login", "user=ann", Content_Type="application/x-www-form-urlencoded")
        schemathesis = Path(sys.executable).with_name("schemathesis")
        command = [
            *(schemathesis, "run", f"{web}/api/openapi.json", "--phases=examples,coverage,fuzzing"),
            *("--header", f"X-Ngrnotok-Key: {key_of(web, found)}", "--max-examples=20", "--seed=1"),
            # Events have no end; a description cannot say all that makes no sense.
            *("--exclude-path=/api/events", "--exclude-checks=unsupported_method,positive_data_acceptance"),
            *("--mode=all", "--no-color", "--request-timeout=5"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=tunnel.WORK)
        if done.returncode:
            raise AssertionError((done.stdout + done.stderr)[-6000:])

    if Path(sys.executable).with_name("schemathesis").exists():
        report.check("the inspector's API does what its OpenAPI document says", described, limit=120)
    else:
        report.skip("the inspector's API against its OpenAPI document", "no schemathesis")


class Looks:
    """One browser, one client; what is left behind by one look is there for the next."""

    def __init__(self, report, web, found, app, page, downloads):
        self.web, self.found, self.app, self.page, self.downloads = web, found, app, page, downloads
        self.check = report.check

    def all(self):
        self.key = key_of(self.web, self.found)
        self.page.size(1280, 800)
        for name, look in (
            ("lets a browser in by a link, once", self.let_in),
            ("shows requests as they come", self.live),
            ("shows the numbers of the panel", self.status),
            ("filters them", self.filtered),
            ("hides secrets until they are asked for", self.secrets),
            ("shows nothing that was captured as anything but text", self.harmless),
            ("resends, and edits before", self.again),
            ("sends a body that nobody has edited as it was", self.unedited),
            ("gives edited lines the line ends of their body", self.edited),
            ("copies a curl command that a shell sends the same with", self.curl),
            ("lays out bodies that are made to be too much", self.too_much),
            ("shows a WebSocket's messages", self.messages),
            ("compares two answers", self.compared),
            ("exports what it imports again, by the schema", self.archive),
            ("says what an import leaves out", self.left_out),
            ("is quick with 10,000 exchanges, most of them not in the document", self.many),
            ("answers nothing to a stranger's page", self.strangers),
        ):
            self.check(f"the inspector's page {name}", look, limit=60)

    def delete_all(self):
        self.ask("DELETE", "/api/exchanges")
        self.app.asked.clear()

    def ask(self, method, path, body=None):
        return ask(self.web, self.key, method, path, body)

    def visit(self, *args, **fields):
        """A visit, and the number of its exchange once it is over."""
        visit(self.found, *args, **fields)
        while True:
            newest = self.ask("GET", "/api/exchanges?limit=1")["exchanges"][0]
            if newest["state"] != "open":
                return newest["id"]

    def paths(self):
        return self.page.run("return [...document.querySelectorAll('#rows .path bdi')].map((path) => path.textContent)")

    def until_paths(self, *paths):
        wanted = "return JSON.stringify([...document.querySelectorAll('#rows .path bdi')].map((path) => path.textContent)) === arguments[0]"
        self.page.until(wanted, json.dumps(list(paths), separators=(",", ":")))

    def filter(self, text):
        self.page.run("const box = document.getElementById('filter'); box.value = arguments[0]; box.dispatchEvent(new Event('input'))", text)

    def open(self, id, tab=None):
        self.page.run("location.hash = `#/${arguments[0]}`", id)
        self.page.until("return document.getElementById('detail').dataset.id === String(arguments[0])", id)
        if tab:
            self.tab(tab)

    def tab(self, name):
        # It is drawn anew whenever the exchange changes, so there is no holding on to it.
        self.page.run("document.querySelector(`[data-tab=${arguments[0]}]`).click()", name)

    def let_in(self):
        # As another user would: what there is to see is not shown.
        self.visit("GET", "/mine")
        self.page.open(f"{self.web}/")
        self.page.until_text(".stranger", "ngrnotok status")
        same("/mine" in self.page.text("body"), False)
        link = link_to(self.web, self.found)
        self.page.open(link)
        self.until_paths("/mine")
        same(self.page.run("return location.href"), f"{self.web}/#/")
        same(self.page.run("return document.cookie"), "")
        # As often as wanted by the same browser, by nobody else.
        self.page.open(f"{self.web}/")
        self.until_paths("/mine")
        self.page.run("localStorage.clear()")
        self.page.open("about:blank")
        self.page.open(link)
        self.page.until_text(".stranger", "This link has been used")
        self.page.open(link_to(self.web, self.found))
        self.until_paths("/mine")

    def live(self):
        self.delete_all()
        self.page.open(f"{self.web}/")
        self.page.until_text("#state", "online")
        self.page.until_text("#empty", "No requests yet")
        visit(self.found, "GET", "/first")
        self.until_paths("/first")
        visit(self.found, "GET", "/boom")
        self.until_paths("/boom", "/first")
        self.page.until_text("#rows .s5", "500")
        # By keys alone.
        self.page.press("j", "Enter")
        self.page.until_text("#detail .address", "/boom")
        self.page.until_text("#detail pre", "otter overboard")
        self.page.press("j")
        self.page.until_text("#detail .address", "/first")
        self.page.press("Escape")
        self.page.until("return document.getElementById('detail').hidden")

    def status(self):
        self.page.run("location.hash = '#/status'")
        self.page.until_text("#status", "online")
        # Whoever asks for the page does not come through the tunnel; some have.
        self.page.until("return Number(document.querySelector('#status .numbers td')?.textContent) > 0")
        self.page.run("location.hash = '#/'")

    def filtered(self):
        self.visit("POST", "/json?page=2", "an otter swims", X_Kind="special")
        for text, paths in (
            ("/first", ["/first"]),
            ("method:POST", ["/json?page=2"]),
            ("status:5xx", ["/boom"]),
            ("status:200 json", ["/json?page=2"]),
            ("text:overboard", ["/boom"]),
            ("text:swims", ["/json?page=2"]),
            ("field:x-kind:spec", ["/json?page=2"]),
            ("ms:>60000", []),
            ("", ["/json?page=2", "/boom", "/first"]),
        ):
            self.filter(text)
            self.until_paths(*paths)

    def secrets(self):
        id = self.visit("GET", "/login", Authorization="Bearer opensesame", Cookie="a=crumbs")
        self.open(id, "request")
        self.page.until_text("#detail .fields", "********")
        same("opensesame" in self.page.text("#detail"), False)
        self.page.press("s")
        self.page.until_text("#detail", "Bearer opensesame")
        self.page.press("s")
        self.page.until("return !document.getElementById('detail').innerText.includes('opensesame')")

    def harmless(self):
        nasty = "<img src=x onerror=top.told=1><script>top.told=1</script>"
        id = self.visit("POST", "/page?q=%3Cimg%20src=x%20onerror=top.told=1%3E", nasty, X_Nasty=nasty, Content_Type="text/html")
        self.app.asked.clear()
        self.open(id, "answer")
        self.page.until("return document.querySelector('iframe')?.getAttribute('sandbox') === ''")
        for tab in ("request", "answer"):
            self.tab(tab)
            self.page.until("return document.querySelector('#detail iframe')")
        # A later look comes back when all that came before it has been seen.
        self.open(self.visit("GET", "/later"))
        same(self.page.run("return window.told ?? null"), None)
        same(self.page.run("return document.querySelectorAll('#main img, #main script').length"), 0)
        same([path for _, path, _, _ in self.app.asked if path.startswith("/told")], [])

    def again(self):
        id = self.visit("POST", "/orders?x=1", '{"n": 1}', Content_Type="application/json")
        self.app.asked.clear()
        self.open(id)
        self.page.press("r")
        self.page.until_text("#detail .facts", f"resent from #{id}")
        self.page.until_text("#detail .stat", "200")
        method, path, fields, body = self.app.asked.pop()
        same((method, path, fields["content-type"], body), ("POST", "/orders?x=1", "application/json", b'{"n": 1}'))
        self.open(id)
        self.page.press("e")
        self.page.until("return document.getElementById('dialog').open")
        self.page.run(
            "const [method, path] = document.querySelectorAll('#dialog .pair input'); method.value = 'PUT'; path.value = '/edited';"
            "const [fields, body] = document.querySelectorAll('#dialog textarea'); fields.value += '\\nX-More: yes'; body.value = 'otter ü'"
        )
        self.page.click("#dialog button.first")
        self.page.until_text("#detail .facts", f"edited and resent from #{id}")
        self.page.until_text("#detail .stat", "200")
        method, path, fields, body = self.app.asked.pop()
        same((method, path, fields["x-more"], body), ("PUT", "/edited", "yes", "otter ü".encode()))

    def edit(self, id, script=""):
        """Opens an exchange in the editor, does what the script says, and returns what the app then gets."""
        self.app.asked.clear()
        self.open(id)
        self.page.press("e")
        self.page.until("return document.getElementById('dialog').open && document.querySelector('#dialog form')")
        self.page.run(f"const [fields, body] = document.querySelectorAll('#dialog textarea'); {script}")
        self.page.click("#dialog button.first")
        self.page.until_text("#detail .facts", f"resent from #{id}")
        self.page.until_text("#detail .stat", "200")
        return self.app.asked.pop()

    def unedited(self):
        packed = gzip.compress(b"an otter")
        for body, coding in (
            (b"--B\r\n\r\none\r\n--B--\r\n", "identity"),
            (b"\xef\xbb\xbf{}", "identity"),
            (b"\x00\xff", "identity"),
            (packed, "gzip"),
        ):
            id = self.visit("POST", "/a/../b?c=%7E", body, Content_Encoding=coding, X_Odd=b"\xff")
            for script in ("", "fields.value += '\\nX-More: yes'"):
                _, path, fields, sent = self.edit(id, script)
                same((path, sent), ("/a/../b?c=%7E", body))
                same((fields["content-encoding"], fields["x-odd"]), (coding, "\xff"))

    def edited(self):
        form = b"\xef\xbb\xbf--B\r\n\r\none\ntwo\r\n--B--\r\n"
        id = self.visit("POST", "/form", form)
        same(self.edit(id, "body.value = body.value.replace('two', 'three\\nfour')")[3], form.replace(b"two", b"three\r\nfour"))
        id = self.visit("POST", "/form", gzip.compress(b"an otter"), Content_Encoding="gzip")
        _, _, fields, sent = self.edit(id, "body.value += 's'; fields.value += '\\nX-More: yes'")
        same((sent, fields.get("content-encoding"), fields["x-more"]), (b"an otters", None, "yes"))

    def curl(self):
        self.page.run("navigator.clipboard.writeText = async (text) => { window.copied = text }")
        odd = "it's \"$(x)\" `x` !x \\ %s"
        path = "/copy/it's/../%2e?q=[1]{2}&r=%20"
        steering = "\x1b[201~\r\nid >/tmp/x\n\x03\x16\x7f\u009b\u202e!!\t"
        for method, body, fields in (
            ("POST", b"it's $HOME `x` \"y\" \\ \n end!", {}),
            ("POST", bytes(range(256)), {}),
            ("POST", b"@/etc/passwd", {}),
            ("POST", b"", {}),
            ("POST", None, {}),
            ("GET", None, {}),
            ("GET", b"a body", {}),
            ("HEAD", None, {}),
            ("PATCH", b"\xef\xbb\xbf{}", {"Content-Type": "application/json"}),
            ("POST", steering.encode(), {}),
            ("POST", b"z" * 5000 + steering.encode(), {"Content-Type": "text/plain"}),
            ("POST", b"z" * 5000 + b"\0' ; id; '", {}),
            ("POST", b"'" * 300_000 + "\u2028ü".encode(), {"X-More": "a\tb'\"$(id)`id`!!\\n"}),
            ("POST", bytes(range(256)) * 2000, {}),
        ):
            id = self.visit(method, path, body, X_Odd=odd, **{name.replace('-', '_'): value for name, value in fields.items()})
            first = self.app.asked[-1]
            self.app.asked.clear()
            self.open(id)
            self.page.run("window.copied = null")
            self.page.press("c")
            command = self.page.until("return window.copied")
            unprintable = [char for char in command if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")]
            same(unprintable, [])
            for shell in ("sh", "bash"):
                done = subprocess.run([shell], input=f"{command}\n".encode(), capture_output=True, timeout=20)
                same((done.returncode, done.stderr if b"error" in done.stderr else b""), (0, b""))
                again = self.app.asked[-1]
                for _, _, sent, _ in (first, again):
                    # Those are of the way.
                    for name in ("host", "x-forwarded-for", "forwarded", "accept-encoding", "expect"):
                        sent.pop(name, None)
                same(again, first)
            self.app.asked.clear()
        # Of what is not there as a whole there is no command.
        id = self.visit("POST", "/copy", b"x" * (1 << 20) + b"y")
        self.open(id)
        self.page.run("window.copied = null")
        self.page.press("c")
        self.page.until_text("#toast", "were kept")
        same(self.page.run("return window.copied"), None)
        self.app.asked.clear()

    def too_much(self):
        deep = 200_000
        for kind, body, words in (
            ("application/json", b"[" * deep + b"]" * deep, "Only the beginning is shown"),
            ("application/json", b'{"a":' * 60_000 + b"1" + b"}" * 60_000, "Only the beginning is shown"),
            ("application/json", b"[" + b",".join(b"[%d]" % n for n in range(60_000)) + b"]", "Only the beginning is shown"),
            ("application/xml", b"<a>" * 4000 + b"<b/>" * 100_000 + b"</a>" * 4000, "Only the beginning is shown"),
            ("application/x-www-form-urlencoded", b"a=1&" * 100_000, "99000 more"),
            ("application/json", b'{"n": 12345678901234567890123, "a": 1.0, "a": 2}', '"n": 12345678901234567890123,\n  "a": 1.0,\n  "a": 2'),
        ):
            id = self.visit("POST", "/much", body, Content_Type=kind)
            self.open(id, "request")
            shown = "const text = document.querySelector('#detail .room')?.textContent ?? ''; return text.includes(arguments[0]) && text.length"
            long = self.page.until(shown, words)
            if long > 600_000:
                raise AssertionError(f"{len(body)} bytes of {kind} became {long} letters")

    def messages(self):
        from websockets.sync.client import connect
        from websockets.sync.server import serve

        def echo(socket):
            for message in socket:
                socket.send(message)

        with serve(echo, "127.0.0.1", 0) as server:
            import threading

            threading.Thread(target=server.serve_forever, daemon=True).start()
            port = server.socket.getsockname()[1]
            with tunnel.embedded(["-p", port], "--web", "127.0.0.1:0") as found:
                self.page.open(link_to(found.event("ready")["web"].rstrip("/"), found))
                with connect(f"ws://127.0.0.1:{found.port}/chat") as socket:
                    for message in ('{"say": "hello"}', b"\x00\x01\xff"):
                        socket.send(message)
                        same(socket.recv(timeout=10), message)
                    # While it goes on.
                    self.page.until("return document.querySelectorAll('#rows .row').length === 1")
                    self.page.press("j", "Enter")
                    self.page.until("return document.querySelectorAll('.message').length === 4")
                    self.page.until_text(".message .preview", '{"say": "hello"}')
                self.page.until("return document.querySelectorAll('.message').length > 4")
                self.page.run("document.querySelector('.message').click()")
                self.page.until_text(".full", '"say": "hello"')
            server.shutdown()
        self.page.open(f"{self.web}/")

    def compared(self):
        first, second = self.visit("GET", "/json"), self.visit("GET", "/boom")
        # The list hears of them a little later than the API.
        self.page.until("return document.querySelector(`#rows [data-id='${arguments[0]}']`)", second)
        self.open(second)
        self.page.press("d")
        self.page.until("return document.querySelectorAll('#dialog .minus, #dialog .plus').length > 1")
        self.page.run("const box = document.querySelector('#dialog select'); box.value = String(arguments[0]); box.dispatchEvent(new Event('change'))", first)
        self.page.until_text("#dialog .diff", '"otters"')
        self.page.press("Escape")

    def archive(self):
        import jsonschema

        self.page.open(f"{self.web}/#/")
        self.page.until("return document.querySelectorAll('#rows .row').length > 3")
        self.page.click("#export")
        file = self.downloads / "ngrnotok.har"
        end = time.monotonic() + 15
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.02)
        archive = json.loads(file.read_text())
        jsonschema.validate(archive, json.loads((HERE / "har.schema.json").read_text()))
        count = len(archive["log"]["entries"])
        same(count, len(self.ask("GET", "/api/exchanges?limit=1000")["exchanges"]))
        same("opensesame" in file.read_text(), False)
        self.page.type("#file", str(file))
        self.page.until_text("#toast", f"{count} exchanges imported")
        again = self.ask("GET", "/api/har?id=" + ",".join(str(line["id"]) for line in reversed(self.ask("GET", f"/api/exchanges?limit={count}")["exchanges"])))
        for one, other in zip(archive["log"]["entries"], again["log"]["entries"], strict=True):
            for entry in (one, other):
                for name in ("id", "origin", "resent_of", "edited"):
                    entry["_ngrnotok"].pop(name)
            same(other, one)

    def left_out(self):
        entry = json.loads(Path(self.downloads / "ngrnotok.har").read_text())["log"]["entries"][0]
        odd = {**entry, "request": {**entry["request"], "url": "blob:http://app.test/4cb8"}}
        file = self.downloads / "odd.har"
        file.write_text(json.dumps({"log": {"entries": [entry, odd]}}))
        self.page.type("#file", str(file))
        self.page.until_text("#dialog h1", "1 exchange imported, 1 left out")
        self.page.until_text("#dialog .reasons", "Entry 1: the address")
        self.page.press("Escape")

    def many(self):
        self.delete_all()
        entry = {
            "startedDateTime": "2026-01-02T03:04:05Z",
            "time": 3,
            "request": {"method": "GET", "url": "http://app.test/NUMBER", "httpVersion": "HTTP/1.1", "cookies": [], "headers": [], "queryString": [], "headersSize": -1, "bodySize": 0},
            "response": {"status": 200, "statusText": "OK", "httpVersion": "HTTP/1.1", "cookies": [], "headers": [], "content": {"size": 0, "mimeType": ""}, "redirectURL": "", "headersSize": -1, "bodySize": 0},
            "cache": {},
            "timings": {"send": 1, "wait": 1, "receive": 1},
        }
        text = json.dumps(entry)
        entries = ",".join(text.replace("NUMBER", str(number)) for number in range(1, 10_001))
        same(self.ask("POST", "/api/har", f'{{"log":{{"entries":[{entries}]}}}}')["imported"], 10_000)
        self.page.until("return document.getElementById('count').textContent === '10000'")
        same(self.page.run("return document.querySelectorAll('*').length < 1000"), True)
        self.page.run("document.getElementById('scroll').scrollTop = 1e9")
        self.page.until("return [...document.querySelectorAll('#rows .path bdi')].some((path) => path.textContent === '/1')")
        took = self.page.run(
            "const box = document.getElementById('filter'); const start = performance.now();"
            "const { setFilter } = await import('/list.js'); await setFilter('/77'); return performance.now() - start"
        )
        self.page.until_text("#count", "of 10000")
        if took > 500:
            raise AssertionError(f"a filter took {took:.0f} ms")
        self.page.run("return import('/list.js').then((list) => list.setFilter(''))")
        return f"a filter in {took:.0f} ms"

    def strangers(self):
        self.delete_all()
        self.visit("GET", "/mine")
        self.app.asked.clear()
        self.page.console()
        with serving(Stranger, target=self.web) as stranger:
            self.page.open(f"http://localhost:{stranger.server_address[1]}/")
            self.page.until("return window.names?.every((name) => window.got[name])")
            got = self.page.run("return window.got")
            same({name: outcome for name, (outcome, _) in got.items()}, {name: "refused" for name in got})
            # Neither frame shows anything of ours.
            hidden = self.page.run("try { return framed.contentDocument?.body.innerText ?? 'hidden' } catch { return 'hidden' }")
            same(hidden, "hidden")
        same([line["path"] for line in self.ask("GET", "/api/exchanges")["exchanges"]], ["/mine"])
        same(self.app.asked, [])
        # A name that was made to point here.
        connection = http.client.HTTPConnection(self.web.removeprefix("http://"), timeout=10)
        connection.request("GET", "/", headers={"Host": f"evil.test:{self.web.rsplit(':', 1)[1]}"})
        same(connection.getresponse().status, 403)
