//! Hosts outside the server's domain, for accounts that prove to own them.

use ngrnotok::client::ClientError;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::secret::Secret;
use ngrnotok_server::auth::rules::{Allowed, Rules};
use ngrnotok_server::edge::HttpMode;
use ngrnotok_server::names::domains::new_proof;
use ngrnotok_server::store::{Adding, UnixSeconds};
use ngrnotok_tests::dns::{Dns, Mood};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::raw_link::{HELLO, RawClient};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{Plan, RunningClient, World};
use ngrnotok_tests::{eventually, run};
use tokio::time::Instant;

use crate::office::Office;

const HOST: &str = "app.example.com";
const RECORD: &str = "_ngrnotok.app.example.com";

/// A server with a certificate for the host, beside its own.
fn plan() -> Plan {
    World::plan().certificate(HOST)
}

/// Adds the host for an account; what its record must say.
async fn add(office: &Office, account: &str) -> String {
    let (host, proof) = (Name::parse(HOST).expect("a host"), new_proof());
    let adding = office
        .store
        .add_domain(&host, account, &proof, UnixSeconds::now());
    let adding = adding.await.expect("a store that writes");
    assert!(matches!(adding, Adding::Done(_)), "{adding:?}");
    proof
}

/// What a client is told that asks for a name: a code, or where visitors go, and what else.
async fn told(office: &Office, token: &Secret, name: &str) -> (String, String) {
    let mut client = RawClient::open_as(&office.world, token).await;
    client.say(HELLO);
    client.bind(1, "http", name);
    assert_eq!(client.hear().await["t"], "welcome");
    let said = client.hear().await;
    let text = |key: &str| said[key].as_str().map(ToOwned::to_owned);
    client.say(r#"{"t":"bye"}"#);
    eventually("the names to be free", async || office.world.names() == 0).await;
    match text("url") {
        Some(url) => ("bound".to_owned(), url),
        None => (
            text("code").expect("a code"),
            text("message").expect("words"),
        ),
    }
}

async fn problem(world: &World, name: &str) -> String {
    let visitor = world.visitor(Via::PlainHttp1, name).await;
    visitor.get("/").await.problem()
}

#[test]
fn visitors_of_a_host_reach_the_account_that_has_proved_it_and_see_its_certificate() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let app = Origin::saying("ann's own").await;
        let ann = office.token_of("ann").await;
        let proof = add(&office, "ann").await;
        dns.set(RECORD, &["v=something else", &proof]);

        // Capitals and the last dot are how people write.
        let client = office.client(&ann, "App.Example.com.", &app).await.unwrap();

        let port = office.world.door(Via::Http1).port();
        assert_eq!(client.url(), format!("https://app.example.com:{port}"));
        for via in Via::ALL {
            // With TLS, this one trusts the certificate for this host alone.
            let visitor = office.world.visitor(via, HOST).await;
            assert_eq!(visitor.get("/").await.text(), "ann's own", "{via:?}");
            assert_eq!(
                problem(&office.world, "other.example.com").await,
                "400 foreign_host"
            );
            assert_eq!(
                problem(&office.world, "x.app.example.com").await,
                "400 foreign_host"
            );
        }
        // The certificate of the tunnels is still that of everybody else.
        let visitor = office.world.visitor(Via::Http2, "other").await;
        assert_eq!(visitor.get("/").await.problem(), "404 tunnel_not_found");
        client.leave().await;
        // It is known that it could come back.
        let known = async || problem(&office.world, HOST).await == "404 tunnel_not_found";
        eventually("the host to be known", known).await;
    });
}

#[test]
fn a_label_is_not_reached_by_its_bare_name_nor_a_host_below_the_domain() {
    run(async {
        let office = Office::asking(&Dns::start().await, plan()).await;
        let ann = office.token_of("ann").await;
        let url = |label: &str| format!("https://{}", office.world.authority(Via::Http1, label));
        let (code, said) = told(&office, &ann, "app.tunnel.test").await;
        assert_eq!((code.as_str(), said), ("bound", url("app")));
        for name in ["tunnel.test", "a.b.tunnel.test", "xn--x.tunnel.test"] {
            assert_eq!(told(&office, &ann, name).await.0, "name_invalid", "{name}");
        }
        let app = Origin::saying("the app").await;
        let _client = office.client(&ann, "app", &app).await.unwrap();
        let mut wire = office.world.wire(Via::PlainHttp1, "app").await;
        wire.say("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
        assert_eq!(wire.answer().await.status, 400);
    });
}

#[test]
fn a_host_is_nobodys_until_its_record_is_seen() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let (ann, bob) = (office.token_of("ann").await, office.token_of("bob").await);
        let (code, said) = told(&office, &ann, HOST).await;
        assert_eq!(code, "domain_unverified");
        assert!(said.contains("domain add app.example.com"), "{said}");
        assert_eq!(dns.questions(), 0, "nobody is asked for strangers' hosts");

        let proof = add(&office, "ann").await;
        for (records, found) in [
            (None, "is not there"),
            (Some(vec!["v=spf1 -all"]), "says something else"),
            (Some(vec!["a", &proof[..40]]), "none of the 2 there says so"),
        ] {
            if let Some(records) = records {
                dns.set(RECORD, &records);
            }
            let (code, said) = told(&office, &ann, HOST).await;
            assert_eq!(code, "domain_unverified");
            assert!(said.contains(RECORD) && said.contains(&proof), "{said}");
            assert!(said.contains(found), "{said}");
        }
        dns.set(RECORD, &[&proof]);
        let (code, said) = told(&office, &bob, HOST).await;
        assert_eq!(code, "domain_unverified");
        assert!(!said.contains(&proof), "{said}");
        assert_eq!(told(&office, &ann, HOST).await.0, "bound");
    });
}

