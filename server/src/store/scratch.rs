//! A folder for a test's files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// An empty folder that is gone when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = env::temp_dir().join(format!("ngrnotok-server-test-{}", Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A store that is still open keeps its files on Windows; the system's cleaning finds them.
        let _ = fs::remove_dir_all(&self.0);
    }
}
