//! What SQLite's errors mean for the writer: whether nothing happened, or what the disk holds is not known
//! any more. Whatever is not known to be harmless stops the writer.

/// What an error means for the writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The disk is full; nothing happened.
    Full,
    /// The statement failed and the connection is sound.
    GoOn,
    /// What the disk holds is not known any more.
    Stop,
}

const SQLITE_ERROR: i32 = 1;
const SQLITE_FULL: i32 = 13;
/// BUSY, LOCKED, NOMEM, INTERRUPT, TOOBIG, CONSTRAINT, MISMATCH: refused before anything was written.
const HARMLESS: [i32; 8] = [SQLITE_ERROR, 5, 6, 7, 9, 18, 19, 20];

impl Verdict {
    /// By SQLite's result code; whatever is not known to be harmless stops the writer.
    pub fn of(error: &sqlx::Error) -> Verdict {
        match code(error) {
            Some(SQLITE_FULL) => Verdict::Full,
            Some(code) if HARMLESS.contains(&code) => Verdict::GoOn,
            Some(_) | None => Verdict::Stop,
        }
    }
}

/// Whether nothing more is said than that the statement was wrong.
pub fn is_plain(error: &sqlx::Error) -> bool {
    code(error) == Some(SQLITE_ERROR)
}

/// SQLite's primary result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
