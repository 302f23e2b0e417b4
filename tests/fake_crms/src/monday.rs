//! The double of monday.com.
