//! A resolver that knows TXT records and nothing else, on loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;

use crate::origin::any_port;
use crate::tasks::Tasks;

/// A resolver; it is gone when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: Tasks,
}

#[derive(Debug, Default)]
struct Zone {
    mood: Mood,
    records: HashMap<String, Vec<String>>,
    questions: usize,
}

/// What the resolver does with questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers what it knows, and says that there is nothing else.
    #[default]
    Answers,
    /// It answers that it has failed (SERVFAIL).
    Fails,
    /// It says nothing.
    Silent,
}

impl Dns {
    /// Starts one that knows of nothing.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind(any_port()).await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let (zone, tasks) = (Arc::<Mutex<Zone>>::default(), Tasks::default());
        let known = Arc::clone(&zone);
        tasks.spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                let answer = {
                    let mut zone = known.lock().unwrap_or_else(PoisonError::into_inner);
                    zone.answer(&packet[..length])
                };
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
        });
        Self {
            address,
            zone,
            _tasks: tasks,
        }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says from now on that a name has these TXT records.
    pub fn set(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        self.change(|zone| drop(zone.records.insert(name.to_owned(), texts)));
    }

    /// Is like that from now on.
    pub fn is(&self, mood: Mood) {
        self.change(|zone| zone.mood = mood);
    }

    /// How often it was asked.
    pub fn questions(&self) -> usize {
        let mut questions = 0;
        self.change(|zone| questions = zone.questions);
        questions
    }

    fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Zone {
    /// RFC 1035 §4, as much of it as one question takes.
    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        self.questions += 1;
        if self.mood == Mood::Silent {
            return None;
        }
        let (id, question) = (query.get(..2)?, query.get(12..)?);
        let (mut name, mut at) = (Vec::new(), 0);
        loop {
            let length = usize::from(*question.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            name.push(String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let question = question.get(..at + 4)?;
        assert_eq!(question[at..], [0, 16, 0, 1], "only TXT is asked for");

        let known = self.records.get(&name.join("."));
        let code = match (self.mood, known) {
            (Mood::Fails, _) => 2,
            (_, None) => 3,
            (_, Some(_)) => 0,
        };
        let texts = known.filter(|_| code == 0).map_or(&[][..], Vec::as_slice);
        let count = u16::try_from(texts.len()).ok()?.to_be_bytes();
        // A response, recursion asked for and available.
        let mut answer = [
            id,
            &[0x81, 0x80 | code, 0, 1],
            &count[..],
            &[0; 4],
            question,
        ]
        .concat();
        for text in texts {
            // The name as in the question, TXT, IN, for a minute.
            answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
            // Longer texts come in pieces.
            let pieces: Vec<u8> = text
                .as_bytes()
                .chunks(20)
                .flat_map(|piece| [&[piece.len() as u8], piece].concat())
                .collect();
            answer.extend(u16::try_from(pieces.len()).ok()?.to_be_bytes());
            answer.extend(pieces);
        }
        Some(answer)
    }
}
