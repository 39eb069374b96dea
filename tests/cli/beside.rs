//! `ngrnotok run`: a command and its tunnel begin and end together.

use std::net::TcpListener;

use ngrnotok_tests::program::{Program, Running, Scratch};
use ngrnotok_tests::{run, soon};

use crate::{RunningServer, ngrnotok, visit};

/// Web servers that say where they are told to be. Each word is a port to open; "raw" is one that is no
/// web server. One that is asked for /move is on another port a moment later. At Ctrl-C it ends with 7.
const APP: &str = r#"
import http.server, os, signal, socket, sys, threading
signal.signal(signal.SIGINT, lambda *_: os._exit(7))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(404)
        self.end_headers()
    def do_GET(self):
        text = f"{self.server.server_port} {os.environ['NGRNOTOK_URL']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        if self.path == "/move":
            threading.Thread(target=move, args=(self.server,)).start()
    def log_message(self, *_):
        pass
def serve(port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever).start()
def move(server):
    server.shutdown()
    server.server_close()
    serve(0)
kept = []
for word in sys.argv[1:]:
    if word == "raw":
        kept.append(socket.create_server(("127.0.0.1", 0)))
    else:
        serve(int(word))
"#;

/// `ngrnotok run OPTIONS -- python3 -c APP PORTS…`, with a shell in between as npm has it.
fn app(scratch: &Scratch, options: &[&str], ports: &[&str]) -> Program {
    // With a trap the shell waits for what it has started.
    let script = "trap : INT; python3 -c \"$0\" \"$@\"; exit $?";
    let run = ngrnotok(scratch, &["run"]).args(options);
    run.args(["--", "sh", "-c", script, APP]).args(ports)
}

async fn url(running: &mut Running) -> String {
    let forwarding = running.line_of("Forwarding").await;
    let url = forwarding.split(' ').next();
    url.expect("a word at least").to_owned()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    address.port().to_string()
}

#[test]
fn the_port_is_found_the_url_is_known_and_ctrl_c_ends_both() {
    run(async {
        let scratch = Scratch::new();
        let mut both = app(&scratch, &["--name", "app"], &["0"]).start();
        let url = url(&mut both).await;
        both.line_of("Go public").await;
        let answer = visit(&url, "/").await;
        let answer = answer.text();
        assert!(answer.ends_with(&format!(" {url}")), "{answer}");
        both.signal("INT").await;
        let (code, rest) = both.ended().await;
        assert_eq!(code, Some(7), "{rest:?}");
    });
}

#[test]
fn sigterm_reaches_the_command_and_what_it_has_started() {
    run(async {
        let scratch = Scratch::new();
        let mut both = app(&scratch, &["--name", "app"], &["0"]).start();
        let forwarding = both.line_of("Forwarding").await;
        both.signal("TERM").await;
        assert_eq!(both.ended().await.0, Some(128 + 15));
        // The web server is what the shell has started.
        let port = forwarding.rsplit(':').next().unwrap();
        let again = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await;
        assert!(again.is_err());
    });
}

#[test]
fn the_exit_status_is_that_of_the_command() {
    run(async {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
            let scratch = Scratch::new();
            let args = ["run", "--", "sh", "-c", script];
            let ended = ngrnotok(&scratch, &args).output().await;
            assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        }
        let scratch = Scratch::new();
        let args = ["run", "--", "no-such-program-anywhere"];
        let ended = ngrnotok(&scratch, &args).output().await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("PATH"), "{}", ended.stderr);
    });
}

#[test]
fn the_url_is_the_same_tomorrow_and_another_for_another_command() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let way = [
            "run",
            "--server",
            &server.https,
            "--server-pin",
            &server.pin,
        ];
        let mut urls = Vec::new();
        for script in [
            "echo $NGRNOTOK_URL",
            "echo $NGRNOTOK_URL",
            "echo  $NGRNOTOK_URL",
        ] {
            let run = ngrnotok(&scratch, &way).args(["--", "sh", "-c", script]);
            urls.push(run.output().await.stdout);
        }
        assert!(urls[0].starts_with("https://"), "{urls:?}");
        assert_eq!(urls[0], urls[1]);
        assert_ne!(urls[0], urls[2]);
    });
}

