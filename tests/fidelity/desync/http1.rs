//! Attacks in HTTP/1.1. In a row, `HOST` is the host, `SMUGGLED` the request that is to be smuggled and
//! `HEX` its length, `LEN` the length of all that follows the first blank line.

mod chunks;
mod framing;
mod hops;
mod lines;

use super::{Attack, Must, replaced, smuggled};

/// A row is a whole request.
fn whole(name: &str, must: Must, template: &[u8]) -> Attack {
    let template = template.to_vec();
    Attack {
        name: name.to_owned(),
        must,
        bytes: Box::new(move |host| {
            let smuggled = smuggled(host);
            let hex = format!("{:x}", smuggled.len());
            let filled = replaced(&template, "SMUGGLED", &smuggled);
            let filled = replaced(&filled, "HOST", host.as_bytes());
            let filled = replaced(&filled, "HEX", hex.as_bytes());
            let end = filled.windows(4).position(|four| four == b"\r\n\r\n");
            let length = filled.len() - end.map_or(filled.len(), |end| end + 4);
            replaced(&filled, "LEN", length.to_string().as_bytes())
        }),
    }
}

/// Rows that differ in some field alone; they are named by it.
fn with_fields(body: &str, rows: &[(Must, &[u8])]) -> Vec<Attack> {
    let row = |(must, field): &(Must, &[u8])| {
        let template = [
            b"POST /a HTTP/1.1\r\nHost: HOST\r\n",
            *field,
            b"\r\n\r\n",
            body.as_bytes(),
        ]
        .concat();
        whole(&field.escape_ascii().to_string(), *must, &template)
    };
    rows.iter().map(row).collect()
}

/// Rows that differ in the first line alone.
fn with_lines(rows: &[(Must, &[u8])]) -> Vec<Attack> {
    let row = |(must, line): &(Must, &[u8])| {
        let template = [*line, b"\r\nHost: HOST\r\nX-A: 1\r\n\r\n"].concat();
        whole(&line.escape_ascii().to_string(), *must, &template)
    };
    rows.iter().map(row).collect()
}

/// Rows that differ in their chunks alone.
fn with_chunks(rows: &[(&str, Must, &[u8])]) -> Vec<Attack> {
    let row = |(name, must, chunks): &(&str, Must, &[u8])| {
        let head = b"POST /a HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n";
        whole(&format!("chunks: {name}"), *must, &[head, *chunks].concat())
    };
    rows.iter().map(row).collect()
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = framing::attacks();
    all.extend(chunks::attacks());
    all.extend(lines::attacks());
    all.extend(hops::attacks());
    all
}
