//! What any tunnel is measured against: two hops with TLS 1.3 between them that parse nothing, on one thread
//! each. Every visitor has a connection of its own all the way.
//!
//! ```text
//! visitor ── relay near ══ TLS ══ relay far ── origin
//! ```

use std::io;
use std::sync::Arc;

use clap::Subcommand;
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_certs::pin::Pin;
use ngrnotok_certs::tls::{Trust, link_client_config, link_server_config};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::TaskTracker;

use crate::listen;

#[derive(Debug, Subcommand)]
pub(crate) enum Hop {
    /// Takes visitors.
    Near {
        /// The far hop's port.
        port: u16,
        /// The far hop's key.
        pin: Pin,
    },
    /// Goes to the app.
    Far {
        /// The app's port.
        port: u16,
    },
}

impl Hop {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let tasks = TaskTracker::new();
        match self {
            Self::Near { port, pin } => {
                let tls = TlsConnector::from(link_client_config(Trust::Pin(pin), &[])?);
                let listener = listen().await?;
                loop {
                    let (visitor, _) = listener.accept().await?;
                    tasks.spawn(near(visitor, port, tls.clone()));
                }
            }
            Self::Far { port } => {
                let authority = DevAuthority::generate()?;
                let identity = Arc::new(authority.issue(&["localhost".to_owned()])?);
                let tls = TlsAcceptor::from(link_server_config((*identity).clone(), &[])?);
                println!("pin {}", authority.pin());
                let listener = listen().await?;
                loop {
                    let (hop, _) = listener.accept().await?;
                    tasks.spawn(far(hop, port, tls.clone()));
                }
            }
        }
    }
}

async fn near(visitor: TcpStream, port: u16, tls: TlsConnector) -> io::Result<()> {
    let name = ServerName::try_from("localhost").expect("a good name");
    let hop = tls.connect(name, connect(port).await?).await?;
    visitor.set_nodelay(true)?;
    join(visitor, hop).await
}

async fn far(hop: TcpStream, port: u16, tls: TlsAcceptor) -> io::Result<()> {
    hop.set_nodelay(true)?;
    let hop = tls.accept(hop).await?;
    join(hop, connect(port).await?).await
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn join(
    one: impl AsyncRead + AsyncWrite,
    other: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let (receive_one, send_one) = tokio::io::split(one);
    let (receive_other, send_other) = tokio::io::split(other);
    tokio::try_join!(pump(receive_one, send_other), pump(receive_other, send_one))?;
    Ok(())
}

/// Whoever fills its buffer gets a larger one, up to this: bulk in few steps, small answers in little memory.
const MOST: usize = 256 * 1024;

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..n]).await?;
        to.flush().await?;
        if n == buffer.len() && n < MOST {
            buffer.resize(n * 2, 0);
        }
    }
}
