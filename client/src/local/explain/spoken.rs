//! An exchange failed: does the app speak something else than what was spoken to it?

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ngrnotok_certs::tls::{Trust, client_config};
use ngrnotok_common::hostname::is_localhost;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::refused::{V4, V6};
use super::{Explanation, Kind};
use crate::local::Target;

/// An app that does not answer within this time is not understood any better: 2 s.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Whether somebody accepts connections there.
pub(crate) async fn accepts(target: &Target) -> bool {
    let dialed = timeout(LIMIT, dial(target)).await;
    dialed.is_ok_and(|stream| stream.is_some())
}

/// Whether the app answers plain HTTP within a time.
pub(crate) async fn plain_http(target: &Target, limit: Duration) -> bool {
    let answered = timeout(limit, async {
        let (mut stream, host, _) = dial(target).await?;
        let asked = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.ok()?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await.ok()?;
        (&start == b"HTTP/").then_some(())
    });
    answered.await.is_ok_and(|found| found.is_some())
}

/// Whether the app agrees to TLS, with whatever certificate.
pub(crate) async fn tls(target: &Target) -> bool {
    let agreed = timeout(LIMIT, async {
        let (stream, _, host) = dial(target).await?;
        let config = client_config(Trust::Anyone, &[b"h2", b"http/1.1"]).ok()?;
        let name = ServerName::try_from(host).ok()?;
        let connector = TlsConnector::from(Arc::clone(&config));
        connector.connect(name, stream).await.ok()
    });
    agreed.await.is_ok_and(|stream| stream.is_some())
}

/// A connection, with what the app is called on it and its host alone.
async fn dial(target: &Target) -> Option<(TcpStream, String, String)> {
    let (Target::Http { host, port } | Target::Https { host, port }) = target else {
        return None;
    };
    let stream = match is_localhost(host) {
        true => {
            let addresses = [V4, V6].map(|address| SocketAddr::new(address, *port));
            TcpStream::connect(&addresses[..]).await
        }
        false => TcpStream::connect((host.as_str(), *port)).await,
    };
    Some((stream.ok()?, format!("{host}:{port}"), host.clone()))
}

/// TLS was spoken to an app that speaks plain HTTP.
pub(super) fn but_plain(target: &Target) -> Option<Explanation> {
    let Target::Https { host, port } = target else {
        return None;
    };
    let plain = Target::Http {
        host: host.clone(),
        port: *port,
    };
    let what = format!("the app behind {target} speaks plain HTTP and not TLS");
    Some(Explanation::other_target(
        Kind::SpeaksPlainHttp,
        what,
        &plain,
    ))
}

/// Plain HTTP was spoken to an app that speaks TLS.
pub(super) fn but_tls(target: &Target) -> Option<Explanation> {
    let Target::Http { host, port } = target else {
        return None;
    };
    let over_tls = Target::Https {
        host: host.clone(),
        port: *port,
    };
    let what = format!("the app behind {target} speaks TLS and not plain HTTP");
    let mut explanation = Explanation::other_target(Kind::SpeaksTls, what, &over_tls);
    explanation
        .fix
        .push_str("; --insecure-local takes a self-signed certificate");
    Some(explanation)
}
