"""A small Flask app on Flask's dev server, as its users write them: `flask_app.py TRUSTED_HOST|any`."""

import sys

from flask import Flask, redirect, request, session, url_for
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server

app = Flask(__name__)
app.secret_key = "only for tests"

if sys.argv[1] == "any":
    # What Flask's own documentation says to do behind a proxy.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)
else:
    app.config["TRUSTED_HOSTS"] = [sys.argv[1]]


@app.get("/")
def index():
    return {
        "host": request.host,
        "scheme": request.scheme,
        "origin": request.headers.get("Origin"),
        "here": url_for("index", _external=True),
    }


@app.post("/login")
def login():
    session["user"] = request.form["user"]
    answer = redirect(url_for("me", _external=True))
    domain = None if sys.argv[1] == "any" else sys.argv[1]
    answer.set_cookie("flavour", "oat", domain=domain)
    return answer


@app.get("/me")
def me():
    return {"user": session.get("user"), "flavour": request.cookies.get("flavour")}


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
