//! `ngrnotok-server domain …`, and certificates for more than one domain.

use insta::assert_snapshot;
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_tests::dns::{Dns, Mood};
use ngrnotok_tests::program::{Ended, Scratch};
use ngrnotok_tests::run;
use serde_json::Value;

use crate::{RunningServer, ngrnotok_server, steady, token, without_folder};

/// Runs `domain ARGS…` to its end.
async fn domain(scratch: &Scratch, args: &[&str]) -> Ended {
    let args = [&["domain"], args].concat();
    ngrnotok_server(scratch, &args).output().await
}

/// What `domain ARGS…` says, with words in the place of proofs and times.
async fn said(scratch: &Scratch, args: &[&str]) -> String {
    let said = domain(scratch, args).await.shown();
    let mut said = said.replace("127.0.0.1", "LOOPBACK");
    while let Some(at) = said.find("verification=") {
        let proof = &said[at..at + "verification=".len() + 32];
        said = said.replace(proof, "PROOF");
    }
    steady(&said, scratch)
}

/// What the record of the only host must say.
async fn proof(scratch: &Scratch) -> String {
    let listed = domain(scratch, &["list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    listed[0]["proof"].as_str().expect("a proof").to_owned()
}

#[test]
fn a_host_is_added_verified_listed_and_removed() {
    run(async {
        let (scratch, dns) = (Scratch::new(), Dns::start().await);
        let resolver = dns.address().to_string();
        let host = "app.example.com";
        let add = ["add", host, "--account", "ann"];
        let verify = ["verify", host, "--resolver", &resolver];
        assert_snapshot!(said(&scratch, &["list"]).await);
        assert_snapshot!(said(&scratch, &add).await);
        assert_snapshot!(said(&scratch, &verify).await);
        let state_dir = scratch.path().join("ngrnotok-server");
        assert!(!state_dir.exists(), "asking makes nothing");

        token(&scratch).await;
        assert_snapshot!(said(&scratch, &add).await);
        let proof = proof(&scratch).await;
        assert_snapshot!(said(&scratch, &["add", "APP.example.com.", "--account", "ann"]).await);
        assert_snapshot!(said(&scratch, &["add", host, "--account", "bob"]).await);
        assert_snapshot!(said(&scratch, &verify).await);
        dns.is(Mood::Fails);
        let failed = domain(&scratch, &verify).await;
        assert_eq!(failed.code, Some(1));
        assert!(failed.stderr.contains(&resolver), "{}", failed.stderr);
        assert_snapshot!(said(&scratch, &["list"]).await);

        dns.is(Mood::Answers);
        dns.set("_ngrnotok.app.example.com", &[&proof]);
        assert_snapshot!(said(&scratch, &verify).await);
        assert_snapshot!(said(&scratch, &["list"]).await);
        assert_snapshot!(said(&scratch, &["list", "--json"]).await);
        assert_snapshot!(said(&scratch, &["remove", host]).await);
        assert_snapshot!(said(&scratch, &["remove", host]).await);
    });
}

#[test]
fn what_is_no_host_of_an_account_is_refused() {
    run(async {
        let scratch = Scratch::new();
        for (host, why) in [
            ("app", "a whole host name such as app.example.com"),
            ("127.0.0.1", "does not end with a number"),
            ("*.example.com", "not '*'"),
            ("https://app.example.com", "not ':'"),
        ] {
            let ended = domain(&scratch, &["add", host, "--account", "ann"]).await;
            assert_eq!(ended.code, Some(2), "{host}");
            assert!(ended.stderr.contains(why), "{}", ended.stderr);
        }
        for host in ["app.tunnel.test", "tunnel.test"] {
            let add = ["--domain", "tunnel.test", "domain", "add", host];
            let add = ngrnotok_server(&scratch, &add).args(["--account", "ann"]);
            let ended = add.output().await;
            assert_eq!(ended.code, Some(1));
            assert!(ended.stderr.contains("own domain"), "{}", ended.stderr);
        }
        let bad = ["--resolver", "dns.example.com", "domain", "list"];
        let ended = ngrnotok_server(&scratch, &bad).output().await;
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("127.0.0.1"), "{}", ended.stderr);
    });
}

#[test]
fn a_client_of_another_process_gets_the_host_that_its_account_has_proved() {
    run(async {
        let (scratch, dns) = (Scratch::new(), Dns::start().await);
        let resolver = dns.address().to_string();
        let ann = token(&scratch).await;
        let server = RunningServer::start(&scratch, &["--resolver", &resolver]).await;
        let client = || {
            let client = server.client(&scratch, &["--hello", "--name", "app.example.com"]);
            client.env("NGRNOTOK_TOKEN", &ann)
        };
        let refused = client().output().await;
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("domain add app.example.com"),
            "{}",
            refused.stderr
        );

        let added = domain(&scratch, &["add", "app.example.com", "--account", "ann"]).await;
        assert_eq!(added.code, Some(0), "{}", added.stderr);
        dns.set("_ngrnotok.app.example.com", &[&proof(&scratch).await]);
        let mut client = client().start();
        let url = client.line_of("Forwarding").await;
        assert!(url.starts_with("https://app.example.com:"), "{url}");
    });
}

#[test]
fn further_certificates_are_checked_like_the_first() {
    run(async {
        let scratch = Scratch::new();
        let [one, two] = ["one", "two"].map(|folder| {
            let folder = scratch.path().join(folder);
            std::fs::create_dir(&folder).expect("a folder can be made");
            DevAuthority::load_or_create(&folder, &[]).expect("an authority");
            let file = |name| folder.join(name).display().to_string();
            [file("dev-ca.pem"), file("dev-ca.key")]
        });
        let check = async |files: &[&str]| {
            let words = ["--domain", "tunnel.test", "--https", "127.0.0.1:0"];
            let args = [&words[..], files, &["config", "check"]].concat();
            let ended = ngrnotok_server(&scratch, &args).output().await;
            without_folder(&ended.shown(), &scratch)
        };
        let first = ["--cert", &one[0], "--key", &one[1]];
        assert!(check(&first).await.contains("configuration is good"));
        // The certificate of an authority is for no host.
        let nameless = [&first[..], &["--cert", &two[0], "--key", &two[1]]].concat();
        assert_snapshot!(check(&nameless).await);
        let mixed = [&first[..], &["--cert", &two[0], "--key", &one[1]]].concat();
        assert_snapshot!(check(&mixed).await);
        let keyless = [&first[..], &["--cert", &two[0]]].concat();
        assert_snapshot!(check(&keyless).await);

        let in_file = |text: &str| {
            let file = scratch.file("server.toml", text);
            file.display().to_string()
        };
        for list in [false, true] {
            let [open, close] = if list { ["['", "']"] } else { ["'", "'"] };
            let [cert, key] = &one;
            let file = in_file(&format!(
                "cert = {open}{cert}{close}\nkey = {open}{key}{close}\n"
            ));
            assert!(
                check(&["--config", &file])
                    .await
                    .contains("configuration is good")
            );
        }
        let file = in_file("cert = 7\n");
        let wrong = check(&["--config", &file]).await;
        assert!(
            wrong.contains("the path of a file, or a list of them"),
            "{wrong}"
        );
        assert!(wrong.contains("line 1"), "{wrong}");
    });
}
