//! The plan of the house, checked: which package and which module may know of which.

mod arrows;
mod packages;
mod source;
