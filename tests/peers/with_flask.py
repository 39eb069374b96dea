"""Flask's dev server as local app: does it know where it is?"""

import json
import subprocess
import sys
from pathlib import Path

import tunnel
from report import same

APP = Path(__file__).with_name("flask_app.py")


def curl(found, path, *args):
    """Status, address at the end of all redirects, and body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "10", *found.curl(), *args]
    command += ["--write-out", "\n%{http_code} %{url_effective}", found.url + path]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=15)
    same((said.returncode, said.stderr), (0, b""))
    body, told = said.stdout.decode().rsplit("\n", 1)
    status, address = told.split(" ")
    return int(status), address, body


def seen(found):
    return json.loads(curl(found, "/", "--header", f"Origin: {found.url}")[2])


def login(found):
    """A redirect to an absolute address, and two cookies."""
    # An empty cookie file: curl keeps cookies for this run, by the rules of browsers.
    args = ["--location", "--cookie", "", "--data", "user=ada"]
    status, address, body = curl(found, "/login", *args)
    same((status, address), (200, f"{found.url}/me"))
    same(json.loads(body), {"user": "ada", "flavour": "oat"})


def run(report):
    with tunnel.app([sys.executable, APP, "localhost"], "listening on ") as port:
        with tunnel.with_server(["-p", port], "--dev") as found:
            own = f"http://localhost:{port}"

            def believes():
                expected = {"host": own[7:], "scheme": "http", "origin": own, "here": f"{own}/"}
                same(seen(found), expected)

            report.check("flask believes to be on localhost, --dev", believes)
            report.check("flask redirect and cookies, --dev", lambda: login(found))
        with tunnel.with_server(["-p", port]) as found:

            def refused():
                same(curl(found, "/")[0], 400)

            report.check("flask refuses a host it does not trust, without --dev", refused)
    with tunnel.app([sys.executable, APP, "any"], "listening on ") as port:
        with tunnel.with_server(["-p", port], "--dev") as found:

            def agrees():
                own = f"http://localhost:{port}"
                expected = {"host": own[7:], "scheme": "http", "origin": own, "here": f"{own}/"}
                same(seen(found), expected)

            report.check("flask that trusts X-Forwarded-* believes the same, --dev", agrees)
        with tunnel.with_server(["-p", port]) as found:

            def knows():
                host = f"{found.host}:{found.port}"
                expected = {"host": host, "scheme": "https", "origin": found.url, "here": f"{found.url}/"}
                same(seen(found), expected)

            report.check("flask knows its public address, without --dev", knows)
            report.check("flask redirect and cookies, without --dev", lambda: login(found))
