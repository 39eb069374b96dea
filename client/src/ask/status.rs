//! `ngrnotok status`

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::AskError;
use super::running::Running;
use super::words::Status;

/// Says how the running client stands.
pub async fn status(folder: Option<&Path>, words: &Status) -> Result<String, AskError> {
    let client = Running::find(folder, words.whom.web_address).await?;
    let status = client.get("/api/status").await?;
    if words.whom.json {
        return Ok(format!("{status}\n"));
    }
    let link = client.post("/api/sign-in/links", &Value::Null).await;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut shown = String::new();
    let mut line = |label: &str, what: &str| {
        writeln!(shown, "{label:<11} {what}").expect("a string takes everything");
    };
    let session = &status["session"];
    let state = match (status["reason"].as_str(), session["account"].as_str()) {
        (Some(reason), _) => format!("{}: {reason}", text(&status["state"])),
        (None, Some(account)) => format!("{} (account {account})", text(&status["state"])),
        (None, None) => text(&status["state"]),
    };
    line("Session", &state);
    line("Version", &text(&status["version"]));
    if let Some(region) = session["region"].as_str() {
        line("Region", region);
    }
    if let Some(latency) = session["latency_ms"].as_f64() {
        line("Latency", &format!("{latency:.1} ms"));
    }
    // A client that runs since before an update may have no links.
    let page = link.map_or_else(|_| client.page(), |link| text(&link["url"]));
    line("Inspect", &page);
    for tunnel in status["tunnels"].as_array().into_iter().flatten() {
        match tunnel["refused"].as_str() {
            Some(reason) => line("Refused", &format!("{}: {reason}", text(&tunnel["name"]))),
            None => {
                let (url, target) = (text(&tunnel["url"]), text(&tunnel["target"]));
                line("Forwarding", &format!("{url} -> {target}"));
            }
        }
    }
    let numbers = &status["connections"];
    line(
        "Connections",
        &format!("{} so far, {} open", numbers["ttl"], numbers["opn"]),
    );
    line("Newest", &format!("#{}", status["recorder"]["newest"]));
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::ask::words::Whom;

    /// Answers as a client did that had no links.
    async fn answer_without_links(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            let (status, body) = match head[..read].starts_with(b"GET /api/status ") {
                true => (
                    "200 OK",
                    r#"{"state":"online","version":"0.9.0","tunnels":[]}"#,
                ),
                false => (
                    "404 Not Found",
                    r#"{"title":"Nothing is there","detail":"Look."}"#,
                ),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_client_without_links_is_shown_with_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let words = Status {
            whom: Whom {
                web_address: Some(address),
                json: false,
            },
        };
        let shown = tokio::select! {
            shown = status(None, &words) => shown.unwrap(),
            () = answer_without_links(listener) => panic!("it listens on"),
        };
        let inspect = shown.lines().find(|line| line.starts_with("Inspect"));
        let page = format!(" http://{address}/");
        assert!(inspect.unwrap().ends_with(&page), "{shown}");
    }
}
