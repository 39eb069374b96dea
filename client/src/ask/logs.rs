//! `ngrnotok logs`

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use http::Method;
use ngrnotok_common::printable;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::running::Running;
use super::wait::is_over;
use super::words::{Logs, Part};
use super::{AskError, shown};

/// Shows what went through the running client, and with `--follow` what goes. To a `terminal` nothing is shown
/// that could steer it.
pub async fn logs(
    folder: Option<&Path>,
    words: &Logs,
    terminal: bool,
    out: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<(), AskError> {
    let client = Running::find(folder, words.whom.web_address).await?;
    if let Some(id) = words.id {
        let shown = match words.body {
            Some(part) if terminal => printable_body(&client, id, part).await?,
            Some(part) => body(&client, id, part).await?,
            None => one(&client, id, words).await?.into(),
        };
        out.write_all(&shown).await?;
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
        true => format!("{}\n", printable::text(&line.to_string())),
        false => format!("{}\n", shown(line)),
    }
}

/// A body as far as it was kept, unpacked.
async fn body(client: &Running, id: u64, part: Part) -> Result<Bytes, AskError> {
    let part = part.word();
    let path = format!("/api/exchanges/{id}/body?part={part}&decoded=1");
    client.bytes(Method::GET, &path, None).await
}

/// A body for a terminal.
async fn printable_body(client: &Running, id: u64, part: Part) -> Result<Bytes, AskError> {
    let bytes = body(client, id, part).await?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(printable::text(text).into_owned().into()),
        Err(_) => Err(AskError::Problem(format!(
            "the body is {} bytes that are no text; send them into a file: ngrnotok logs {id} --body {} > FILE",
            bytes.len(),
            part.word()
        ))),
    }
}

/// An exchange with its bodies.
async fn one(client: &Running, id: u64, words: &Logs) -> Result<String, AskError> {
    let path = format!("/api/exchanges/{id}?secrets={}", words.secrets);
    let whole = client.get(&path).await?;
    if words.whom.json {
        return Ok(format!("{}\n", printable::text(&whole.to_string())));
    }
    let mut text = format!("{}\n", shown(&whole));
    for part in [Part::Request, Part::Answer] {
        let half = &whole[part.word()];
        if half.is_null() {
            continue;
        }
        let first = match part {
            Part::Request => format!(
                "{} {}",
                whole["method"].as_str().unwrap_or("?"),
                whole["url"].as_str().unwrap_or("?")
            ),
            Part::Answer => whole["status"].to_string(),
        };
        writeln!(text, "\n{first}").expect("a string takes everything");
        for field in half["fields"].as_array().into_iter().flatten() {
            let word = |name: &str| field[name].as_str().unwrap_or_default();
            writeln!(text, "{}: {}", word("name"), word("value"))
                .expect("a string takes everything");
        }
        if half["body"]["kept"] != 0 {
            let bytes = body(client, id, part).await?;
            let shown = match std::str::from_utf8(&bytes) {
                Ok(body) => body.trim_end().to_owned(),
                Err(_) => format!(
                    "{} bytes that are no text; ngrnotok logs {id} --body {} prints them",
                    bytes.len(),
                    part.word()
                ),
            };
            writeln!(text, "\n{shown}").expect("a string takes everything");
        }
    }
    Ok(printable::text(&text).into_owned())
}
