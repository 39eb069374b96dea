//! The development authority in files.
//!
//! Certificate and key are two files which must belong together, so that putting each in its place
//! by a rename is not enough: of two processes, one could win with the key and the other with the
//! certificate. A lock file lets them in one by one. The system frees the lock of a process which
//! dies.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ngrnotok_common::files::{self, Readers};
use rcgen::{Issuer, KeyPair, PublicKeyData};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use super::constraints::permit;
use super::{DevAuthority, DevError};
use crate::pem::{self, PemError};
use crate::pin::Pin;

pub(super) fn load_or_create(dir: &Path, names: &[String]) -> Result<DevAuthority, DevError> {
    files::private_folder(dir).map_err(|error| DevError::Directory {
        dir: dir.to_owned(),
        error,
    })?;
    let files = Files {
        certificate: dir.join("dev-ca.pem"),
        key: dir.join("dev-ca.key"),
    };
    let _held_to_the_end = lock(&dir.join("dev-ca.lock"))?;
    if files.are_there()? {
        files.load(names)
    } else {
        let authority = DevAuthority::generate_at(SystemTime::now(), Some(names))?;
        files.store(&authority)?;
        Ok(authority)
    }
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// One without the other is of no use, and what is left when somebody followed the advice to
    /// delete a file.
    fn are_there(&self) -> Result<bool, DevError> {
        let is_there = |file: &Path| {
            file.try_exists()
                .map_err(|error| failed("look for", file, error))
        };
        Ok(is_there(&self.certificate)? && is_there(&self.key)?)
    }

    fn load(&self, names: &[String]) -> Result<DevAuthority, DevError> {
        files::withdraw(&self.key).map_err(|error| failed("protect", &self.key, error))?;
        let key = self.load_key()?;
        let pem = pem::read(&self.certificate).map_err(DevError::Read)?;
        let mut chain =
            pem::parse_chain(&self.certificate, &pem).map_err(|e| judge(&self.certificate, e))?;
        let certificate = chain.swap_remove(0);

        let name = self.certificate.display();
        let useless = |what: String| DevError::Useless {
            file: self.certificate.clone(),
            what,
        };
        let (_, parsed) = parse_x509_certificate(&certificate)
            .map_err(|_| useless(format!("what {name} holds is not a certificate")))?;
        if parsed.validity().not_after < ASN1Time::now() {
            return Err(useless(format!("the certificate in {name} has expired")));
        }
        let pin = Pin::of_key_info(parsed.public_key().raw);
        if pin != Pin::of_key_info(&key.subject_public_key_info()) {
            return Err(useless(format!(
                "the certificate in {name} does not belong to the key in {}",
                self.key.display()
            )));
        }
        if let Some(other) = names.iter().find(|name| !permit(&parsed, name)) {
            return Err(useless(format!(
                "the authority in {name} was made for other names than {other}"
            )));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| useless(format!("the certificate in {name} is unusual: {error}")))?;
        Ok(DevAuthority {
            issuer,
            certificate_pem: String::from_utf8_lossy(&pem).into_owned(),
            certificate,
            pin,
        })
    }

    fn load_key(&self) -> Result<KeyPair, DevError> {
        let key = pem::load_key(&self.key).map_err(|error| judge(&self.key, error))?;
        KeyPair::try_from(&key).map_err(|_| DevError::Useless {
            file: self.key.clone(),
            what: format!("what {} holds is not a private key", self.key.display()),
        })
    }

    fn store(&self, authority: &DevAuthority) -> Result<(), DevError> {
        let key = authority.issuer.key().serialize_pem();
        replace(&self.key, &key, Readers::Owner)?;
        replace(&self.certificate, authority.certificate_pem(), Readers::All)
    }
}

/// Deleting helps against what a file holds, but not against a disk or a permission.
fn judge(file: &Path, error: PemError) -> DevError {
    match error {
        PemError::Read { .. } => DevError::Read(error),
        error => DevError::Useless {
            file: file.to_owned(),
            what: error.to_string(),
        },
    }
}

/// Blocks until no other process is at work on the authority. Dropping the file frees the lock.
fn lock(file: &Path) -> Result<File, DevError> {
    let locked = files::private_options()
        .open(file)
        .and_then(|open| open.lock().map(|()| open));
    locked.map_err(|error| failed("lock", file, error))
}

fn replace(file: &Path, content: &str, readers: Readers) -> Result<(), DevError> {
    let replaced = files::replace(file, content.as_bytes(), readers);
    replaced.map_err(|error| failed("write", file, error))
}

