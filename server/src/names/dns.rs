//! Asking DNS what a TXT record says.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use thiserror::Error;
use tokio::time::timeout;

/// Whom to ask. Nothing is remembered from one question to the next: what counts is what is true now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dns {
    resolver: Option<SocketAddr>,
}

/// For a whole answer, with all that may have to be asked again: 5 s.
const LIMIT: Duration = Duration::from_secs(5);

/// Records of a name that are looked at.
const MOST_RECORDS: usize = 64;

/// DNS gave no answer, not even that there is nothing. The text names whom was asked.
#[derive(Debug, Error)]
#[error("ask {whom} for the TXT records of {name}: {why}", whom = whom(*resolver))]
pub struct Unanswered {
    /// What was asked for.
    pub name: String,
    /// Who was asked; `None`: the system's resolvers.
    pub resolver: Option<SocketAddr>,
    /// Why there is no answer.
    pub why: String,
}

fn whom(resolver: Option<SocketAddr>) -> String {
    resolver.map_or_else(
        || "the system's DNS".to_owned(),
        |address| address.to_string(),
    )
}

impl Dns {
    /// Asks this resolver; `None`: those that the system is configured for.
    pub fn new(resolver: Option<SocketAddr>) -> Self {
        Self { resolver }
    }

    /// What the TXT records of a name say, at most 64 of them; nothing if there are none, or no such name.
    ///
    /// Takes 5 s at most. Cancel safety: safe.
    ///
    /// # Errors
    ///
    /// When nobody knows.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, Unanswered> {
        let unanswered = |why: String| Unanswered {
            name: name.to_owned(),
            resolver: self.resolver,
            why,
        };
        // The dot at the end keeps the system's search list out of it.
        let asked = timeout(LIMIT, self.ask(format!("{name}.")));
        match asked.await {
            Ok(Ok(records)) => Ok(records),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none))))
                if matches!(
                    none.response_code,
                    ResponseCode::NXDomain | ResponseCode::NoError
                ) =>
            {
                Ok(Vec::new())
            }
            Ok(Err(error)) => Err(unanswered(error.to_string())),
            Err(_) => Err(unanswered(format!(
                "no answer within {} s",
                LIMIT.as_secs()
            ))),
        }
    }

    async fn ask(&self, name: String) -> Result<Vec<String>, NetError> {
        let mut resolver = match self.resolver {
            Some(address) => {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            // It reads a file.
            None => match tokio::task::spawn_blocking(TokioResolver::builder_tokio).await {
                Ok(builder) => builder?,
                Err(_) => return Err(NetError::Message("the server stops")),
            },
        };
        let options = resolver.options_mut();
        options.cache_size = 0;
        options.timeout = LIMIT / 3;
        options.attempts = 2;
        let answer = resolver.build()?.txt_lookup(name).await?;
        let records = answer.answers().iter();
        let texts = records.filter_map(|record| match &record.data {
            RData::TXT(text) => {
                let text = text.txt_data.concat();
                Some(String::from_utf8_lossy(&text).into_owned())
            }
            _ => None,
        });
        Ok(texts.take(MOST_RECORDS).collect())
    }
}
