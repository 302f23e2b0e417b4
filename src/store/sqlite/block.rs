//! How the events and the receipts of one commit are framed in one BLOB: a format byte, then `postcard`.
//! One row a commit instead of one a record is what keeps the writer cheap. Reading slices the records
//! out of the block's bytes and copies none of them; bytes that were not framed here are
//! `Error::Damaged`, never a panic.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{ReceiptNumber, Sequence, SubjectId};
use crate::receipt::{Parts, Receipt};
use crate::store::append::NewEvent;
use crate::store::{Error, Logged, NewReceipt, ReceiptState, Recorded, StoredReceipt};

/// The first byte of a block.
const FORMAT: u8 = 1;
/// What an event or receipt takes in a block besides its texts, about.
const FRAME_BYTES: usize = 160;

/// An event out of a block.
pub struct StoredEvent {
    /// The event.
    pub logged: Arc<Logged>,
    /// The commitment to its personal fields.
    pub commitment: [u8; 32],
    /// The chain's value at it, as kept beside it.
    pub hash: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct EventFrame<'a> {
    subject: i64,
    live: bool,
    commitment: [u8; 32],
    hash: [u8; 32],
    #[serde(borrow)]
    encoded: Raw<'a>,
}

#[derive(Serialize, Deserialize)]
struct ReceiptFrame<'a> {
    number: i64,
    endpoint: &'a str,
    received_at_us: i64,
    method: &'a str,
    path: &'a str,
    #[serde(borrow)]
    headers: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    body: Raw<'a>,
    verified_by: &'a str,
    digest: [u8; 32],
    #[serde(borrow)]
    state: StateFrame<'a>,
    sequences: Vec<i64>,
    duplicates: u32,
}

#[derive(Serialize, Deserialize)]
enum StateFrame<'a> {
    Translated,
    Unknown(&'a str),
    Unreadable(&'a str),
    Fetching(&'a str),
    FetchFailed(&'a str),
    Unconfirmed(&'a str),
    Denied,
}

/// Bytes that serde takes and gives as a whole.
struct Raw<'a>(&'a [u8]);

/// Frames the events of one commit.
pub fn of_events(events: &[NewEvent]) -> Vec<u8> {
    let bytes = events.iter().map(|event| event.logged.encoded.len() + FRAME_BYTES).sum();
    let frames: Vec<EventFrame<'_>> = events
        .iter()
        .map(|event| EventFrame {
            subject: event.logged.subject.0,
            live: event.logged.live,
            commitment: event.commitment,
            hash: event.hash,
            encoded: Raw(&event.logged.encoded),
        })
        .collect();
    frame(&frames, bytes)
}

/// The events of a block whose first and last sequence are known.
pub fn events(block: Vec<u8>, first: i64, last: i64) -> Result<Vec<StoredEvent>, Error> {
    let damaged = |reason: &str| Error::Damaged(format!("events from {first} on: {reason}"));
    let block = Bytes::from(block);
    let frames: Vec<EventFrame<'_>> = unframe(&block).map_err(damaged)?;
    if last.checked_sub(first).and_then(|more| more.checked_add(1))
        != i64::try_from(frames.len()).ok()
    {
        return Err(damaged("not as many as the block should have"));
    }
    let events = frames.into_iter().zip(first..).map(|(frame, sequence)| StoredEvent {
        logged: Arc::new(Logged::stored(
            Sequence(sequence),
            SubjectId(frame.subject),
            frame.live,
            block.slice_ref(frame.encoded.0),
        )),
        commitment: frame.commitment,
        hash: frame.hash,
    });
    Ok(events.collect())
}

/// Frames the new receipts of one commit with what became of them.
pub fn of_receipts<'a>(receipts: impl Iterator<Item = (&'a NewReceipt, &'a Recorded)>) -> Vec<u8> {
    let mut bytes = 0;
    let frames: Vec<ReceiptFrame<'_>> = receipts
        .map(|(new, recorded)| {
            let receipt = &new.receipt;
            let headers = receipt.headers();
            bytes += receipt.body().len() + receipt.path().len() + FRAME_BYTES;
            bytes +=
                headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
            receipt_frame(receipt, &new.state, recorded)
        })
        .collect();
    frame(&frames, bytes)
}

/// The receipts of a block.
pub fn receipts(block: Vec<u8>, first: i64) -> Result<Vec<StoredReceipt>, Error> {
    let damaged = |reason: &str| Error::Damaged(format!("receipts from {first} on: {reason}"));
    let block = Bytes::from(block);
    let frames: Vec<ReceiptFrame<'_>> = unframe(&block).map_err(damaged)?;
    let stored = frames.into_iter().map(|frame| {
        let endpoint = frame.endpoint.parse().map_err(|_| damaged("an endpoint is no name"))?;
        let received_at = Timestamp::from_microsecond(frame.received_at_us)
            .map_err(|_| damaged("a time is out of range"))?;
        let headers =
            frame.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(StoredReceipt {
            number: ReceiptNumber(frame.number),
            receipt: Receipt::from_stored(Parts {
                endpoint,
                received_at,
                method: frame.method.to_owned(),
                path: frame.path.to_owned(),
                headers: headers.collect(),
                body: block.slice_ref(frame.body.0),
                verified_by: frame.verified_by.to_owned(),
                digest: frame.digest,
            }),
            state: frame.state.into(),
            sequences: frame.sequences.into_iter().map(Sequence).collect(),
            duplicates: usize::try_from(frame.duplicates).unwrap_or(usize::MAX),
        })
    });
    stored.collect()
}

/// A block without what these receipts said: body, headers and query. Their digests stay.
pub fn purged(block: &[u8], first: i64, denied: &[ReceiptNumber]) -> Result<Vec<u8>, Error> {
    let damaged = |reason: &str| Error::Damaged(format!("receipts from {first} on: {reason}"));
    let mut frames: Vec<ReceiptFrame<'_>> = unframe(block).map_err(damaged)?;
    for frame in &mut frames {
        if denied.contains(&ReceiptNumber(frame.number)) {
            frame.path = frame.path.split('?').next().unwrap_or_default();
            frame.headers.clear();
            frame.body = Raw(&[]);
        }
    }
    Ok(frame(&frames, block.len()))
}

fn receipt_frame<'a>(
    receipt: &'a Receipt,
    state: &'a ReceiptState,
    recorded: &Recorded,
) -> ReceiptFrame<'a> {
    ReceiptFrame {
        number: recorded.receipt.0,
        endpoint: receipt.endpoint().as_str(),
        received_at_us: receipt.received_at().as_microsecond(),
        method: receipt.method(),
        path: receipt.path(),
        headers: receipt.headers().iter().map(|(name, value)| (&**name, &**value)).collect(),
        body: Raw(receipt.body()),
        verified_by: receipt.verified_by(),
        digest: receipt.digest(),
        state: state.into(),
        sequences: recorded.sequences.iter().map(|sequence| sequence.0).collect(),
        duplicates: u32::try_from(recorded.duplicates).unwrap_or(u32::MAX),
    }
}

