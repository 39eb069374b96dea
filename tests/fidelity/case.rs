//! What a case is made of: a dialogue between a visitor and an app, with no clock in it.

use bytes::Bytes;

/// Fields in the order in which they are written; values are bytes.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// One thing that a side does. It waits where it says so, so the order is certain.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// An interim answer.
    Interim(u16, Fields),
    /// The final head of an answer.
    Head(u16, Fields),
    /// A piece of a body: one chunk, or one DATA frame. After a switch: bytes.
    Data(Bytes),
    /// The end of the body.
    Trailers(Fields),
    /// HTTP/1 as it is written here, and nothing is added to it.
    Raw(Bytes),
    /// Waits until so much has come from the other side, or its end.
    Hear(Heard),
    /// Closes the connection, wherever the message stands; in HTTP/2 that can only be a reset.
    Close,
    /// RST, or RST_STREAM.
    Break,
}

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    Interim,
    Head,
    /// So many bytes of its body.
    Data(usize),
    End,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) version: &'static str,
    pub(crate) fields: Fields,
    /// The protocol to which it wants to switch: `Upgrade`, or extended CONNECT.
    pub(crate) protocol: Option<&'static str>,
    pub(crate) steps: Vec<Step>,
}

/// What an app does about a request: by default it reads it to its end, then answers.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) before: Vec<Step>,
    status: u16,
    fields: Fields,
    pub(crate) after: Vec<Step>,
}

/// Requests of one connection with their answers.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) exchanges: Vec<(Ask, Answer)>,
    /// All requests are written before the first answer is read.
    pub(crate) in_one_breath: bool,
    /// The app breaks off before anybody can have read its answer, which the break may overtake.
    pub(crate) breaks_at_once: bool,
    pub(crate) visitors: Speakers,
    pub(crate) apps: Speakers,
}

/// For which versions of HTTP a case can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speakers {
    Both,
    Http1,
    Http2,
}

impl Speakers {
    pub(crate) fn include(self, http2: bool) -> bool {
        match self {
            Self::Both => true,
            Self::Http1 => !http2,
            Self::Http2 => http2,
        }
    }
}

pub(crate) fn fields(pairs: &[(&str, &str)]) -> Fields {
    let pairs = pairs.iter();
    let owned = pairs.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    owned.collect()
}

pub(crate) fn ask(method: &'static str, target: impl Into<String>) -> Ask {
    Ask {
        method,
        target: target.into(),
        version: "HTTP/1.1",
        fields: Vec::new(),
        protocol: None,
        steps: Vec::new(),
    }
}

pub(crate) fn get(target: &str) -> Ask {
    ask("GET", target)
}

impl Ask {
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// With a body whose length is told.
    pub(crate) fn sized(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let asked = self.field("Content-Length", body.len().to_string());
        asked.then(Step::Data(body))
    }

    /// With a body in chunks.
    pub(crate) fn chunked(self, chunks: &[&'static str]) -> Self {
        let mut asked = self.field("Transfer-Encoding", "chunked");
        for chunk in chunks {
            asked = asked.then(Step::Data(Bytes::from_static(chunk.as_bytes())));
        }
        asked
    }

    pub(crate) fn upgrade(mut self, protocol: &'static str) -> Self {
        self.protocol = Some(protocol);
        self
    }

    pub(crate) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// In absolute form the target names the host, which is not known before.
    pub(crate) fn for_host(&self, authority: &str) -> Self {
        let target = self.target.replace("HOST", authority);
        Self {
            target,
            ..self.clone()
        }
    }

    pub(crate) fn says(&self, name: &str, word: &str) -> bool {
        let mut named = self.fields.iter();
        named.any(|(field, value)| {
            field.eq_ignore_ascii_case(name) && value.eq_ignore_ascii_case(word.as_bytes())
        })
    }
}

/// An answer without a body.
pub(crate) fn answer(status: u16) -> Answer {
    Answer {
        before: vec![Step::Hear(Heard::End)],
        status,
        fields: Vec::new(),
        after: Vec::new(),
    }
}

/// 200 with a body whose length is told.
pub(crate) fn ok(body: &'static str) -> Answer {
    answer(200).sized(body)
}

/// 101: the connection speaks another protocol from here on.
pub(crate) fn switch(protocol: &str) -> Answer {
    let switched = answer(101).early();
    let switched = switched.field("Connection", "Upgrade");
    switched.field("Upgrade", protocol)
}

/// An answer in the very bytes.
pub(crate) fn raw(bytes: impl Into<Bytes>) -> Answer {
    answer(0).then(Step::Raw(bytes.into()))
}

impl Answer {
    /// Does not wait for the end of the request.
    pub(crate) fn early(mut self) -> Self {
        self.before.clear();
        self
    }

    /// Before the final head.
    pub(crate) fn first(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }

    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.into(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn sized(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let answered = self.field("Content-Length", body.len().to_string());
        answered.then(Step::Data(body))
    }

    pub(crate) fn chunked(self, chunks: &[&'static str]) -> Self {
        let mut answered = self.field("Transfer-Encoding", "chunked");
        for chunk in chunks {
            answered = answered.then(Step::Data(Bytes::from_static(chunk.as_bytes())));
        }
        answered
    }

    pub(crate) fn then(mut self, step: Step) -> Self {
        self.after.push(step);
        self
    }

    /// All that the app does.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let head = Step::Head(self.status, self.fields.clone());
        let head = (self.status > 0).then_some(head);
        let steps = self.before.iter().cloned().chain(head);
        steps.chain(self.after.iter().cloned()).collect()
    }

    pub(crate) fn switches(&self) -> bool {
        self.status == 101
    }
}

/// One request and its answer.
pub(crate) fn case(name: &'static str, ask: Ask, answer: Answer) -> Case {
    Case {
        name,
        exchanges: vec![(ask, answer)],
        in_one_breath: false,
        breaks_at_once: false,
        visitors: Speakers::Both,
        apps: Speakers::Both,
    }
}

impl Case {
    /// One more on the same connection.
    pub(crate) fn and(mut self, ask: Ask, answer: Answer) -> Self {
        self.exchanges.push((ask, answer));
        self
    }

    pub(crate) fn in_one_breath(mut self) -> Self {
        self.in_one_breath = true;
        self.visitors(Speakers::Http1)
    }

    pub(crate) fn breaks_at_once(mut self) -> Self {
        self.breaks_at_once = true;
        self
    }

    pub(crate) fn visitors(mut self, visitors: Speakers) -> Self {
        self.visitors = visitors;
        self
    }

    pub(crate) fn apps(mut self, apps: Speakers) -> Self {
        self.apps = apps;
        self
    }
}
