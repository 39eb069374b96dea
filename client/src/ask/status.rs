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
    let link = client.post("/api/sign-in/links", &Value::Null).await?;
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
    line("Inspect", &text(&link["url"]));
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
