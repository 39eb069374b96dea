//! One-time links that let a browser in to the web interface.
//!
//! Other users of this machine reach its loopback addresses, too, so being there proves nothing. A link has a
//! word in its fragment, which browsers send to no server. The page takes the word out of the address, trades
//! it for the key of this start, and keeps the key in its storage. Browsers keep that apart for each port;
//! cookies they do not, and other ports of this machine belong to other users.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;
use ngrnotok_common::secret::Secret;

/// Links that have been asked for and are still unused; the oldest makes room.
const MOST_ISSUED: usize = 16;

/// Issues the links and redeems their words; clones do the same.
#[derive(Debug, Clone)]
pub struct SignIn(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The address of the page.
    page: String,
    key: Secret,
    /// `None`: the page asks for a password instead.
    words: Option<Mutex<Words>>,
}

#[derive(Debug)]
struct Words {
    /// The word of the link that is shown from the start, until it is used.
    shown: Option<Secret>,
    issued: VecDeque<Secret>,
}

impl SignIn {
    /// Links to `page`, whose words are good for `key`.
    pub(crate) fn by_link(page: String, key: Secret) -> Self {
        let words = Words {
            shown: Some(word()),
            issued: VecDeque::new(),
        };
        Self::new(page, key, Some(Mutex::new(words)))
    }

    /// For a page that asks for a password: its address is the link.
    pub(crate) fn by_password(page: String, key: Secret) -> Self {
        Self::new(page, key, None)
    }

    fn new(page: String, key: Secret, words: Option<Mutex<Words>>) -> Self {
        Self(Arc::new(Inner { page, key, words }))
    }

    /// The address of the page, without a word.
    pub fn page(&self) -> &str {
        &self.0.page
    }

    /// The link to show; once it has been used, the address of the page alone.
    pub fn shown_link(&self) -> String {
        let shown = self.words(|words| words.shown.clone());
        self.link(shown.flatten())
    }

    /// A further link.
    pub fn new_link(&self) -> String {
        let issued = self.words(|words| {
            let issued = word();
            words.issued.truncate(MOST_ISSUED - 1);
            words.issued.push_front(issued.clone());
            issued
        });
        self.link(issued)
    }

    /// The key for an unused word, which is used up.
    pub(crate) fn redeem(&self, given: &str) -> Option<&Secret> {
        let known = self.words(|words| {
            let is_it = |word: &Secret| {
                verify_slices_are_equal(word.expose().as_bytes(), given.as_bytes()).is_ok()
            };
            if words.shown.take_if(|word| is_it(word)).is_some() {
                return true;
            }
            let place = words.issued.iter().position(is_it);
            place.and_then(|place| words.issued.remove(place)).is_some()
        });
        (known == Some(true)).then_some(&self.0.key)
    }

    fn words<T>(&self, work: impl FnOnce(&mut Words) -> T) -> Option<T> {
        let words = self.0.words.as_ref()?;
        Some(work(
            &mut words.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    fn link(&self, word: Option<Secret>) -> String {
        let page = &self.0.page;
        match word {
            Some(word) => format!("{page}#once={}", word.expose()),
            None => page.clone(),
        }
    }
}

/// 96 random bits, short enough for a terminal.
fn word() -> Secret {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    Secret::new(BASE64URL_NOPAD.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "http://127.0.0.1:4040/";

    fn word_of(link: &str) -> &str {
        link.strip_prefix(PAGE)
            .and_then(|rest| rest.strip_prefix("#once="))
            .expect("a link with a word")
    }

    #[test]
    fn a_link_works_once_and_others_go_on() {
        let sign_in = SignIn::by_link(PAGE.to_owned(), Secret::new("the key"));
        let (shown, other) = (sign_in.shown_link(), sign_in.new_link());
        assert_eq!(shown, sign_in.shown_link());
        assert!(shown != other && other != sign_in.new_link());
        for wrong in ["", "0", &word_of(&shown)[1..]] {
            assert!(sign_in.redeem(wrong).is_none());
        }
        for link in [&other, &shown] {
            let key = sign_in.redeem(word_of(link)).map(Secret::expose);
            assert_eq!(key, Some("the key"));
            assert!(sign_in.redeem(word_of(link)).is_none(), "it is used up");
        }
        assert_eq!(sign_in.shown_link(), PAGE);
    }

    #[test]
    fn unused_links_are_bounded_and_the_one_that_is_shown_stays() {
        let sign_in = SignIn::by_link(PAGE.to_owned(), Secret::new("the key"));
        let links: Vec<String> = (0..=MOST_ISSUED).map(|_| sign_in.new_link()).collect();
        assert!(sign_in.redeem(word_of(&links[0])).is_none());
        assert!(sign_in.redeem(word_of(&links[1])).is_some());
        assert!(sign_in.redeem(word_of(&sign_in.shown_link())).is_some());
    }

    #[test]
    fn with_a_password_there_are_no_words() {
        let sign_in = SignIn::by_password(PAGE.to_owned(), Secret::new("the key"));
        assert_eq!([sign_in.shown_link(), sign_in.new_link()], [PAGE, PAGE]);
        assert!(sign_in.redeem("").is_none());
    }
}
