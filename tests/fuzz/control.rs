#![no_main]
//! Arbitrary bytes on a control stream, in arbitrary pieces: the reader says of every line what serde
//! says of it, and ends where that ends.

mod script;

use std::fmt::Debug;

use bytes::Bytes;
use http::Request;
use libfuzzer_sys::fuzz_target;
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::link::open::{client_end, server_end};
use ngrnotok_common::link::windows::UnreadTotal;
use ngrnotok_common::protocol::control::{
    ClientMessage, ControlError, MAX_LINE, Reader, ServerMessage,
};
use script::Script;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;
use tokio_util::task::TaskTracker;

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let choice = script.byte();
    let mut piece = 1 + usize::from(script.byte());
    // Lines near the limit are out of reach for a fuzzer that has to write every byte.
    let padding = match choice {
        254 | 255 => MAX_LINE - 200 + script.below(400),
        253 => MAX_LINE * 2,
        _ => 0,
    };
    if padding > 0 {
        piece = 16 * 1024;
    }
    let mut text = vec![b' '; padding];
    text.extend_from_slice(script.0);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    match choice & 1 {
        0 => runtime.block_on(read::<ClientMessage>(&text, piece)),
        _ => runtime.block_on(read::<ServerMessage>(&text, piece)),
    }
});

/// Sends the text over a link and reads it on the other side.
async fn read<M: DeserializeOwned + Serialize + PartialEq + Debug>(text: &[u8], piece: usize) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let (mut requests, calling) = server_end(near, UnreadTotal::default()).await.expect("a link");
    let tasks = TaskTracker::new();
    tasks.spawn(async { drop(calling.await) });
    let mut serving = client_end(far, UnreadTotal::default()).await.expect("a link");

    let head = Request::post("https://link.test/control");
    let head = head.body(()).expect("a head");
    let (_answer, mut stream) = requests.send_request(head, false).expect("a stream");
    for piece in text.chunks(piece) {
        let piece = Bytes::copy_from_slice(piece);
        stream.send_data(piece, false).expect("an open stream");
    }
    stream
        .send_data(Bytes::new(), true)
        .expect("an open stream");

    let (request, reply) = serving.accept().await.expect("a link").expect("a stream");
    tokio::select! {
        () = check::<M>(reply.body(request.into_body()), text) => {}
        _ = serving.accept() => panic!("the link has ended"),
    }
}

async fn check<M: DeserializeOwned + Serialize + PartialEq + Debug>(
    body: LinkBody,
    text: &[u8],
) {
    let mut reader = Reader::<M>::new(body);
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let unfinished = lines.pop().unwrap_or_default();
    for line in lines {
        if line.len() < MAX_LINE && line.trim_ascii().is_empty() {
            continue;
        }
        let said = reader.next().await;
        if let Err(ControlError::LineTooLong) = &said {
            assert!(
                line.len() >= MAX_LINE,
                "{} bytes are not too long",
                line.len()
            );
            return;
        }
        assert!(
            line.len() < 2 * MAX_LINE,
            "{} bytes are too long",
            line.len()
        );
        if line.trim_ascii().is_empty() {
            // A line of blanks near the limit: the next one was read.
            return;
        }
        match (serde_json::from_slice::<M>(line), said) {
            (Ok(expected), Ok(Some(message))) => {
                assert_eq!(message, expected);
                let written = serde_json::to_vec(&message).expect("it serialises");
                let again: M = serde_json::from_slice(&written).expect("it reads again");
                assert_eq!(again, message);
            }
            (Err(_), Err(ControlError::Malformed(_))) => return,
            (expected, said) => panic!("{expected:?} was read as {said:?}"),
        }
    }
    match reader.next().await {
        Ok(None) => assert!(unfinished.len() < 2 * MAX_LINE),
        Err(ControlError::LineTooLong) => assert!(unfinished.len() >= MAX_LINE),
        said => panic!("after the last line: {said:?}"),
    }
}
