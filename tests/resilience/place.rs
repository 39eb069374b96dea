//! Where servers follow one another, at the same address and with the same state folder.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use ngrnotok_certs::pem::load_chain;
use ngrnotok_certs::tls::Trust;
use ngrnotok_tests::eventually;
use ngrnotok_tests::program::{Overheard, Scratch};
use ngrnotok_tests::world::DOMAIN;

use crate::ngrnotok_server;

/// A place for one server after the other.
pub(crate) struct Place {
    pub(crate) scratch: Scratch,
    pub(crate) address: SocketAddr,
    /// Held by the test for all of them.
    socket: Option<TcpListener>,
    started: Cell<u32>,
}

/// A server that runs or will soon.
pub(crate) struct Server(Overheard);

impl Place {
    /// Servers bind the address themselves.
    pub(crate) fn new() -> Self {
        Self {
            address: unused().local_addr().expect("it is bound"),
            scratch: Scratch::new(),
            socket: None,
            started: Cell::default(),
        }
    }

    /// Servers share a socket that the test holds, as systemd does.
    pub(crate) fn on_one_socket() -> Self {
        let socket = unused();
        Self {
            address: socket.local_addr().expect("it is bound"),
            socket: Some(socket),
            ..Self::new()
        }
    }

    /// Starts a server.
    pub(crate) fn start(&self) -> Server {
        let number = self.started.replace(self.started.get() + 1);
        let address = self.address.to_string();
        let args = [
            "--domain",
            DOMAIN,
            "--https",
            &address,
            "--admin",
            "off",
            "--dev-cert",
        ];
        let mut program = ngrnotok_server(&self.scratch, &args);
        if let Some(socket) = &self.socket {
            program = program.on_socket(socket);
        }
        let name = format!("server-{number}");
        Server(program.overheard(self.scratch.path(), &name))
    }

    /// Starts a server and waits until it listens.
    pub(crate) async fn open(&self) -> Server {
        let server = self.start();
        server.is_up().await;
        server
    }

    /// Waits until nobody listens here.
    pub(crate) async fn is_free(&self) {
        let binds = async || TcpListener::bind(self.address).is_ok();
        eventually("the address to be free", binds).await;
    }

    /// Trust in all servers of this place, from the first one on.
    pub(crate) fn trust(&self) -> Trust {
        Trust::Roots(load_chain(&self.authority()).expect("a server has made it"))
    }

    /// The file with their authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.scratch.path().join("ngrnotok-server/dev-ca.pem")
    }
}

/// A port that is free. Not one of those that connections get: one that tries to reach a server which is
/// not there could get that very port, and would reach itself.
fn unused() -> TcpListener {
    loop {
        let bits = uuid::Uuid::new_v4().as_u128();
        let port = 20_000 + u16::try_from(bits % 10_000).expect("a small number");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener;
        }
    }
}

impl Server {
    /// Waits until it listens.
    pub(crate) async fn is_up(&self) {
        self.0.line_of("pin ").await;
    }

    /// Kills it where it stands.
    pub(crate) async fn kill(self) {
        self.0.kill().await;
    }

    /// Asks it to stop.
    pub(crate) async fn stop(&self) {
        self.0.signal("TERM").await;
    }

    /// Waits for its end; tells the exit code.
    pub(crate) async fn ended(self) -> Option<i32> {
        self.0.ended().await
    }
}
