"""Vite's dev server behind `--dev`, looked at by a browser: is an edit seen without a reload?"""

import shutil
import subprocess
from pathlib import Path

import tunnel
from report import same

HERE = Path(__file__).with_name("vite")
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


def run(report):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    vite = tunnel.WORK / "vite/node_modules/.bin/vite"
    for needed, there in (("chromium", browser), ("npm", shutil.which("npm")), ("Vite", vite.exists())):
        if not there:
            report.skip("vite page and hot edits, --dev", f"no {needed}")
            return
    folder = fresh_copy()
    port = tunnel.free_port()
    vite = [vite, "--host", "127.0.0.1", "--strictPort", "--port", port]
    with tunnel.app(vite, "  ➜  Local:", cwd=folder):
        with tunnel.with_server(["-p", port], "--dev") as found:

            def edit():
                command = ["node", folder / "hmr.mjs", browser, found.url, folder]
                said = subprocess.run(command, capture_output=True, timeout=50, cwd=folder)
                same((said.returncode, said.stderr.decode()), (0, ""))
                return said.stdout.decode().strip()

            report.check("vite page and hot edits, --dev", edit, limit=60)
        with tunnel.with_server(["-p", port]) as found:

            def refused():
                curl = ["curl", "--silent", "--max-time", "10", *found.curl(), found.url]
                body = subprocess.run(curl, capture_output=True, timeout=15).stdout
                same(b"Blocked request. This host" in body, True)
                same("--dev" in found.event("hint")["text"], True)

            report.check("vite refuses the host and the client says which option helps", refused)


def fresh_copy():
    """The page as it is before edits, beside the packages that `run` has installed."""
    folder = tunnel.WORK / "vite"
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    return folder