fn frame<T: Serialize>(frames: &[T], bytes: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(bytes);
    block.push(FORMAT);
    postcard::to_extend(frames, block).expect("frames hold nothing that cannot be written")
}

fn unframe<'a, T: Deserialize<'a>>(block: &'a [u8]) -> Result<Vec<T>, &'static str> {
    let Some((&FORMAT, frames)) = block.split_first() else { return Err("unknown format") };
    match postcard::take_from_bytes(frames) {
        Ok((frames, [])) => Ok(frames),
        Ok(_) => Err("more bytes than frames"),
        Err(_) => Err("no frames"),
    }
}

impl<'a> From<&'a ReceiptState> for StateFrame<'a> {
    fn from(state: &'a ReceiptState) -> StateFrame<'a> {
        match state {
            ReceiptState::Translated => StateFrame::Translated,
            ReceiptState::Unknown(event_type) => StateFrame::Unknown(event_type),
            ReceiptState::Unreadable(reason) => StateFrame::Unreadable(reason),
            ReceiptState::Fetching(reason) => StateFrame::Fetching(reason),
            ReceiptState::FetchFailed(reason) => StateFrame::FetchFailed(reason),
            ReceiptState::Unconfirmed(reason) => StateFrame::Unconfirmed(reason),
            ReceiptState::Denied => StateFrame::Denied,
        }
    }
}

impl From<StateFrame<'_>> for ReceiptState {
    fn from(state: StateFrame<'_>) -> ReceiptState {
        match state {
            StateFrame::Translated => ReceiptState::Translated,
            StateFrame::Unknown(event_type) => ReceiptState::Unknown(event_type.to_owned()),
            StateFrame::Unreadable(reason) => ReceiptState::Unreadable(reason.to_owned()),
            StateFrame::Fetching(reason) => ReceiptState::Fetching(reason.to_owned()),
            StateFrame::FetchFailed(reason) => ReceiptState::FetchFailed(reason.to_owned()),
            StateFrame::Unconfirmed(reason) => ReceiptState::Unconfirmed(reason.to_owned()),
            StateFrame::Denied => ReceiptState::Denied,
        }
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw<'a>, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = &'de [u8];
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("bytes")
            }
            fn visit_borrowed_bytes<E: serde::de::Error>(
                self,
                bytes: &'de [u8],
            ) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
            fn visit_bytes<E: serde::de::Error>(self, _bytes: &[u8]) -> Result<&'de [u8], E> {
                Err(E::custom("bytes that do not outlive the call"))
            }
        }
        match deserializer.deserialize_bytes(Borrowed) {
            Ok(bytes) => Ok(Raw(bytes)),
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_blocks_are_refused_and_never_panic() {
        let encoded = vec![7; 40];
        let frames = [EventFrame {
            subject: 3,
            live: true,
            commitment: [1; 32],
            hash: [2; 32],
            encoded: Raw(&encoded),
        }];
        let block = frame(&frames, 0);
        let read = events(block.clone(), 3, 3).expect("sound");
        assert_eq!(read[0].logged.encoded, encoded);
        assert!(events(block.clone(), 3, 4).is_err(), "a missing event");
        assert!(events(block.clone(), i64::MIN, i64::MAX).is_err(), "an absurd range");
        for cut in 0..block.len() {
            assert!(events(block[..cut].to_vec(), 3, 3).is_err(), "cut at {cut}");
        }
        for at in 0..block.len() {
            let mut changed = block.clone();
            changed[at] ^= 0xff;
            let _ = events(changed.clone(), 3, 3);
            let _ = receipts(changed, 3);
        }
    }
}
