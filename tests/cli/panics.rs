//! A program that has the terminal and panics: first in a thread, which leaves the rest running, then as a whole.

use ngrnotok::tui::Screen;

fn main() {
    let _screen = Screen::open().expect("a terminal");
    let thread = std::thread::spawn(|| panic!("a thread is tired"));
    assert!(thread.join().is_err());
    panic!("all is tired");
}
