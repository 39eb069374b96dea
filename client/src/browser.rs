//! Opening a page in the user's browser.

use std::io;
use std::process::Stdio;

use crate::secrets;

/// Opens a URL by whichever of the system's openers works first, and waits for that one to end. The browser
/// does not inherit our secrets, nor the Ctrl-C of our terminal.
pub(crate) fn open(url: &str) -> io::Result<()> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for mut command in ::open::commands(url) {
        for secret in secrets::ALL {
            command.env_remove(secret);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        match command.status() {
            // Explorer fails also when it has opened the page.
            Ok(status) if status.success() || cfg!(windows) => return Ok(()),
            Ok(status) => failure = io::Error::other(format!("the opener ended with {status}")),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
