//! `ngrnotok resend`

use std::io::Read as _;
use std::path::Path;

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::running::Running;
use super::words::Resend;
use super::{AskError, shown};

/// Has the running client send a request once more, and says what came of it.
pub async fn resend(folder: Option<&Path>, words: &Resend) -> Result<String, AskError> {
    let client = Running::find(folder, words.whom.web_address).await?;
    let id = match words.id {
        Some(id) => id,
        None => newest_of_a_visitor(&client).await?,
    };
    let mut change = Map::new();
    for (name, word) in [
        ("method", &words.method),
        ("path", &words.path),
        ("tunnel", &words.tunnel),
    ] {
        if let Some(word) = word {
            change.insert(name.to_owned(), json!(word));
        }
    }
    if let Some(file) = &words.body_file {
        let body = read(file).map_err(|error| {
            AskError::Problem(format!("failed to read {}: {error}", file.display()))
        })?;
        change.insert("body_base64".to_owned(), json!(BASE64.encode(&body)));
    }
    let wait = words.timeout.as_millis().min(600_000);
    let path = format!("/api/exchanges/{id}/resend?wait_ms={wait}");
    let sent = client.post(&path, &Value::Object(change)).await?;
    let exchange = &sent["exchange"];
    if exchange["status"].is_null() {
        let reason = exchange["reason"].as_str();
        return Err(AskError::NoAnswer {
            id: sent["id"].as_u64().unwrap_or(0),
            reason: reason.unwrap_or("not in time").to_owned(),
        });
    }
    Ok(match words.whom.json {
        true => format!("{exchange}\n"),
        false => format!("{}\n", shown(exchange)),
    })
}

async fn newest_of_a_visitor(client: &Running) -> Result<u64, AskError> {
    let mut before = String::new();
    loop {
        let page = client
            .get(&format!("/api/exchanges?limit=1000{before}"))
            .await?;
        let mut lines = page["exchanges"].as_array().into_iter().flatten();
        if let Some(line) = lines.find(|line| line["origin"] == "visitor") {
            return Ok(line["id"].as_u64().unwrap_or(0));
        }
        let Some(next) = page["next_before"].as_u64() else {
            return Err(AskError::Problem(
                "there is no request to send again".into(),
            ));
        };
        before = format!("&before={next}");
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(file)
}
