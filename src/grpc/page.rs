//! Opaque page tokens and page sizes. A token is bound to the call that gave it, so that one of another
//! list is refused instead of skipping silently.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

use super::status::invalid;

/// The page size where none is asked for.
const DEFAULT_SIZE: usize = 100;
/// The largest page.
const MAX_SIZE: i32 = 1000;

/// The number of rows that a page is to have.
pub fn size(asked: i32) -> Result<usize, Status> {
    match asked {
        0 => Ok(DEFAULT_SIZE),
        1..=MAX_SIZE => Ok(usize::try_from(asked).unwrap_or(DEFAULT_SIZE)),
        _ => Err(invalid("page_size", format!("must be from 0 to {MAX_SIZE}"))),
    }
}

/// A token of `list` that goes on after `at`.
pub fn token(list: &str, at: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}\n{at}"))
}

/// Where a token of `list` goes on; `None` for the first page.
pub fn after(list: &str, token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let malformed = || invalid("page_token", "is not a token of this list");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed())?;
    let text = String::from_utf8(bytes).map_err(|_| malformed())?;
    let (of, at) = text.split_once('\n').ok_or_else(malformed)?;
    if of != list {
        return Err(malformed());
    }
    Ok(Some(at.to_owned()))
}

/// As `after`, for lists that go on after a number.
pub fn after_number(list: &str, token: &str) -> Result<Option<i64>, Status> {
    let malformed = || invalid("page_token", "is not a token of this list");
    after(list, token)?.map(|at| at.parse().map_err(|_| malformed())).transpose()
}
