//! The `tollgate-connect` command.

fn main() {}
