//! What may be different behind a tunnel, and nothing else.
//!
//! Every rule takes something away from what was said without a tunnel, or from what the two hops add
//! on their own. What is left must be equal.

use crate::case::{Answer, Ask, Heard, Step};
use crate::message::{End, Message, Named};

/// Which versions are spoken at the two ends of a tunnel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hops {
    pub(crate) http2_visitor: bool,
    pub(crate) http2_app: bool,
}

/// Fields of one connection, whether `Connection` lists them or not (RFC 9110 §7.6.1).
const PER_HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Fields that `Connection` cannot take away: whom a message is for, where it ends, who sent it.
const END_TO_END: [&str; 9] = [
    "authorization",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "te",
    "x-forwarded-for",
    "x-forwarded-proto",
];

/// What the edge says of the visitor, whatever the visitor says of itself.
const FORWARDED: [&str; 5] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// The differences between a request as the app saw it from its visitor and through a tunnel.
pub(crate) fn requests(
    ask: &Ask,
    answer: &Answer,
    direct: &Message,
    tunnelled: &Message,
    hops: Hops,
) -> Vec<String> {
    let (mut direct, mut tunnelled) = (direct.clone(), tunnelled.clone());
    // RFC 9112 §3.2.2: the next hop is asked in origin form.
    if let Some((_, rest)) = direct.start.split_once(" http://") {
        let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
        direct.start = format!("{} {path}", ask.method);
    }
    take_hop(&mut direct.fields, ask.protocol.is_some());
    only_trailers(&mut direct.fields);
    // RFC 9113 §8.2.3: crumbs are one cookie.
    if let Some(cookie) = direct.fields.get_mut("cookie") {
        *cookie = vec![cookie.join("; ")];
    }
    take(&mut direct.fields, &FORWARDED);
    take(&mut tunnelled.fields, &FORWARDED);
    if !hops.http2_app {
        // How this hop frames a body without a length, and how it asks for a switch.
        take(&mut tunnelled.fields, &["transfer-encoding"]);
        if ask.protocol.is_some() {
            take(&mut tunnelled.fields, &["connection"]);
        }
        // RFC 6455 §4.1: made up for a visitor who has none (RFC 8441 §5).
        if hops.http2_visitor && ask.protocol == Some("websocket") {
            take(&mut direct.fields, &["sec-websocket-key"]);
            take(&mut tunnelled.fields, &["sec-websocket-key"]);
        }
        // RFC 9110 §6.5.1: HTTP/1.1 has room only for trailers that were announced.
        if !direct.fields.contains_key("trailer") {
            direct.trailers.clear();
        }
    }
    let waits = answer
        .before
        .iter()
        .any(|step| matches!(step, Step::Hear(Heard::End)));
    let leaves = ask
        .steps
        .iter()
        .any(|step| matches!(step, Step::Break | Step::Close));
    if !waits && !answer.switches() && !leaves && direct.end != End::Whole {
        // Nobody wants the rest of an upload that has been answered; how much of it is on its way by
        // then is chance.
        tunnelled.end = direct.end.clone();
    }
    differences("the app saw", &direct, tunnelled)
}

