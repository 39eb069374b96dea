//! What a program can say of itself to shells and to `man`: both programs do so in the same way.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
pub use clap_complete::Shell;

use crate::output::print;

/// For which shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Where the manual goes.
#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages of all commands into this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl Completions {
    /// Prints the script that makes the shell complete the words of this program.
    pub fn print(&self, mut command: Command) -> io::Result<()> {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        print(&script)
    }
}

impl Man {
    /// Prints the page of this program, or writes it and those of its commands into the folder.
    pub fn print(&self, command: Command) -> io::Result<()> {
        match &self.dir {
            Some(dir) => write(command, dir),
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                print(&page)
            }
        }
    }
}

fn write(command: Command, dir: &Path) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(named)?;
    clap_mangen::generate_to(command, dir).map_err(named)
}
