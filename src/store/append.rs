//! What a batch adds to the log, whatever the engine: drafts that the log does not have yet get a
//! sequence, are merged into their subject, hashed and encoded. The engine looks up what is known, hands
//! it in with the head, and writes what comes out in one transaction. Nothing here does I/O or reads a
//! clock, and nothing is kept: a batch that is not committed leaves no trace.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Codec, Condition, Head, Logged, NewReceipt, Own, Recorded, chain};
use crate::model::{
    Draft, EndpointName, Event, EventKey, Fact, ReceiptNumber, ReceiptReference, Sequence,
    SubjectId, SubjectState,
};

/// A draft with the keys by which the log knows it and its subject.
#[derive(Clone)]
pub struct Keyed {
    /// The event's key.
    pub key: EventKey,
    /// The subject's key.
    pub subject: [u8; 16],
    /// The draft, cut to the limits.
    pub draft: Draft,
}

/// The drafts of one receipt, or one of the gateway's own.
#[derive(Clone)]
pub struct Incoming {
    /// What the gateway's own one depends on; `None` for those of a receipt.
    pub own: Option<Condition>,
    /// The receipt's number.
    pub number: ReceiptNumber,
    /// The account that it came from.
    pub endpoint: EndpointName,
    /// When it came.
    pub received_at: Timestamp,
    /// Its digest.
    pub digest: [u8; 32],
    /// The events that it gave already.
    pub earlier: Vec<Sequence>,
    /// Its drafts.
    pub drafts: Vec<Keyed>,
}

/// What the log has already of what a batch brings.
#[derive(Clone, Default)]
pub struct Known {
    /// Events by their keys.
    pub claims: HashMap<EventKey, Sequence>,
    /// Subjects by their keys.
    pub subjects: HashMap<[u8; 16], (SubjectId, SubjectState)>,
}

/// A new event with what is stored beside it.
pub struct NewEvent {
    /// The event.
    pub logged: Arc<Logged>,
    /// The key that it claims.
    pub key: EventKey,
    /// The chain's value at it.
    pub hash: [u8; 32],
    /// The commitment to its personal fields.
    pub commitment: [u8; 32],
    /// The salt of the commitment.
    pub salt: [u8; 16],
}

/// A subject that the batch is about.
pub struct Touched {
    /// Its number.
    pub id: SubjectId,
    /// Its state after the batch.
    pub state: SubjectState,
    /// Whether the batch has new events of it.
    pub changed: bool,
    /// The due date that it awaited before the batch, if it is an invoice.
    pub awaited: Option<Date>,
}

/// What a batch adds to the log.
pub struct Appended {
    /// The new events, in sequence.
    pub events: Vec<NewEvent>,
    /// All subjects of the batch, by their keys.
    pub subjects: HashMap<[u8; 16], Touched>,
    /// What became of each receipt.
    pub recorded: Vec<Recorded>,
    /// What became of each of the gateway's own.
    pub own: Vec<Option<Sequence>>,
    /// The last sequence and the hash at it.
    pub head: (Sequence, [u8; 32]),
}

impl Incoming {
    /// Takes the drafts out of a receipt that has its number.
    pub fn new(number: ReceiptNumber, new: &mut NewReceipt) -> Incoming {
        let endpoint = new.receipt.endpoint().clone();
        let drafts = std::mem::take(&mut new.drafts).into_iter().map(|mut draft| {
            draft.references = draft.references.bounded();
            Keyed { key: EventKey::new(&endpoint, &draft.key), subject: draft.subject.key(), draft }
        });
        Incoming {
            own: None,
            number,
            drafts: drafts.collect(),
            received_at: new.receipt.received_at(),
            digest: new.receipt.digest(),
            earlier: std::mem::take(&mut new.earlier),
            endpoint,
        }
    }
}

impl From<Own> for Incoming {
    fn from(own: Own) -> Incoming {
        let Own { endpoint, received_at, mut draft, condition } = own;
        draft.references = draft.references.bounded();
        let key = EventKey::new(&endpoint, &draft.key);
        Incoming {
            own: Some(condition),
            number: ReceiptNumber(0),
            drafts: vec![Keyed { key, subject: draft.subject.key(), draft }],
            received_at,
            digest: [0; 32],
            earlier: Vec::new(),
            endpoint,
        }
    }
}

