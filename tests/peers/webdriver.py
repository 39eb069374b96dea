"""A browser, by plain WebDriver requests to chromedriver (https://w3c.github.io/webdriver/)."""

import base64
import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Enter": "\ue007", "Escape": "\ue00c"}


class Browser:
    def __init__(self, driver, session):
        self.base = f"{driver}/session/{session}"

    def _ask(self, method, path, body=None):
        return ask(method, self.base + path, body)

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def run(self, script, *args):
        """The value that a script returns, or that its promise becomes."""
        body = {"script": script, "args": list(args)}
        return self._ask("POST", "/execute/sync", body)

    def find(self, css):
        return self._ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self._ask("POST", f"/element/{self.find(css)}/click", {})

    def type(self, css, text):
        self._ask("POST", f"/element/{self.find(css)}/value", {"text": text})

    def press(self, *keys):
        """Presses keys one after the other, wherever the focus is."""
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def text(self, css):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? null", css)

    def until(self, script, *args, limit=15):
        """Waits until a script returns something true, and returns that."""
        end = time.monotonic() + limit
        while True:
            value = self.run(script, *args)
            if value:
                return value
            if time.monotonic() > end:
                shown = self.run("return document.body.innerText")
                raise AssertionError(f"never true: {script} {args}; the page says: {shown[:800]}")
            time.sleep(0.02)

    def until_text(self, css, part, limit=15):
        script = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"
        self.until(script, css, part, limit=limit)

    def size(self, width, height, dark=False):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", {"features": [feature]})

    def command(self, name, params):
        """A command of Chromium's own protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": params})

    def picture(self, file):
        with open(file, "wb") as out:
            out.write(base64.b64decode(self._ask("GET", "/screenshot")))

    def console(self):
        """What the page and the browser have complained of since this was last asked."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]


def ask(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        value = json.load(error)["value"]
        raise AssertionError(f"{method} {url}: {value['error']}: {value['message'][:500]}") from None


@contextmanager
def browser(chromium, chromedriver, downloads):
    """A browser of its own that keeps what it saves in a folder."""
    with tempfile.TemporaryDirectory(prefix="ngrnotok-browser-") as profile:
        log = open(f"{profile}/driver.log", "w+")
        driver = subprocess.Popen([chromedriver, "--port=0"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            for line in driver.stdout:
                if "started successfully on port" in line:
                    url = f"http://127.0.0.1:{line.rstrip().rstrip('.').rsplit(' ', 1)[1]}"
                    break
            else:
                raise RuntimeError("chromedriver does not start")
            args = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-proxy-server",
                f"--user-data-dir={profile}/data",
            ]
            options = {
                "binary": chromium,
                "args": args,
                "prefs": {"download.default_directory": str(downloads)},
            }
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = ask("POST", f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})
            found = Browser(url, session["sessionId"])
            try:
                yield found
            finally:
                ask("DELETE", found.base)
        finally:
            driver.terminate()
            driver.wait(10)
            log.close()
