//! The built-in page: it shows a visitor's request as it arrived through the tunnel.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};

use super::RequestBody;

/// How much of a body is read to be counted: 1 MiB.
const BODY_LIMIT: usize = 1024 * 1024;

/// Answers a request with itself: a page for browsers, plain text for everybody else.
pub(super) async fn answer(request: Request<RequestBody>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => match body.to_bytes().len() {
            0 => "no body".to_owned(),
            n => format!("a body of {n} bytes"),
        },
        Err(_) => format!("a body of more than {BODY_LIMIT} bytes"),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let request_line = format!("{} {path}", head.method);
    let mut fields: Vec<(String, String)> = head
        .headers
        .iter()
        .filter(|(name, _)| !name.as_str().starts_with("ngrnotok-"))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    if let Some(authority) = head.uri.authority() {
        fields.insert(0, ("host".to_owned(), authority.to_string()));
    }
    let wants_page = head
        .headers
        .get(ACCEPT)
        .is_some_and(|accept| accept.as_bytes().windows(9).any(|w| w == b"text/html"));
    let (text, content_type) = if wants_page {
        (
            page(&request_line, &fields, &body),
            "text/html; charset=utf-8",
        )
    } else {
        (
            plain(&request_line, &fields, &body),
            "text/plain; charset=utf-8",
        )
    };
    let text = match head.method {
        Method::HEAD => String::new(),
        _ => text,
    };
    let mut response = Response::new(Full::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(request_line: &str, fields: &[(String, String)], body: &str) -> String {
    let mut text = format!("Hello! Your request came through the tunnel.\n\n{request_line}\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str(&format!("\nwith {body}\n"));
    text
}

fn page(request_line: &str, fields: &[(String, String)], body: &str) -> String {
    let rows: String = fields
        .iter()
        .map(|(name, value)| format!("<tr><th>{}<td>{}", escaped(name), escaped(value)))
        .collect();
    format!(
        include_str!("hello.html"),
        request_line = escaped(request_line),
        rows = rows,
        body = body,
    )
}

/// A visitor wrote every word of it; none of them may become markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_visitor_wrote_becomes_markup() {
        let fields = [("x".to_owned(), "<script>alert('&\"')</script>".to_owned())];
        let page = page("GET /<b>", &fields, "no body");
        assert!(!page.contains("<script>") && page.contains("GET /&lt;b&gt;"));
        assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;"));
    }
}
