//! The commands, one a file: each has its arguments and a `run`. They wire the modules together and
//! talk to people; what the gateway does and promises lives in the modules.

pub mod init;
