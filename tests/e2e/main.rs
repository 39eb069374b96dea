//! A tunnel from end to end: visitors, server, client and local app in one process, real sockets
//! between them.

mod auth;
mod departures;
mod dev;
mod domains;
mod drain;
mod embedded;
mod explained;
mod failures;
mod forwarded;
mod framing;
mod http;
mod inspect;
mod limits;
mod link;
mod local_connections;
mod local_http2;
mod names;
mod office;
mod opened;
mod pools;
mod proxy;
mod quotas;
mod reconnect;
mod routing;
mod sessions;
mod storm;
mod streaming;
mod tokens;
mod upgrades;
mod writes;
