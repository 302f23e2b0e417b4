//! The rules one by one, and a random walk beside a plain model.
