//! Every number of the link, in one place.

use std::time::Duration;

/// How much of one stream the receiver lets the sender send ahead at first: 256 KiB. It grows as the
/// link turns out to be long and fast, see [`windows`](super::windows).
///
/// One stream moves at most this much per round trip. It is also the most that a visitor who never reads
/// makes each end hold, so 64 of them cost 16 MiB.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// It does not grow beyond 8 MiB: 160 MiB/s at 50 ms.
pub const MOST_WINDOW: u32 = 8 * 1024 * 1024;

/// What a stream may send ahead while readers are slow and much lies unread: 64 KiB.
pub const CROWDED_WINDOW: u32 = 64 * 1024;

/// Bytes of one link that may lie unread before its streams get [`CROWDED_WINDOW`]: 64 MiB.
pub const MOST_UNREAD: usize = 64 * 1024 * 1024;

/// The window of the whole connection: 192 MiB, which is [`MOST_UNREAD`] and [`CROWDED_WINDOW`] for each of
/// [`MAX_STREAMS`].
///
/// A peer that does what our SETTINGS say does not get there, so it never is what holds a stream up: with a
/// small one a few visitors who do not read use it up and stop every other stream. For a peer that does not,
/// it is the end: h2 counts every byte that nobody has read against it, whatever was acknowledged.
pub const CONNECTION_WINDOW: u32 = 192 * 1024 * 1024;

/// Bytes that may lie unread on all links of one account together before streams that hold more than
/// [`CROWDED_WINDOW`] are reset: 256 MiB. What a stream may hold falls from there to nothing at twice as much.
pub const MOST_UNREAD_TOGETHER: usize = 256 * 1024 * 1024;

/// How long a peer may take to acknowledge SETTINGS: 10 s. Until it has, the windows that it was given
/// before still hold.
pub const SETTINGS_LIMIT: Duration = Duration::from_secs(10);

/// The longest round trip that windows grow by: 1 s. It is the peer who answers PINGs, and it may take its
/// time.
pub const MOST_ROUND_TRIP: Duration = Duration::from_secs(1);

/// Streams open at once on one link: 2048. One more visitor is told so (503), never left waiting.
pub const MAX_STREAMS: u32 = 2048;

/// Payload of one DATA frame: 16 KiB. Larger frames save nothing measurable and make small requests
/// wait behind them on slow links.
pub const FRAME: u32 = 16 * 1024;

/// A header list: 256 KiB, four times what the edge lets a visitor send, so that a head the edge
/// has taken always fits. One four times larger than this would end the whole link (h2#915).
pub const HEADER_LIST: u32 = 256 * 1024;

/// What one stream may have written but not yet sent: 128 KiB. Small, so that bulk does not sit in
/// front of small answers.
pub const SEND_BUFFER: usize = 128 * 1024;

/// Overhead of small unread DATA frames on one connection before h2 ends it: 32 MiB, about 130,000
/// frames of a few bytes, some 20 MiB of memory.
///
/// Set by hand because h2's own rule takes half of the connection window, which would be no guard at
/// all here.
pub const DATA_FRAME_BUDGET: usize = 32 * 1024 * 1024;

/// Streams this end has reset whose late frames it still recognises: 4096 for 30 s.
///
/// h2 counts frames of forgotten streams as errors of the peer and ends the link after 1024 of them
/// in its life; visitors who cancel would add up to that within minutes. About 500 bytes each.
pub const RESET_MEMORY: usize = 4096;

/// See [`RESET_MEMORY`].
pub const RESET_MEMORY_TIME: Duration = Duration::from_secs(30);

/// Streams the peer has opened and reset before this end looked at them: 5000. A page reload behind
/// a busy server cancels dozens at once; h2's 20 is meant for strangers.
pub const PENDING_ACCEPT_RESETS: usize = 5000;

/// A PING goes out this long after the last answer, idle or not.
pub const PING_EVERY: Duration = Duration::from_secs(4);

/// A PING that is not answered within this time ends the link, so silence is noticed within 8 s.
pub const PING_LIMIT: Duration = Duration::from_secs(4);

/// A PING that asks whether the other end is still there after this computer has slept: 2 s. Short,
/// because the server has given the link up by then, unless the nap was one of seconds.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Bytes that wait in the kernel of the sending side: 128 KiB. Below it h2 still chooses what goes
/// next, so a small answer overtakes bulk on a slow link.
pub const NOTSENT_LOWAT: u32 = 128 * 1024;

/// How long a peer may take for each step before the link is up.
pub const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// HTTP/2 of the server's end, which is the HTTP/2 client. The tunnel client speaks it, too, to local
/// apps.
pub fn server_end() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .max_concurrent_reset_streams(RESET_MEMORY)
        .reset_stream_duration(RESET_MEMORY_TIME)
        .max_local_error_reset_streams(None)
        .enable_push(false);
    builder
}

/// HTTP/2 of the client's end, which is the HTTP/2 server.
pub(super) fn client_end() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .max_concurrent_reset_streams(RESET_MEMORY)
        .reset_stream_duration(RESET_MEMORY_TIME)
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(PENDING_ACCEPT_RESETS)
        // Upgrades travel as extended CONNECT (RFC 8441).
        .enable_connect_protocol();
    builder
}
