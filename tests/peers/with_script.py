"""A script that reads the URL from a pipe and nothing after it, as many do."""

import json
import signal
import subprocess
import urllib.request

import tunnel
from report import same

# More lines than a pipe of 64 KiB holds.
REQUESTS = 500


def serves_on():
    with tunnel.folder() as folder:
        command = [tunnel.BINARIES / "ngrnotok", "http", "--hello", "--output", "json"]
        client = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=tunnel.clean(folder)
        )
        try:
            url = json.loads(client.stdout.readline())["url"]
            url = f"http://127.0.0.1:{url.rsplit(':', 1)[1]}/" + "long" * 50
            for _ in range(REQUESTS):
                with urllib.request.urlopen(url, timeout=3) as answer:
                    same(answer.status, 200)
            client.send_signal(signal.SIGTERM)
            same(client.wait(12), 0)
        finally:
            if client.poll() is None:
                client.kill()
                client.wait(5)
            client.stdout.close()


def run(report):
    report.check("script that reads only the first line", serves_on)