#[test]
fn a_proof_is_good_for_a_day_and_dns_that_fails_takes_no_host_away() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let ann = office.token_of("ann").await;
        let proof = add(&office, "ann").await;
        dns.set(RECORD, &[&proof]);
        let asks = async |bound: &str| {
            let before = dns.questions();
            assert_eq!(told(&office, &ann, HOST).await.0, bound);
            dns.questions() > before
        };
        dns.is(Mood::Fails);
        assert!(asks("unavailable").await, "it was never proved");
        dns.is(Mood::Answers);
        assert!(asks("bound").await);
        dns.is(Mood::Fails);
        assert!(!asks("bound").await, "it was asked just now");
        office.tamper("UPDATE domains SET verified = verified - 24 * 60 * 60");
        assert!(asks("bound").await);
        office.tamper("UPDATE domains SET verified = verified - 365 * 24 * 60 * 60");
        assert!(asks("bound").await, "nobody says that it is gone");

        dns.is(Mood::Answers);
        assert!(asks("bound").await);
        assert!(!asks("bound").await, "and that was written down");
        dns.set(RECORD, &[]);
        office.tamper("UPDATE domains SET verified = verified - 72 * 60 * 60 + 60");
        assert!(asks("bound").await, "a mistake can be mended");
        office.tamper("UPDATE domains SET verified = verified - 60");
        assert!(asks("domain_unverified").await);
        dns.set(RECORD, &[&proof]);
        assert!(asks("bound").await);
    });
}

/// A client of `ann` that has the host and proved it, and what its record says.
async fn holder(office: &Office, dns: &Dns, ann: &Secret) -> (RawClient, String) {
    let proof = add(office, "ann").await;
    dns.set(RECORD, &[&proof]);
    let mut client = RawClient::open_as(&office.world, ann).await;
    client.say(HELLO);
    client.bind(1, "http", HOST);
    assert_eq!(client.hear().await["t"], "welcome");
    assert_eq!(client.hear().await["t"], "bound");
    (client, proof)
}

#[test]
fn who_has_a_host_loses_it_when_it_is_removed_and_its_next_owner_gets_it() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let (ann, bob) = (office.token_of("ann").await, office.token_of("bob").await);
        let (mut client, _) = holder(&office, &dns, &ann).await;
        client.bind(2, "http", "app");
        assert_eq!(client.hear().await["t"], "bound");

        let host = Name::parse(HOST).unwrap();
        office.store.remove_domain(&host).await.unwrap();

        let began = Instant::now();
        let unbound = client.hear().await;
        println!("from the decision to its end: {:?}", began.elapsed());
        assert_eq!(
            (unbound["t"].as_str(), &unbound["id"]),
            (Some("unbound"), &1.into())
        );
        assert_eq!(unbound["code"], "domain_unverified");
        assert!(
            unbound["message"]
                .to_string()
                .contains("none of your account's domains")
        );
        assert_eq!(problem(&office.world, HOST).await, "400 foreign_host");
        // The session goes on with its other name, and the id is free.
        assert_eq!(office.world.names(), 1);
        client.bind(1, "http", HOST);
        assert_eq!(client.hear().await["code"], "domain_unverified");

        let proof = add(&office, "bob").await;
        dns.set(RECORD, &[&proof]);
        let app = Origin::saying("bob's own").await;
        let _bob = office.client(&bob, HOST, &app).await.unwrap();
        let visitor = office.world.visitor(Via::PlainHttp1, HOST).await;
        assert_eq!(visitor.get("/").await.text(), "bob's own");
    });
}

