//! Reading a command line.

use clap::builder::Resettable;
use clap::{ArgMatches, Command, Parser};

/// Reads the command line of this process, or ends the process with what is wrong with it.
///
/// A variable of the environment that is set to nothing counts as not set: that is how scripts, service
/// files and containers leave one out.
pub fn parse<P: Parser>() -> P {
    let is_empty =
        |variable: &std::ffi::OsStr| std::env::var_os(variable).is_some_and(|text| text.is_empty());
    let command = without(P::command(), is_empty);
    let mut matches: ArgMatches = command.get_matches();
    P::from_arg_matches_mut(&mut matches)
        .unwrap_or_else(|error| error.format(&mut P::command()).exit())
}

/// Lets the arguments forget those variables.
fn without(command: Command, unwanted: impl Fn(&std::ffi::OsStr) -> bool + Copy) -> Command {
    command
        .mut_args(|arg| match arg.get_env().is_some_and(unwanted) {
            true => arg.env(Resettable::Reset),
            false => arg,
        })
        .mut_subcommands(|subcommand| without(subcommand, unwanted))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn unwanted_variables_are_forgotten_at_every_level() {
        // A variable that every test has.
        let arg = || Arg::new("path").long("path").env("PATH");
        let command = Command::new("program")
            .arg(arg())
            .subcommand(Command::new("sub").arg(arg()));
        for (forget, found) in [(false, true), (true, false)] {
            let command = without(command.clone(), |_| forget);
            let matches = command.get_matches_from(["program", "sub"]);
            assert_eq!(matches.contains_id("path"), found);
            let sub = matches.subcommand_matches("sub").unwrap();
            assert_eq!(sub.contains_id("path"), found);
        }
    }
}