fn failed(what: &'static str, file: &Path, error: io::Error) -> DevError {
    DevError::File {
        what,
        file: file.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Barrier;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::testing::{Scratch, handshake, issue};
    use crate::tls::{Trust, client_config, server_config};

    /// The authority of `dir` for `tunnel.test`.
    fn load_or_create(dir: &Path) -> Result<DevAuthority, DevError> {
        super::load_or_create(dir, &["tunnel.test".to_owned()])
    }

    #[test]
    fn the_second_call_finds_what_the_first_has_made() {
        let dir = Scratch::new();
        let state = dir.path().join("made").join("on the way");
        let first = load_or_create(&state).unwrap();
        let second = load_or_create(&state).unwrap();

        assert_eq!(first.certificate(), second.certificate());
        assert_eq!(first.certificate_pem(), second.certificate_pem());
        assert_eq!(first.pin(), second.pin());
        // The loaded one signs for those who trust the one which was made.
        let server = server_config(issue(&second, "localhost"), &[]).unwrap();
        let client = client_config(Trust::Roots(vec![first.certificate()]), &[]).unwrap();
        handshake(&client, &server, "localhost").unwrap();
    }

    #[test]
    fn racing_creators_agree() {
        const RACERS: usize = 8;
        for _ in 0..5 {
            let dir = Scratch::new();
            let start = Barrier::new(RACERS);
            let pins: Vec<Pin> = thread::scope(|scope| {
                let racers: Vec<_> = (0..RACERS)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            load_or_create(dir.path()).unwrap().pin()
                        })
                    })
                    .collect();
                racers.into_iter().map(|r| r.join().unwrap()).collect()
            });

            let kept = load_or_create(dir.path()).unwrap().pin();
            assert_eq!(pins, [kept; RACERS]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_key() {
        use std::os::unix::fs::PermissionsExt;

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = Scratch::new();
        let state = dir.path().join("state");
        let key = state.join("dev-ca.key");
        load_or_create(&state).unwrap();
        assert_eq!(mode(&key), 0o600);

        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        load_or_create(&state).unwrap();
        assert_eq!(mode(&key), 0o600);

        let fresh = dir.path().join("fresh");
        load_or_create(&fresh).unwrap();
        assert_eq!(mode(&fresh), 0o700);
    }

    #[test]
    fn a_broken_file_is_named_and_deleting_it_helps() {
        for name in ["dev-ca.pem", "dev-ca.key"] {
            for content in [
                "",
                "-----BEGIN CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            ] {
                let dir = Scratch::new();
                let before = load_or_create(dir.path()).unwrap();
                let file = dir.path().join(name);
                fs::write(&file, content).unwrap();

                let error = load_or_create(dir.path()).unwrap_err().to_string();
                let advice = format!("delete {} to get a new development CA", file.display());
                assert!(error.ends_with(&advice), "{error}");

                fs::remove_file(&file).unwrap();
                let after = load_or_create(dir.path()).unwrap();
                assert_ne!(before.pin(), after.pin());
                assert_eq!(after.pin(), load_or_create(dir.path()).unwrap().pin());
            }
        }
    }

    #[test]
    fn an_expired_authority_is_refused() {
        let dir = Scratch::new();
        let eleven_years = Duration::from_hours(11 * 365 * 24);
        let old = DevAuthority::generate_at(SystemTime::now() - eleven_years, None).unwrap();
        in_dir(&dir).store(&old).unwrap();

        let error = load_or_create(dir.path()).unwrap_err().to_string();

        assert!(error.contains("dev-ca.pem has expired: delete"), "{error}");
    }

    #[test]
    fn an_authority_for_other_names_is_refused_and_one_for_all_is_not() {
        let dir = Scratch::new();
        load_or_create(dir.path()).unwrap();
        let other = ["*.tunnel.test", "other.test"].map(str::to_owned);
        let error = super::load_or_create(dir.path(), &other);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("for other names than other.test: delete"),
            "{error}"
        );

        let before_there_were_constraints = DevAuthority::generate().unwrap();
        in_dir(&dir).store(&before_there_were_constraints).unwrap();
        let kept = super::load_or_create(dir.path(), &other).unwrap();
        assert_eq!(kept.pin(), before_there_were_constraints.pin());
    }

    #[test]
    fn an_authority_for_other_addresses_is_kept() {
        let dir = Scratch::new();
        let names = |address: &str| [address, "127.0.0.1", "tunnel.test"].map(str::to_owned);
        let before = super::load_or_create(dir.path(), &names("192.0.2.7")).unwrap();

        let moved = names("192.0.2.8");
        let after = super::load_or_create(dir.path(), &moved).unwrap();

        assert_eq!(before.pin(), after.pin());
        let server = server_config(after.issue(&moved).unwrap(), &[]).unwrap();
        let client = client_config(Trust::Roots(vec![before.certificate()]), &[]).unwrap();
        handshake(&client, &server, "tunnel.test").unwrap();
        handshake(&client, &server, "192.0.2.8").unwrap();
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let dir = Scratch::new();
        load_or_create(dir.path()).unwrap();
        let other = DevAuthority::generate().unwrap();
        fs::write(in_dir(&dir).certificate, other.certificate_pem()).unwrap();

        let error = load_or_create(dir.path()).unwrap_err().to_string();

        assert!(error.contains("does not belong to the key"), "{error}");
    }

    fn in_dir(dir: &Scratch) -> Files {
        Files {
            certificate: dir.path().join("dev-ca.pem"),
            key: dir.path().join("dev-ca.key"),
        }
    }
}
