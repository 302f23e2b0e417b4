//! The double of Pipedrive.
