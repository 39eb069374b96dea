//! Which exchanges are wanted.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use crate::inspect::{Exchange, ExchangeId, Recorder, Summary, decoded};
use crate::web::problem::Problem;

/// What an exchange must be to be listed; all of it at once.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Filter {
    /// The method, `POST`.
    pub(super) method: Option<String>,
    /// The status, `404`, or all of a kind, `4xx`.
    #[param(pattern = "^([1-5]xx|[1-9][0-9][0-9])$")]
    pub(super) status: Option<String>,
    /// A part of the path with its query.
    pub(super) path: Option<String>,
    /// The name of a tunnel.
    pub(super) tunnel: Option<String>,
    /// Took this long at least, in milliseconds.
    pub(super) min_ms: Option<f64>,
    /// A field of request or answer: `content-type`, or with a part of its value, `content-type:json`.
    pub(super) field: Option<String>,
    /// Words anywhere in it: address, fields, bodies, messages. Case does not matter.
    pub(super) text: Option<String>,
    /// Only exchanges before this one.
    pub(super) before: Option<u64>,
    /// Only exchanges after this one.
    pub(super) after: Option<u64>,
    /// So many at most, 100 if not said, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
}

/// So many lines at most.
const MOST: usize = 1000;

impl Filter {
    /// Says what makes no sense in it.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if let Some(status) = &self.status
            && Status::read(status).is_none()
        {
            return Err(Problem::bad(format!(
                "status={status} is neither a status such as 404 nor a kind such as 4xx."
            )));
        }
        let ids = [self.before, self.after].into_iter().flatten();
        if ids.into_iter().any(|id| i64::try_from(id).is_err()) {
            return Err(Problem::bad("before and after are numbers of exchanges."));
        }
        if self.limit.is_some_and(|limit| !(1..=MOST).contains(&limit)) {
            return Err(Problem::bad(format!(
                "limit must be 1 to {MOST}; ask for the rest with before."
            )));
        }
        Ok(())
    }

    /// Whether it takes a look into exchanges, and so a while.
    pub(super) fn looks_inside(&self) -> bool {
        self.field.is_some() || self.text.is_some()
    }

    /// The newest exchanges that pass, newest first, and where to go on if there may be more. It ends early
    /// when it has looked through so many bytes, and when nobody waits for it any more.
    pub(super) fn newest(
        &self,
        recorder: &Recorder,
        most_read: usize,
        left: &CancellationToken,
    ) -> Found {
        let limit = self.limit.unwrap_or(100);
        let mut found = Found::default();
        let mut before = self.before.map(ExchangeId);
        let mut read = 0;
        loop {
            let some = recorder.newest(before, MOST);
            let Some(last) = some.last() else {
                return found;
            };
            before = Some(last.id);
            for summary in some {
                if self.after.is_some_and(|after| summary.id.0 <= after) {
                    return found;
                }
                let id = summary.id;
                if self.passes(&summary, recorder, &mut read) {
                    if found.summaries.len() == limit {
                        found.next_before = found.summaries.last().map(|last| last.id);
                        return found;
                    }
                    found.summaries.push(summary);
                }
                if read >= most_read || left.is_cancelled() {
                    found.next_before = Some(id);
                    return found;
                }
            }
        }
    }

    fn passes(&self, summary: &Summary, recorder: &Recorder, read: &mut usize) -> bool {
        let path = || path_of(&summary.uri);
        let method = |wanted: &String| wanted.eq_ignore_ascii_case(summary.method.as_str());
        let status = |wanted: &String| {
            let wanted = Status::read(wanted);
            wanted.is_some_and(|wanted| wanted.is(summary.status.map(|status| status.as_u16())))
        };
        let took = summary
            .timing
            .ended
            .map_or(0.0, |took| took.as_secs_f64() * 1e3);
        self.method.as_ref().is_none_or(method)
            && self.status.as_ref().is_none_or(status)
            && self
                .path
                .as_ref()
                .is_none_or(|part| path().contains(part.as_str()))
            && self
                .tunnel
                .as_ref()
                .is_none_or(|name| summary.tunnel.as_str() == name)
            && self.min_ms.is_none_or(|least| took >= least)
            && (!self.looks_inside()
                || recorder
                    .get(summary.id)
                    .is_some_and(|exchange| self.is_in(&exchange, read)))
    }

    /// Looks into all of an exchange, and counts what is `read` of it.
    fn is_in(&self, exchange: &Exchange, read: &mut usize) -> bool {
        let request = &exchange.request;
        let heads = || {
            let answer = exchange.answer.as_ref().map(|answer| &answer.fields);
            std::iter::once(&request.fields).chain(answer)
        };
        let field = |wanted: &String| heads().any(|fields| has_field(fields, wanted));
        let text = |wanted: &String| {
            let wanted = wanted.to_lowercase();
            let mut within = |bytes: &[u8]| {
                *read += bytes.len();
                String::from_utf8_lossy(bytes)
                    .to_lowercase()
                    .contains(&wanted)
            };
            let mut fields = heads().flat_map(HeaderMap::iter);
            let answer = exchange.answer.as_ref();
            let bodies = std::iter::once((&request.body.bytes, &request.fields))
                .chain(answer.map(|answer| (&answer.body.bytes, &answer.fields)));
            within(request.uri.to_string().as_bytes())
                || fields.any(|(name, value)| {
                    name.as_str().contains(&wanted) || within(value.as_bytes())
                })
                || bodies
                    .into_iter()
                    .any(|(body, fields)| within(&decoded(body, fields, searched(body)).bytes))
                || exchange
                    .messages
                    .iter()
                    .any(|message| within(&message.payload.bytes))
        };
        self.field.as_ref().is_none_or(field) && self.text.as_ref().is_none_or(text)
    }
}

