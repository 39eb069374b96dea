//! Naming the field for which hyper refuses an answer.

/// Shown of a name or a line, in bytes.
const SHOWN: usize = 64;

/// What is wrong with the first odd field in the head of an answer, or in an interim one before it. The head
/// may be cut: a line that does not end is not looked at.
pub(super) fn describe(head: &[u8]) -> Option<String> {
    let whole = head.iter().rposition(|byte| *byte == b'\n')?;
    let lines = head[..whole].split(|byte| *byte == b'\n');
    let mut lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut is_interim = lines.next()?.starts_with(b"HTTP/1.1 1");
    while let Some(line) = lines.next() {
        if !line.is_empty() {
            if let Some(odd) = oddity(line) {
                return Some(odd);
            }
            continue;
        }
        if !is_interim {
            return None;
        }
        is_interim = lines.next()?.starts_with(b"HTTP/1.1 1");
    }
    None
}

/// What makes a line no field (RFC 9112 §5). One that begins with a blank continues another.
fn oddity(line: &[u8]) -> Option<String> {
    if let [b' ' | b'\t', ..] = line {
        return None;
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Some(format!(
            "a line in the head of its answer has no colon: \"{}\"",
            shown(line)
        ));
    };
    let (name, value) = (line[..colon].trim_ascii_end(), &line[colon + 1..]);
    if http::HeaderName::from_bytes(name).is_err() {
        return Some(format!(
            "its answer has a field whose name is none: \"{}\"",
            shown(name)
        ));
    }
    let odd = |byte: &&u8| **byte != b'\t' && byte.is_ascii_control();
    let odd = value.iter().find(odd)?;
    Some(format!(
        "the field {} of its answer has the byte {odd:#04x}, which no field may have",
        shown(name)
    ))
}

fn shown(bytes: &[u8]) -> String {
    let cut = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{}{cut}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_odd_field_is_named_and_nothing_of_it_is_printed_raw() {
        for (head, told) in [
            ("X Y: 1\r\n", "a field whose name is none: \"X Y\""),
            ("A: 1\r\n: 2\r\n", "a field whose name is none: \"\""),
            ("X\x1b[2J: 1\r\n", r#"name is none: "X\x1b[2J""#),
            ("no colon\r\n", "has no colon: \"no colon\""),
            (
                "X-A: a\0b\r\n",
                "the field X-A of its answer has the byte 0x00,",
            ),
            (
                "X-A: 1\rX-B: 2\r\n",
                "the field X-A of its answer has the byte 0x0d,",
            ),
        ] {
            for before in [
                "HTTP/1.1 200 OK\r\n",
                "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n",
            ] {
                let said = describe(format!("{before}{head}").as_bytes()).unwrap();
                assert!(said.contains(told), "{said}");
            }
        }
        let long = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x".repeat(1000));
        assert!(describe(long.as_bytes()).unwrap().len() < 150);
    }

    #[test]
    fn what_is_fine_or_not_there_yet_is_not_named() {
        for head in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK\r\nA : 1\r\n folded\r\nB: \t\u{e9}\r\n",
            "HTTP/1.1 200 OK\r\nA: 1\r\nX Y",
            "HTTP/1.1 200 OK\r\n\r\nno field\r\n",
        ] {
            assert_eq!(describe(head.as_bytes()), None, "{head:?}");
        }
    }
}