/// Gives each receipt its number and takes its drafts.
pub fn number(batch_receipts: &mut [NewReceipt], last: &mut ReceiptNumber) -> Vec<Incoming> {
    let numbered = batch_receipts.iter_mut().map(|new| {
        let number = new.retry_of.unwrap_or_else(|| {
            last.0 += 1;
            *last
        });
        Incoming::new(number, new)
    });
    numbered.collect()
}

/// Puts a batch's drafts behind the head, in their order. The gateway's own must come last, so that what a
/// provider said in the same batch is known to them.
pub fn append(
    head: Head,
    codec: Codec,
    incoming: Vec<Incoming>,
    known: Known,
    mut new_salt: impl FnMut() -> [u8; 16],
) -> Appended {
    let mut claims = known.claims;
    let mut appended = Appended {
        events: Vec::new(),
        subjects: known.subjects.into_iter().map(|(key, found)| (key, found.into())).collect(),
        recorded: Vec::with_capacity(incoming.len()),
        own: Vec::new(),
        head: (head.sequence, head.hash),
    };
    for receipt in incoming {
        let mut recorded =
            Recorded { receipt: receipt.number, sequences: receipt.earlier, duplicates: 0 };
        let reference = match receipt.own {
            None => Some(ReceiptReference { number: receipt.number, digest: receipt.digest }),
            Some(_) => None,
        };
        for mut keyed in receipt.drafts {
            if !holds(receipt.own, &appended.subjects, &mut keyed) {
                continue;
            }
            let sequence = match claims.entry(keyed.key) {
                Entry::Occupied(claimed) => {
                    recorded.duplicates += 1;
                    *claimed.get()
                }
                Entry::Vacant(free) => {
                    let sequence = appended.head.0.next();
                    let salt = new_salt();
                    let origin = (&receipt.endpoint, receipt.received_at, reference);
                    push(&mut appended, codec, keyed, origin, salt);
                    *free.insert(sequence)
                }
            };
            recorded.sequences.push(sequence);
        }
        match receipt.own {
            None => appended.recorded.push(recorded),
            Some(_) => appended.own.push(recorded.sequences.first().copied()),
        }
    }
    appended
}

/// Whether what a draft depends on holds now, with the draft brought up to date.
fn holds(
    condition: Option<Condition>,
    subjects: &HashMap<[u8; 16], Touched>,
    keyed: &mut Keyed,
) -> bool {
    match condition {
        None | Some(Condition::Always) => true,
        Some(Condition::StillDue(due)) => {
            let state = subjects.get(&keyed.subject).map(|touched| &touched.state);
            let found = state.and_then(|state| Some((state, state.overdue_fact(due)?)));
            let Some((state, fact)) = found else { return false };
            keyed.draft.fact = Fact::Invoice(fact);
            keyed.draft.references = state.references();
            keyed.draft.live = state.live();
            true
        }
    }
}

impl From<(SubjectId, SubjectState)> for Touched {
    fn from((id, state): (SubjectId, SubjectState)) -> Touched {
        Touched { id, awaited: state.awaited_due_date(), state, changed: false }
    }
}

/// Appends one event that is new.
fn push(
    appended: &mut Appended,
    codec: Codec,
    keyed: Keyed,
    (endpoint, received_at, receipt): (&EndpointName, Timestamp, Option<ReceiptReference>),
    salt: [u8; 16],
) {
    let Keyed { key, subject, draft } = keyed;
    let sequence = appended.head.0.next();
    let touched = appended.subjects.entry(subject).or_insert_with(|| {
        Touched::from((SubjectId(sequence.0), SubjectState::begin(&draft.subject)))
    });
    let (change, report) = touched.state.apply(&draft, sequence);
    touched.changed = true;
    let mut event = Event {
        sequence,
        endpoint: endpoint.clone(),
        event_id: draft.event_id,
        event_type: draft.event_type,
        occurred_at: draft.occurred_at,
        received_at,
        subject: draft.subject,
        references: draft.references,
        live: draft.live,
        hash: [0; 32],
        receipt,
        change,
        report,
    };
    let commitment = chain::commitment(&event, &salt);
    event.hash = chain::link(&appended.head.1, sequence, &chain::digest(&event, &commitment));
    let hash = event.hash;
    let encoded = (codec.encode)(&event);
    let logged = Arc::new(Logged::new(touched.id, event, encoded));
    appended.events.push(NewEvent { logged, key, hash, commitment, salt });
    appended.head = (sequence, hash);
}
