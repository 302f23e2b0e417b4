//! The integration tests, linked once: the module list only.

mod tidy;