/// The differences between an answer straight from the app and through a tunnel.
pub(crate) fn answers(ask: &Ask, direct: &Message, tunnelled: &Message, hops: Hops) -> Vec<String> {
    let (mut direct, mut tunnelled) = (direct.clone(), tunnelled.clone());
    let switched = direct.start == "101";
    // What is no HTTP cannot be passed on.
    if matches!(direct.end, End::Wrong(_)) {
        direct.end = End::Broken;
    }
    take_hop(&mut direct.fields, switched);
    if switched {
        // RFC 9110 §8.6: no length in a 101.
        take(&mut direct.fields, &["content-length"]);
    }
    if hops.http2_visitor {
        if switched {
            // RFC 8441 §5: a 200 without the fields of the HTTP/1.1 handshake.
            direct.start = "200".to_owned();
            take(&mut direct.fields, &["upgrade", "sec-websocket-accept"]);
        }
    } else {
        take(&mut tunnelled.fields, &["connection", "transfer-encoding"]);
        // An HTTP/1.1 visitor is told of 100 alone, in the edge's own words: hyper says no other.
        let expects = ask.says("Expect", "100-continue");
        direct
            .interims
            .retain(|(status, _)| *status == 100 && expects);
        for (_, fields) in &mut direct.interims {
            fields.clear();
        }
        // RFC 9110 §10.1.1: the edge may say it for an app that will not.
        if expects && direct.interims.is_empty() && direct.start == "200" {
            tunnelled.interims.retain(|(status, _)| *status != 100);
        }
        // RFC 9110 §6.5.1, RFC 9112 §7.1.2: trailers are for those who say that they want them, and
        // the ones that were announced.
        if !ask.says("TE", "trailers") || !direct.fields.contains_key("trailer") {
            direct.trailers.clear();
        }
        // How this hop frames no body.
        let length = tunnelled.fields.get("content-length");
        if length.is_some_and(|length| *length == ["0"])
            && !direct.fields.contains_key("content-length")
        {
            take(&mut tunnelled.fields, &["content-length"]);
        }
    }
    // RFC 9110 §8.6: a 304 may tell a length, and hyper never does.
    if direct.start == "304" && !hops.http2_visitor {
        take(&mut direct.fields, &["content-length"]);
    }
    // RFC 9110 §8.6: no length in a 204, and none in an interim answer.
    if direct.start == "204" {
        take(&mut direct.fields, &["content-length"]);
    }
    for (_, fields) in &mut direct.interims {
        take(fields, &["content-length"]);
    }
    differences("the visitor got", &direct, tunnelled)
}

fn differences(who: &str, direct: &Message, mut tunnelled: Message) -> Vec<String> {
    let mut found = Vec::new();
    let (one, other) = (&direct.body, &tunnelled.body);
    if direct.end != End::Whole && (one.starts_with(other) || other.starts_with(one)) {
        // A reset overtakes what was sent before it (RFC 9293 §3.10.7.4); half of a body is half of it.
        tunnelled.body.clone_from(&direct.body);
    }
    let mut differ = |what: &str, direct: &dyn std::fmt::Debug, tunnelled: &dyn std::fmt::Debug| {
        let (direct, tunnelled) = (format!("{direct:?}"), format!("{tunnelled:?}"));
        if direct != tunnelled {
            let (direct, tunnelled) = (short(&direct), short(&tunnelled));
            found.push(format!("{who} {what} {tunnelled} instead of {direct}"));
        }
    };
    differ("start", &direct.start, &tunnelled.start);
    differ("interims", &direct.interims, &tunnelled.interims);
    let names = direct.fields.keys().chain(tunnelled.fields.keys());
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        differ(name, &direct.fields.get(name), &tunnelled.fields.get(name));
    }
    if direct.body != tunnelled.body {
        let text = |body: &[u8]| body.escape_ascii().to_string();
        let sizes = (direct.body.len(), tunnelled.body.len());
        differ(
            &format!("body of {} not {} bytes", sizes.1, sizes.0),
            &text(&direct.body),
            &text(&tunnelled.body),
        );
    }
    differ("trailers", &direct.trailers, &tunnelled.trailers);
    differ("end", &direct.end, &tunnelled.end);
    found
}

fn short(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn take(fields: &mut Named, names: &[&str]) {
    for name in names {
        fields.remove(*name);
    }
}

/// Removes what belongs to one connection.
fn take_hop(fields: &mut Named, switches: bool) {
    let listed = fields
        .get("connection")
        .cloned()
        .unwrap_or_default()
        .join(",");
    for name in listed.split(',') {
        let name = name.trim().to_ascii_lowercase();
        let kept = END_TO_END.contains(&name.as_str()) || name == "upgrade";
        if !kept {
            fields.remove(&name);
        }
    }
    for name in PER_HOP {
        let kept = switches && name == "upgrade";
        if !kept {
            fields.remove(name);
        }
    }
}

/// RFC 9113 §8.2.2: the one transfer coding that passes.
fn only_trailers(fields: &mut Named) {
    let Some(codings) = fields.remove("te") else {
        return;
    };
    let codings = codings.join(",").to_ascii_lowercase();
    let mut codings = codings
        .split(',')
        .map(|coding| coding.split(';').next().unwrap_or_default().trim());
    if codings.any(|coding| coding == "trailers") {
        fields.insert("te".to_owned(), vec!["trailers".to_owned()]);
    }
}