#[test]
fn of_several_ports_the_one_that_answers_http_is_taken_and_the_others_are_told() {
    run(async {
        let scratch = Scratch::new();
        let mut both = app(&scratch, &["--name", "app"], &["raw", "0"]).start();
        let url = url(&mut both).await;
        let told = both.complaint_with("-p PORT chooses").await;
        assert!(told.contains("has opened port "), "{told}");
        assert!(visit(&url, "/").await.text().ends_with(&url));
    });
}

#[test]
fn the_port_can_be_chosen_by_the_user_or_for_the_command() {
    run(async {
        let scratch = Scratch::new();
        let (first, second) = (free_port(), free_port());
        let options = ["--name", "app", "-p", &second];
        let mut both = app(&scratch, &options, &[&first, &second]).start();
        let seen = url(&mut both).await;
        let answer = visit(&seen, "/").await;
        let answer = answer.text();
        assert!(answer.starts_with(&format!("{second} ")), "{answer}");
        both.signal("TERM").await;
        both.ended().await;

        let script = "exec python3 -c \"$0\" \"$PORT\"";
        let args = ["run", "--port-env", "--", "sh", "-c", script, APP];
        let mut both = ngrnotok(&scratch, &args).start();
        let seen = url(&mut both).await;
        assert!(visit(&seen, "/").await.text().ends_with(&seen));
    });
}

#[test]
fn a_command_that_comes_back_on_another_port_is_followed() {
    run(async {
        let scratch = Scratch::new();
        // The other one is there all the time, and is not what has come back.
        let options = ["--name", "app", "--web", "off"];
        let mut both = app(&scratch, &options, &["0", "0"]).start();
        let before = both.line_of("Forwarding").await;
        let url = before.split(' ').next().expect("a word at least");
        let others = both.complaint_with("-p PORT chooses").await;
        visit(url, "/move").await;
        let after = both.line_of("Forwarding").await;
        assert!(after.starts_with(&format!("{url} -> ")), "{after}");
        let port = after.rsplit(':').next().expect("a port");
        assert!(!before.ends_with(port), "{before}, then {after}");
        assert!(
            !others.contains(&format!("port {port},")),
            "{others}, then {after}"
        );
        let answer = visit(url, "/").await;
        assert_eq!(answer.text(), format!("{port} {url}"));
    });
}

#[test]
fn the_command_does_not_inherit_secrets() {
    run(async {
        let scratch = Scratch::new();
        let script = "env | grep -e ^NGRNOTOK -e ^HTTPS_PROXY | cut -d= -f1 | sort | xargs";
        let run = ngrnotok(&scratch, &["run", "--", "sh", "-c", script])
            .env("NGRNOTOK_TOKEN", "ngrt_secret")
            .env("NGRNOTOK_WEB_PASSWORD", "secret")
            .env("NGRNOTOK_PROXY", "http://ann:secret@proxy.test")
            .env("HTTPS_PROXY", "http://proxy.test")
            .env("NGRNOTOK_TOKEN_FILE", "/run/secrets/token");
        let ended = run.output().await;
        // A path is no secret, and the proxy of all programs is the command's, too.
        let kept = "HTTPS_PROXY NGRNOTOK_TOKEN_FILE NGRNOTOK_URL NGRNOTOK_WEB\n";
        assert_eq!(ended.stdout, kept, "{}", ended.stderr);
    });
}

#[test]
fn a_command_whose_name_is_taken_is_not_started() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let holder = server.client(&scratch, &["--hello", "--name", "app"]);
        let mut holder = holder.start();
        holder.line_of("Forwarding").await;
        let way = ["--server", &server.https, "--server-pin", &server.pin];
        let run = ngrnotok(&scratch, &["run", "--name", "app"]).args(way);
        let run = run.args(["--", "echo", "started"]);
        let ended = soon("its end", run.output()).await;
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert!(!ended.stdout.contains("started"));
    });
}

#[test]
fn programs_read_the_url_first_here_too() {
    run(async {
        let scratch = Scratch::new();
        let options = ["--name", "app", "--output", "json"];
        let mut both = app(&scratch, &options, &["0"]).start();
        let ready = crate::event(&mut both).await;
        assert_eq!(ready["event"], "ready");
        let target = ready["target"].as_str().unwrap();
        assert!(target.starts_with("http://localhost:"), "{target}");
    });
}
