//! `ngrnotok logs`

use std::fmt::Write as _;
use std::path::Path;

use http::Method;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::running::Running;
use super::wait::is_over;
use super::words::{Logs, Part};
use super::{AskError, shown};

/// Shows what went through the running client, and with `--follow` what goes.
pub async fn logs(
    folder: &Path,
    words: &Logs,
    out: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<(), AskError> {
    let client = Running::find(folder, words.whom.web_address).await?;
    if let Some(id) = words.id {
        out.write_all(&one(&client, id, words).await?).await?;
        return Ok(out.flush().await?);
    }
    let mut following = client.follow().await?;
    // The first event has all that there is, in parts if it is much.
    let mut lines = Vec::new();
    let newest = super::wait::newest(&client).await?;
    while lines
        .last()
        .is_none_or(|last: &Value| last["id"].as_u64() < Some(newest))
        && newest > 0
    {
        lines.extend(following.next().await?);
    }
    let mut pending = Vec::new();
    lines.retain(|line| words.which.fits(line) && line["id"].as_u64() > words.which.after);
    let skip = lines.len().saturating_sub(words.limit);
    for line in lines.drain(..).skip(skip) {
        // What goes on is shown when it is over.
        match words.follow && !is_over(&line) {
            true => pending.push(line["id"].clone()),
            false => out.write_all(said(&line, words).as_bytes()).await?,
        }
    }
    out.flush().await?;
    if !words.follow {
        return Ok(());
    }
    let mut last = newest;
    loop {
        for line in following.next().await? {
            let id = line["id"].as_u64().unwrap_or(0);
            if id > last {
                last = id;
                pending.push(line["id"].clone());
            }
            if is_over(&line)
                && let Some(place) = pending.iter().position(|known| *known == line["id"])
            {
                pending.swap_remove(place);
                if words.which.fits(&line) {
                    out.write_all(said(&line, words).as_bytes()).await?;
                }
            }
        }
        out.flush().await?;
    }
}

fn said(line: &Value, words: &Logs) -> String {
    match words.whom.json {
        true => format!("{line}\n"),
        false => format!("{}\n", shown(line)),
    }
}

/// An exchange with its bodies, or one of its bodies alone.
async fn one(client: &Running, id: u64, words: &Logs) -> Result<Vec<u8>, AskError> {
    let body = async |part: &str| {
        let path = format!("/api/exchanges/{id}/body?part={part}&decoded=1");
        client.bytes(Method::GET, &path, None).await
    };
    match words.body {
        Some(Part::Request) => return Ok(body("request").await?.to_vec()),
        Some(Part::Answer) => return Ok(body("answer").await?.to_vec()),
        None => {}
    }
    let path = format!("/api/exchanges/{id}?secrets={}", words.secrets);
    let whole = client.get(&path).await?;
    if words.whom.json {
        return Ok(format!("{whole}\n").into_bytes());
    }
    let mut text = format!("{}\n", shown(&whole));
    for part in ["request", "answer"] {
        let half = &whole[part];
        if half.is_null() {
            continue;
        }
        let first = match part {
            "request" => format!(
                "{} {}",
                whole["method"].as_str().unwrap_or("?"),
                whole["url"].as_str().unwrap_or("?")
            ),
            _ => whole["status"].to_string(),
        };
        writeln!(text, "\n{first}").expect("a string takes everything");
        for field in half["fields"].as_array().into_iter().flatten() {
            let word = |name: &str| field[name].as_str().unwrap_or_default();
            writeln!(text, "{}: {}", word("name"), word("value"))
                .expect("a string takes everything");
        }
        if half["body"]["kept"] != 0 {
            let bytes = body(part).await?;
            let shown = match std::str::from_utf8(&bytes) {
                Ok(body) => body.trim_end().to_owned(),
                Err(_) => format!(
                    "{} bytes that are no text; ngrnotok logs {id} --body {part} prints them",
                    bytes.len()
                ),
            };
            writeln!(text, "\n{shown}").expect("a string takes everything");
        }
    }
    Ok(text.into_bytes())
}
