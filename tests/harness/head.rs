//! The head of a message in HTTP/1.1, to the letter (RFC 9112 §2 to §6).

use bytes::Bytes;

/// The start line and the fields of a message.
#[derive(Debug, Clone)]
pub struct Head {
    /// The three parts of the start line.
    pub start: [String; 3],
    /// Names as they were written.
    pub fields: Vec<(String, Bytes)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are left of it.
    Length(u64),
    /// Its last chunk ends it.
    Chunked(Chunk),
    /// The end of the connection ends it.
    UntilClose,
}

/// Where in a chunk the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// Before the size of the first.
    First,
    /// So many bytes before its end.
    Data(usize),
    /// Behind its data.
    After,
}

impl Head {
    /// Reads a head with the blank line that ends it (RFC 9112 §2.1).
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            lines.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        for line in &lines {
            if let Some(odd) = line
                .iter()
                .find(|byte| **byte != b'\t' && byte.is_ascii_control())
            {
                return Err(format!(
                    "{odd:#04x} in {:?}",
                    line.escape_ascii().to_string()
                ));
            }
        }
        let start = String::from_utf8_lossy(lines.first().ok_or("nothing")?).into_owned();
        let parts: Vec<&str> = start.splitn(3, ' ').collect();
        let [first, second, third] = parts[..] else {
            return Err(format!("start line {start:?}"));
        };
        if first.is_empty() || second.is_empty() || start.contains('\t') {
            return Err(format!("start line {start:?}"));
        }
        let fields = lines[1..].iter().filter(|line| !line.is_empty());
        Ok(Self {
            start: [first, second, third].map(ToOwned::to_owned),
            fields: fields.map(|line| field(line)).collect::<Result<_, _>>()?,
        })
    }

    /// The values of a field.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter();
        let named = named.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_ref()).collect()
    }

    /// The body of a request; it may be framed in one way only (RFC 9112 §6.3).
    pub fn request_framing(&self) -> Result<Framing, String> {
        if !matches!(self.start[2].as_str(), "HTTP/1.1" | "HTTP/1.0")
            || !is_token(self.start[0].as_bytes())
        {
            return Err(format!("start line {:?}", self.start));
        }
        if self.start[1]
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7f)
        {
            return Err(format!("target {:?}", self.start[1]));
        }
        if self.start[2] == "HTTP/1.1" && self.all("host").len() != 1 {
            return Err(format!("hosts: {:?}", self.all("host")));
        }
        Ok(self.framing()?.unwrap_or(Framing::Length(0)))
    }

    /// The body of an answer to a request of this method.
    pub fn answer_framing(&self, method: &str) -> Result<Framing, String> {
        match self.status()? {
            100..=199 | 204 | 304 => Ok(Framing::Length(0)),
            _ if method == "HEAD" => Ok(Framing::Length(0)),
            _ => Ok(self.framing()?.unwrap_or(Framing::UntilClose)),
        }
    }

    /// The status of an answer.
    pub fn status(&self) -> Result<u16, String> {
        let [version, status, _] = &self.start;
        let known = matches!(version.as_str(), "HTTP/1.1" | "HTTP/1.0") && status.len() == 3;
        let status = status.parse().ok().filter(|_| known);
        status.ok_or_else(|| format!("status line {:?}", self.start))
    }

    fn framing(&self) -> Result<Option<Framing>, String> {
        let lengths = self.all("content-length");
        let codings = self.all("transfer-encoding");
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Framing::Chunked(Chunk::First)))
            }
            ([length], []) if length.iter().all(u8::is_ascii_digit) => {
                let length = std::str::from_utf8(length).ok();
                let length = length.and_then(|length| length.parse().ok());
                Ok(Some(Framing::Length(length.ok_or("an odd length")?)))
            }
            _ => Err(format!(
                "framed by lengths {lengths:?} and codings {codings:?}"
            )),
        }
    }
}

/// `name: value` (RFC 9112 §5): no folding, no space before the colon.
pub(crate) fn field(line: &[u8]) -> Result<(String, Bytes), String> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.unwrap_or(0));
    if !is_token(name) {
        return Err(format!("field {}", line.escape_ascii()));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = &value[1..];
    let from = value.iter().position(|byte| !is_space(byte));
    let to = value.iter().rposition(|byte| !is_space(byte));
    let value = from.zip(to).map_or(&[][..], |(from, to)| &value[from..=to]);
    Ok((name, Bytes::copy_from_slice(value)))
}

/// RFC 9110 §5.6.2.
fn is_token(name: &[u8]) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || special.contains(byte);
    !name.is_empty() && name.iter().all(is_part)
}
