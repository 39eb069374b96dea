//! Certificates that visitors do not accept, and those that grow old.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::proxy::{Manner, Proxy};
use ngrnotok_tests::run;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;

use crate::{RunningServer, ngrnotok, ngrnotok_server};

const DAY: Duration = Duration::from_hours(24);

/// An authority that nobody knows but who is told.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a certificate can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        Self {
            issuer: Issuer::new(params, key),
            pem: certificate.pem(),
        }
    }

    /// `--domain tunnel.test … --cert FILE --key FILE`, with a certificate for these names.
    fn server(&self, scratch: &Scratch, names: &[&str], end: SystemTime) -> Program {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("a certificate can be made");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_after = end.into();
        let key = KeyPair::generate().expect("a certificate can be made");
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate can be made");
        let cert = scratch.file("cert.pem", &leaf.pem());
        let key = scratch.file("key.pem", &key.serialize_pem());
        let fixed = [
            "--domain",
            "tunnel.test",
            "--https",
            "127.0.0.1:0",
            "--admin",
            "off",
        ];
        let server = ngrnotok_server(scratch, &fixed).args(["--cert".into(), cert]);
        server.args([PathBuf::from("--key"), key])
    }
}

const BOTH: [&str; 2] = ["tunnel.test", "*.tunnel.test"];

#[test]
fn a_certificate_that_no_visitor_accepts_is_warned_of_at_the_start_and_in_the_check() {
    run(async {
        let (authority, now) = (Authority::new(), SystemTime::now());
        for (names, end, flaws) in [
            (&BOTH[..], now + DAY * 90, &[][..]),
            (
                &BOTH,
                now - DAY * 12,
                &["has expired 12 days ago; renew it"],
            ),
            (&BOTH, now + DAY * 10, &["expires in 9 days; renew it"]),
            (
                &["tunnel.test"],
                now + DAY * 90,
                &["is not good for *.tunnel.test"],
            ),
            (
                &["other.test", "*.other.test"],
                now + DAY * 90,
                &[
                    "is not good for tunnel.test",
                    "is not good for *.tunnel.test",
                ],
            ),
        ] {
            let scratch = Scratch::new();
            let server = || authority.server(&scratch, names, end);
            let checked = server().args(["config", "check"]).output().await;
            assert_eq!(checked.code, Some(0), "{}", checked.stderr);
            assert_eq!(
                checked.stderr.lines().count(),
                flaws.len(),
                "{}",
                checked.stderr
            );
            let mut running = server().start();
            for flaw in flaws {
                assert!(checked.stderr.contains(flaw), "{}", checked.stderr);
                let warning = running.complaint_with(flaw).await;
                assert!(warning.contains("WARN"), "{warning}");
            }
        }
    });
}

#[test]
fn the_doctor_sees_what_visitors_are_shown() {
    run(async {
        let (authority, now) = (Authority::new(), SystemTime::now());
        for (names, end, state, words) in [
            (&BOTH[..], now + DAY * 90, "ok", "for *.tunnel.test"),
            (
                &BOTH,
                now + DAY * 10,
                "warn",
                "of *.tunnel.test are shown expires in 9 days",
            ),
            (
                &["tunnel.test"],
                now + DAY * 90,
                "warn",
                "is not good for *.tunnel.test",
            ),
        ] {
            let scratch = Scratch::new();
            let mut server = authority.server(&scratch, names, end).start();
            let https = server.line_of("https").await.parse().unwrap();
            // The domain leads nowhere, but by way of a proxy to the server.
            let proxy = Proxy::start(Manner::Socks(None), https).await;
            let ca = scratch.file("ca.pem", &authority.pem);
            let doctor = ngrnotok(&scratch, &["doctor", "--json", "--server", "tunnel.test"])
                .args([
                    "--proxy",
                    &format!("socks5h://{}", proxy.address()),
                    "--server-ca",
                ])
                .args([ca]);
            let report: Value = serde_json::from_str(&doctor.output().await.stdout).unwrap();
            let checks = report["checks"].as_array().unwrap();
            let check = checks.iter().find(|check| check["component"] == "visitors");
            let check = check.unwrap_or_else(|| panic!("{report}"));
            assert_eq!(check["state"], state, "{report}");
            assert!(
                check["detail"].as_str().unwrap().contains(words),
                "{report}"
            );
        }
    });
}

/// A clock of the test's own for programs; `None`, said aloud, where there is none to be had.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    fn new(scratch: &Scratch) -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib")
            .into_iter()
            .flatten()
            .flatten();
        let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        let Some(library) = libraries.find(|library| library.exists()) else {
            eprintln!("skipped: there is no libfaketime");
            return None;
        };
        let file = scratch.file("clock", "+0\n");
        Some(Self { library, file })
    }

    /// Sets it ahead of the true one by so many days.
    fn set(&self, days: u32) {
        std::fs::write(&self.file, format!("+{days}d\n")).expect("a file can be written");
    }

    fn given_to(&self, program: Program) -> Program {
        program
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

#[test]
fn a_server_with_a_development_certificate_lets_clients_in_for_years() {
    run(async {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let Some(clock) = Clock::new(&other) else {
            return;
        };
        let args = [
            "--domain",
            "tunnel.test",
            "--https",
            "127.0.0.1:0",
            "--admin",
            "off",
            "--dev-cert",
        ];
        let server = RunningServer::run(clock.given_to(ngrnotok_server(&scratch, &args))).await;
        let authority = scratch.path().join("ngrnotok-server/dev-ca.pem");
        let way = ["http", "--hello", "--server", &server.https, "--server-ca"];
        for days in [0, 80, 91, 1000] {
            clock.set(days);
            let client = ngrnotok(&other, &way).args([&authority]);
            let mut client = clock.given_to(client).start();
            client.line_of("Forwarding").await;
        }
    });
}

#[test]
fn a_development_certificate_for_a_domain_of_one_label_is_accepted() {
    run(async {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let args = ["--domain", "localhost", "--https", "127.0.0.1:0"];
        let server = ngrnotok_server(&scratch, &args).args(["--admin", "off", "--dev-cert"]);
        let server = RunningServer::run(server).await;
        let authority = scratch.path().join("ngrnotok-server/dev-ca.pem");
        let way = ["http", "--hello", "--server", &server.https, "--server-ca"];
        let mut client = ngrnotok(&other, &way).args([&authority]).start();
        client.line_of("Forwarding").await;
    });
}
