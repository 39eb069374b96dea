//! What the local app may tie to a visitor's connection: the rest of a body that it has not read, or a login.
//!
//! The tunnel client's connections to the app serve all visitors, so it must know which of them one is for
//! from there on. Most requests tie nothing, and say nothing.

use std::sync::{Mutex, OnceLock};

use http::{HeaderMap, HeaderValue, StatusCode};
use ngrnotok_common::id::VisitorId;
use ngrnotok_common::login;
use ngrnotok_common::protocol::control::Naming;
use ngrnotok_common::protocol::stream::VISITOR;

use crate::session::Session;

/// Sessions that are told of one connection: 8. One visitor rarely asks for the hosts of more.
const MOST_TOLD: usize = 8;

/// The name of a visitor's connection, from the moment it needs one. Dropping it tells the tunnel clients that
/// know it.
#[derive(Debug, Default)]
pub(super) struct Bond {
    name: OnceLock<(VisitorId, HeaderValue)>,
    told: Mutex<Vec<Session>>,
}

impl Bond {
    /// Says on a request which connection it comes from, if its tunnel client wants and needs to know.
    pub(super) fn name(&self, fields: &mut HeaderMap, has_body: bool, session: &Session) {
        let Some(naming) = session.naming() else {
            return;
        };
        let ties = || has_body || naming == Naming::All || login::is_in_request(fields);
        if self.name.get().is_none() && !ties() {
            return;
        }
        if self.will_tell(session) {
            fields.insert(VISITOR, self.ties().1.clone());
        }
    }

    /// Looks whether an answer asks for a login that ties what comes.
    pub(super) fn look_at(&self, status: StatusCode, fields: &HeaderMap) {
        if login::is_in_answer(status, fields) {
            self.ties();
        }
    }

    fn ties(&self) -> &(VisitorId, HeaderValue) {
        self.name.get_or_init(|| {
            let id = VisitorId::random();
            let mut value = HeaderValue::try_from(id.to_string()).expect("digits are visible");
            // HPACK must not remember it: it would push out what all requests say.
            value.set_sensitive(true);
            (id, value)
        })
    }

    /// Notes a session that is to be told of the end. False if it would be one too many.
    fn will_tell(&self, session: &Session) -> bool {
        let mut told = self.told.lock().expect("nothing panics under this lock");
        if told.contains(session) {
            return true;
        }
        if told.len() == MOST_TOLD {
            return false;
        }
        told.push(session.clone());
        true
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        let Some((id, _)) = self.name.get() else {
            return;
        };
        let told = self.told.get_mut().expect("nothing panics under this lock");
        for session in told {
            session.visitor_left(*id);
        }
    }
}
