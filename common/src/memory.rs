//! What a program asks of its allocator.

/// The largest allocation that is cut from the heap rather than mapped for itself: 512 KiB. Twice as much
/// may then lie unused at the end of the heap.
const KEPT: usize = 512 * 1024;

/// Lets the C library keep the memory of buffers that come and go. Call it once, first of all.
///
/// glibc gives memory at the end of the heap back to the kernel as soon as 128 KiB of it are free, and asks
/// for it again, zeroed page by page, with the next buffers: a fifth of the processor time of bulk. It
/// learns better when a block is freed that it had mapped by itself (M_MMAP_THRESHOLD in mallopt(3)).
/// Elsewhere this does nothing.
pub fn keep_freed() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}