/// What one question reads at most before it says how far it has come: 64 MiB, and what the last exchange has.
pub(super) const READ: usize = 64 * 1024 * 1024;

/// How much of an unpacked body is searched: 32 times what it takes packed, but 64 KiB at least and 1 MiB at
/// most. Zeros pack a thousand times smaller; nobody looks for them.
fn searched(packed: &Bytes) -> usize {
    (packed.len() * 32).clamp(64 * 1024, 1024 * 1024)
}

/// Those that pass a filter, newest first.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) summaries: Vec<Summary>,
    /// Before this one there may be more.
    pub(super) next_before: Option<ExchangeId>,
}

/// `name` or `name:value`, or the same with `=`; a part of the value is enough.
fn has_field(fields: &HeaderMap, wanted: &str) -> bool {
    let (name, value) = wanted.split_once([':', '=']).unwrap_or((wanted, ""));
    let value = value.trim().to_lowercase();
    fields.get_all(name.trim()).iter().any(|found| {
        let found = String::from_utf8_lossy(found.as_bytes()).to_lowercase();
        found.contains(&value)
    })
}

/// A status, or all that begin like it.
enum Status {
    One(u16),
    Kind(u16),
}

impl Status {
    fn read(word: &str) -> Option<Self> {
        match word.strip_suffix("xx") {
            Some(kind) => kind
                .parse()
                .ok()
                .filter(|kind| (1..=5).contains(kind))
                .map(Self::Kind),
            None => word
                .parse()
                .ok()
                .filter(|status| (100..=999).contains(status))
                .map(Self::One),
        }
    }

    fn is(&self, status: Option<u16>) -> bool {
        match self {
            Self::One(wanted) => status == Some(*wanted),
            Self::Kind(wanted) => status.map(|status| status / 100) == Some(*wanted),
        }
    }
}

/// What follows the host in an address.
pub(super) fn path_of(uri: &str) -> &str {
    match uri.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => uri,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Captured, Limits};
    use crate::web::har;

    #[test]
    fn a_status_is_one_or_a_kind() {
        let is = |word: &str, status| Status::read(word).unwrap().is(status);
        assert!(is("404", Some(404)) && !is("404", Some(405)) && !is("404", None));
        assert!(is("4xx", Some(499)) && !is("4xx", Some(500)));
        for word in ["", "x", "0xx", "6xx", "99", "4x", "-1"] {
            assert!(Status::read(word).is_none(), "{word}");
        }
    }

    #[test]
    fn a_path_follows_the_host() {
        assert_eq!(path_of("https://a.test/b?c=/d"), "/b?c=/d");
        assert_eq!(path_of("https://a.test"), "/");
        assert_eq!(path_of("/b"), "/b");
        assert_eq!(path_of("*"), "*");
    }

    #[test]
    fn a_field_is_found_by_name_and_part_of_its_value() {
        let mut fields = HeaderMap::new();
        fields.insert("content-type", "application/JSON".parse().unwrap());
        for wanted in ["content-type", "Content-Type:json", "content-type = app"] {
            assert!(has_field(&fields, wanted), "{wanted}");
        }
        for wanted in ["accept", "content-type:xml", "content type", ""] {
            assert!(!has_field(&fields, wanted), "{wanted}");
        }
    }

    /// A body of zeros, packed: a mebibyte in a kilobyte.
    fn bomb() -> Vec<u8> {
        use std::io::Write as _;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&vec![b'0'; 1024 * 1024]).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_search_goes_only_so_far_at_a_time_and_then_on() {
        let bomb = bomb();
        let most = searched(&bomb.clone().into());
        assert!(most < 1024 * 1024, "{most}");
        // Ten to an answer, and so three answers.
        let (count, most_read) = (25, 10 * most);
        let recorder = Recorder::new(Limits::default());
        let archive = serde_json::json!({ "log": { "entries": [{
            "startedDateTime": "2026-01-02T03:04:05Z",
            "request": { "method": "GET", "url": "http://a.test/", "httpVersion": "", "headers": [] },
            "response": {
                "status": 200, "httpVersion": "", "headers": [],
                "content": { "text": "" },
            },
        }]}});
        let mut exchange = har::import(archive.to_string().as_bytes())
            .unwrap()
            .exchanges
            .remove(0);
        let answer = exchange.answer.as_mut().unwrap();
        answer
            .fields
            .insert("content-encoding", "gzip".parse().unwrap());
        answer.body = Captured::whole(bomb);
        for _ in 0..count {
            recorder.insert(exchange.clone()).unwrap();
        }
        let asked = CancellationToken::new();
        let search = |text: &str, before| {
            let filter = Filter {
                text: Some(text.to_owned()),
                before,
                limit: Some(MOST),
                ..Filter::default()
            };
            filter.newest(&recorder, most_read, &asked)
        };
        let (mut before, mut answers) = (None, 0);
        loop {
            let found = search("otter", before);
            assert!(found.summaries.is_empty());
            answers += 1;
            let Some(next) = found.next_before else { break };
            assert!(before.is_none_or(|before| next.0 < before));
            before = Some(next.0);
        }
        assert_eq!(answers, 3);
        // The beginning of each is searched all the same.
        assert_eq!(search("0000", None).summaries.len(), 10);
        asked.cancel();
        let found = search("otter", None);
        assert_eq!(found.next_before, Some(ExchangeId(count)), "nobody waits");
    }
}
