//! The page: one document, its script in a few modules, its style. All of it is in the program, and nothing in
//! it is secret, unless a password was asked for.

use std::sync::Arc;

use axum::Router;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use http::header::CONTENT_TYPE;

use super::guard::Guard;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, type and text of what the page consists of.
const PARTS: [(&str, &str, &str); 11] = [
    ("/app.css", STYLE, include_str!("page/app.css")),
    ("/app.js", SCRIPT, include_str!("page/app.js")),
    ("/build.js", SCRIPT, include_str!("page/build.js")),
    ("/client.js", SCRIPT, include_str!("page/client.js")),
    ("/curl.js", SCRIPT, include_str!("page/curl.js")),
    ("/filter.js", SCRIPT, include_str!("page/filter.js")),
    ("/layout.js", SCRIPT, include_str!("page/layout.js")),
    ("/list.js", SCRIPT, include_str!("page/list.js")),
    ("/detail.js", SCRIPT, include_str!("page/detail.js")),
    ("/content.js", SCRIPT, include_str!("page/content.js")),
    ("/again.js", SCRIPT, include_str!("page/again.js")),
];

/// Serves the page.
pub(super) fn router(guard: &Arc<Guard>) -> Router {
    let page = include_str!("page/index.html").replace("{key}", guard.key_in_page());
    let page: Arc<str> = page.into();
    let document = get(move || async move { Html(page.to_string()) });
    let router = Router::new().route("/", document);
    PARTS
        .into_iter()
        .fold(router, |router, (path, kind, text)| {
            let part = get(move || async move { ([(CONTENT_TYPE, kind)], text).into_response() });
            router.route(path, part)
        })
}
