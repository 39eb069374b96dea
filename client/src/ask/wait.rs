//! `ngrnotok wait-for-request`: the way for scripts and agents to await a webhook.
//!
//! What counts is decided before it is waited for: requests after the newest that there was when this
//! began, or after the one that was named. Of those that fit, the one that is over first is taken.

use std::path::Path;

use serde_json::Value;
use tokio::time::timeout;

use super::running::Running;
use super::words::{Wait, Which};
use super::{AskError, shown};

/// Waits for a request that fits, and says which it was.
pub async fn wait_for_request(folder: Option<&Path>, words: &Wait) -> Result<String, AskError> {
    let client = Running::find(folder, words.whom.web_address).await?;
    let after = match words.which.after {
        Some(after) => after,
        None => newest(&client).await?,
    };
    let waiting = async {
        let mut following = client.follow().await?;
        loop {
            for line in following.next().await? {
                let fits = line["id"].as_u64() > Some(after)
                    && is_over(&line)
                    && words.which.fits(&line)
                    && words
                        .status
                        .as_ref()
                        .is_none_or(|status| has(&line, status));
                if fits {
                    return Ok::<_, AskError>(line);
                }
            }
        }
    };
    let line = match timeout(words.timeout, waiting).await {
        Ok(line) => line?,
        Err(_) => return Err(AskError::TimedOut(words.timeout)),
    };
    if !words.whom.json {
        return Ok(format!("{}\n", shown(&line)));
    }
    let whole = client.get(&format!("/api/exchanges/{}", line["id"])).await;
    Ok(format!("{}\n", whole.unwrap_or(line)))
}

/// The number of the newest exchange; 0 if there was none.
pub(super) async fn newest(client: &Running) -> Result<u64, AskError> {
    let status = client.get("/api/status").await?;
    Ok(status["recorder"]["newest"].as_u64().unwrap_or(0))
}

/// Whether nothing more comes. A WebSocket and a stream of events need not end: their answer counts.
pub(super) fn is_over(line: &Value) -> bool {
    let lasts = !matches!(line["kind"].as_str(), Some("plain" | "grpc"));
    line["state"] != "open" || lasts && line["status"].is_u64()
}

fn has(line: &Value, status: &str) -> bool {
    let Some(found) = line["status"].as_u64() else {
        return false;
    };
    match status.strip_suffix("xx") {
        Some(kind) => kind == (found / 100).to_string(),
        None => status == found.to_string(),
    }
}

impl Which {
    pub(super) fn fits(&self, line: &Value) -> bool {
        let is = |name: &str, wanted: &Option<String>| {
            let found = line[name].as_str().unwrap_or_default();
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        let path = line["path"].as_str().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let path = self
            .path
            .as_ref()
            .is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => path == wanted,
            });
        path && is("method", &self.method) && is("tunnel", &self.tunnel)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_waited_for_is_said_in_full_or_by_its_beginning() {
        let line = json!({ "method": "POST", "path": "/hooks/pay?x=1", "tunnel": "app" });
        let fits = |path: &str, method: &str| {
            let which = Which {
                path: Some(path.into()),
                method: Some(method.into()),
                ..Which::default()
            };
            which.fits(&line)
        };
        assert!(fits("/hooks/pay", "post") && fits("/hooks/*", "POST") && fits("*", "POST"));
        assert!(!fits("/hooks", "POST") && !fits("/hooks/pay", "GET") && !fits("/pay*", "POST"));
        assert!(Which::default().fits(&line));
    }

    #[test]
    fn what_need_not_end_counts_once_it_is_answered() {
        let line = |kind: &str, state: &str, status: Option<u16>| {
            is_over(&json!({ "kind": kind, "state": state, "status": status }))
        };
        assert!(line("plain", "done", Some(200)) && line("plain", "trouble", None));
        assert!(!line("plain", "open", Some(200)) && !line("websocket", "open", None));
        assert!(line("websocket", "open", Some(101)) && line("events", "open", Some(200)));
    }
}