#[test]
fn the_user_of_a_client_is_told_why_its_host_is_gone() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let ann = office.token_of("ann").await;
        let proof = add(&office, "ann").await;
        dns.set(RECORD, &[&proof]);
        let app = Origin::saying("ann's own").await;
        let client = office.client(&ann, HOST, &app).await.unwrap();

        let host = Name::parse(HOST).unwrap();
        office.store.remove_domain(&host).await.unwrap();

        let ended = client.ended().await.unwrap_err();
        assert!(matches!(ended, ClientError::NameForbidden(_)), "{ended:?}");
        let said = ended.to_string();
        let taken =
            "the server has taken the name app.example.com back: the host app.example.com is none";
        assert!(said.contains(taken), "{said}");
    });
}

#[test]
fn the_proof_of_a_host_is_looked_at_again_while_a_client_has_it() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let ann = office.token_of("ann").await;
        let (mut client, proof) = holder(&office, &dns, &ann).await;
        let asked = async |statement: &str| {
            let before = dns.questions();
            office.tamper(statement);
            eventually("DNS to be asked", async || dns.questions() > before).await;
        };
        asked("UPDATE domains SET verified = verified - 24 * 60 * 60").await;
        let host = Name::parse(HOST).unwrap();
        eventually("the proof to be written down", async || {
            let domain = office.store.find_domain(&host).await.unwrap().unwrap();
            domain.verified.unwrap().0 > UnixSeconds::now().0 - 60
        })
        .await;
        // No answer takes nothing away, and a record that is gone not at once.
        dns.is(Mood::Fails);
        asked("UPDATE domains SET verified = verified - 365 * 24 * 60 * 60").await;
        dns.is(Mood::Answers);
        dns.set(RECORD, &[]);
        asked("UPDATE domains SET verified = unixepoch() - 72 * 60 * 60 + 60").await;
        client.bind(2, "http", "app");
        assert_eq!(client.hear().await["t"], "bound", "nothing was lost before");
        asked("UPDATE domains SET verified = verified - 120").await;
        let unbound = client.hear().await;
        assert_eq!(unbound["code"], "domain_unverified");
        assert!(
            unbound["message"].to_string().contains("is not there"),
            "{unbound} {proof}"
        );
    });
}

#[test]
fn a_resolver_that_says_nothing_is_not_waited_for_longer_than_5_s() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let ann = office.token_of("ann").await;
        add(&office, "ann").await;
        dns.is(Mood::Silent);
        let began = Instant::now();
        let (code, said) = told(&office, &ann, HOST).await;
        let took = began.elapsed();
        assert_eq!(code, "unavailable");
        assert!(said.contains("DNS gives no answer"), "{said}");
        assert!(!said.contains(&dns.address().to_string()), "{said}");
        assert!((3..7).contains(&took.as_secs()), "{took:?}");
    });
}

#[test]
fn a_token_for_some_names_has_the_hosts_that_it_lists() {
    run(async {
        let dns = Dns::start().await;
        let office = Office::asking(&dns, plan()).await;
        let app = Origin::saying("the app").await;
        let token = async |patterns: &[&str]| {
            let names = Allowed::only(patterns.iter().copied());
            let rules = Rules {
                names,
                ..Rules::default()
            };
            office.token(rules).await
        };
        let (stars, listed) = (token(&["app*", "a*"]).await, token(&[HOST]).await);
        let proof = add(&office, "ann").await;
        dns.set(RECORD, &[&proof]);
        assert_eq!(told(&office, &stars, HOST).await.0, "name_forbidden");
        let refused: Result<RunningClient, ClientError> = office.client(&stars, HOST, &app).await;
        assert!(
            matches!(refused, Err(ClientError::NameForbidden(_))),
            "{refused:?}"
        );
        assert_eq!(told(&office, &listed, HOST).await.0, "bound");
    });
}

#[test]
fn the_plain_port_leads_visitors_of_a_host_to_https() {
    run(async {
        let dns = Dns::start().await;
        let plan = plan().server(|config| config.http_mode = HttpMode::Redirect);
        let office = Office::asking(&dns, plan).await;
        let app = Origin::saying("the app").await;
        let ann = office.token_of("ann").await;
        let proof = add(&office, "ann").await;
        dns.set(RECORD, &[&proof]);
        assert_eq!(problem(&office.world, HOST).await, "400 foreign_host");
        let _client = office.client(&ann, HOST, &app).await.unwrap();
        let visitor = office.world.visitor(Via::PlainHttp1, HOST).await;
        let answer = visitor.get("/path?query").await;
        assert_eq!(answer.status, 308);
        let https = office.world.authority(Via::Http1, HOST);
        assert_eq!(
            answer.field("location"),
            format!("https://{https}/path?query")
        );
    });
}
