//! Secrets of users and visitors stay where they belong, whatever goes wrong: at the highest level of the
//! log nothing has them that the programs write, and no page of theirs.

mod sessions;
mod stage;
mod tokens;
mod visitors;
