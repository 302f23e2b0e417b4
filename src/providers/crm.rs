//! What the CRM sources share: a record in a CRM tells a payment's status in the merchant's own text. In
//! come that text, a decimal amount, and the ids of record and payment; out go drafts about the payment,
//! and the calls that read a record where a webhook only names it. A text that is not in the table must
//! never become a status, and no amount is ever rounded.
//!
//! A CRM keeps one status a record, and people correct it in both directions: the newest one is the whole
//! truth. So each draft states it as the collection's status, whatever it is, and never adds to refunds or
//! disputes, which nothing could take back.

mod amounts;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{
    Collection, Draft, EndpointName, Fact, Money, PaymentFact, PaymentStatus, References,
    SubjectKind,
};

use super::payload;
use super::{
    Answer, Auth, Call, Endpoint, Fetch, Fetching, Mistake, OAuth, SecretKey, Step, TranslateError,
    Translation,
};

pub use amounts::{amount, keep_currency};

/// The status texts, trimmed and in any case. The first text of a status is the one of samples.
#[rustfmt::skip]
const STATUSES: &[(&str, PaymentStatus)] = &[
    ("Paid", PaymentStatus::Paid),
    ("Succeeded", PaymentStatus::Paid),
    ("Completed", PaymentStatus::Paid),
    ("Captured", PaymentStatus::Paid),
    ("Won", PaymentStatus::Paid),
    ("Pending", PaymentStatus::Pending),
    ("Open", PaymentStatus::Pending),
    ("Awaiting payment", PaymentStatus::Pending),
    ("Processing", PaymentStatus::Pending),
    ("Authorized", PaymentStatus::Authorized),
    ("Partially paid", PaymentStatus::PartiallyPaid),
    ("Failed", PaymentStatus::Failed),
    ("Declined", PaymentStatus::Failed),
    ("Canceled", PaymentStatus::Canceled),
    ("Cancelled", PaymentStatus::Canceled),
    ("Voided", PaymentStatus::Canceled),
    ("Refunded", PaymentStatus::Refunded),
    ("Partially refunded", PaymentStatus::PartiallyRefunded),
    ("Disputed", PaymentStatus::Disputed),
    ("Chargeback", PaymentStatus::ChargedBack),
    ("Charged back", PaymentStatus::ChargedBack),
];

/// What a receipt is counted as whose status text is not in the table, or empty.
pub const UNKNOWN_STATUS: &str = "unknown_status";

/// The setting of the currency of records that name none of their own.
pub const CURRENCY: &str = "currency";

/// The setting of the CRM's user by whom connectors write: a change of theirs only repeats what the gateway
/// told, and would otherwise go round for ever.
pub const OWN_USER_ID: &str = "own_user_id";

/// The setting of the host and base path of the CRM's API.
pub const API_URL: &str = "api_url";

/// A ready access token for the CRM's API.
pub const ACCESS_TOKEN: &str = "access_token";

/// The secrets by which the CRM's API is asked for records. None is required: without them a call fails
/// visibly, and is made again once they are there.
pub const API_SECRETS: [SecretKey; 4] = [
    SecretKey { name: ACCESS_TOKEN, required: false },
    SecretKey { name: "client_id", required: false },
    SecretKey { name: "client_secret", required: false },
    SecretKey { name: "refresh_token", required: false },
];

/// What may stand in one segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The status that a text stands for; `None` where the table has none, as for an emptied field.
pub fn status(text: &str) -> Option<PaymentStatus> {
    let text = text.trim();
    STATUSES.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)).map(|(_, status)| *status)
}

/// A text that stands for the status, for samples.
pub fn status_text(status: PaymentStatus) -> &'static str {
    let row = STATUSES.iter().find(|(_, known)| *known == status);
    row.map_or("", |(text, _)| text)
}

/// One report of a status on one record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What it is recognised by when it comes again.
    pub key: String,
    /// The CRM's id of it.
    pub event_id: String,
    /// The CRM's name of what happened.
    pub event_type: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The kind of record: `Opportunity`, `deal`.
    pub record_type: String,
    /// The record's id.
    pub record_id: String,
    /// The payment's id, where the record has a field for it; empty where not told.
    pub payment_id: String,
    /// What the record says.
    pub status: PaymentStatus,
    /// The amount, where it is told.
    pub amount: Option<Money>,
    /// False in a sandbox.
    pub live: bool,
    /// What else is told of customer, invoice and order.
    pub references: References,
}

impl Report {
    /// The draft about the payment that the record names, or about the record itself where it names none.
    pub fn draft(self, endpoint: &EndpointName) -> Result<Draft, TranslateError> {
        let payment_id = self.payment_id.trim();
        let id = if payment_id.is_empty() { self.record_id.as_str() } else { payment_id };
        let subject = payload::subject(SubjectKind::Payment, endpoint, id)?;
        let mut references = References { payment: payment_id.to_owned(), ..self.references };
        for (name, value) in [("record_id", self.record_id), ("record_type", self.record_type)] {
            if !value.is_empty() {
                references.metadata.insert(name.to_owned(), value);
            }
        }
        Ok(Draft {
            key: self.key,
            event_id: self.event_id,
            event_type: self.event_type,
            occurred_at: self.occurred_at,
            version: 0,
            rank: rank(self.status),
            subject,
            references: references.bounded(),
            live: self.live,
            fact: Fact::Payment(fact(self.status, self.amount)),
        })
    }
}

/// The fact of a record's status. Its amount is the payment's; what part of it was paid or given back is
/// not told.
fn fact(status: PaymentStatus, amount: Option<Money>) -> PaymentFact {
    let is_paid = match status {
        PaymentStatus::Paid
        | PaymentStatus::PartiallyRefunded
        | PaymentStatus::Refunded
        | PaymentStatus::Disputed
        | PaymentStatus::ChargedBack => true,
        PaymentStatus::Pending
        | PaymentStatus::Authorized
        | PaymentStatus::PartiallyPaid
        | PaymentStatus::Failed
        | PaymentStatus::Canceled => false,
    };
    let paid = amount.filter(|_| is_paid);
    PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection { status, total: amount, paid }),
        ..PaymentFact::default()
    }
}

/// The further in a payment's life, the higher.
fn rank(status: PaymentStatus) -> u8 {
    match status {
        PaymentStatus::Pending => 10,
        PaymentStatus::Authorized => 20,
        PaymentStatus::PartiallyPaid => 30,
        PaymentStatus::Failed => 40,
        PaymentStatus::Canceled => 50,
        PaymentStatus::Paid => 60,
        PaymentStatus::PartiallyRefunded => 70,
        PaymentStatus::Refunded => 80,
        PaymentStatus::Disputed => 90,
        PaymentStatus::ChargedBack => 100,
    }
}

/// What one item of a call, or one record that was read, says.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// It reports a status.
    Reported(Box<Report>),
    /// Its status text is not in the table, or empty.
    UnknownStatus,
    /// It says nothing about a payment.
    Silent,
    /// It only names a record, which has to be read.
    Thin(Thin),
}

/// What a call tells of a record that it only names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Thin {
    /// The CRM's id of the event; empty where it has none.
    pub event_id: String,
    /// The CRM's name of what happened.
    pub event_type: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The kind of record.
    pub record_type: String,
    /// The record's id.
    pub record_id: String,
}

/// What is handed on to a fetch. A call that names some records and tells all of others becomes fetches
/// only, and those that are told need no answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Report(Box<Report>),
    Record(Thin),
}

/// What a batch means as a whole, of which some items may be unreadable.
pub fn batch(
    items: impl Iterator<Item = Result<Item, TranslateError>>,
    endpoint: &EndpointName,
) -> Result<Translation, TranslateError> {
    let mut unreadable = None;
    let mut readable = Vec::new();
    for item in items {
        match item {
            Ok(item) => readable.push(item),
            Err(error) => drop(unreadable.get_or_insert(error)),
        }
    }
    translation(readable, endpoint)?.despite(unreadable)
}

/// What a call means as a whole.
pub fn translation(
    items: Vec<Item>,
    endpoint: &EndpointName,
) -> Result<Translation, TranslateError> {
    let is_unknown = items.contains(&Item::UnknownStatus);
    let is_thin = items.iter().any(|item| matches!(item, Item::Thin(_)));
    let (mut drafts, mut fetches) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Reported(report) if is_thin => {
                let object = format!("reports/{}", report.key);
                fetches.push(fetch(object, &Told::Report(report))?);
            }
            Item::Reported(report) => drafts.push(report.draft(endpoint)?),
            Item::Thin(thin) => {
                let object = format!("{}/{}", thin.record_type, thin.record_id);
                fetches.push(fetch(object, &Told::Record(thin))?);
            }
            Item::UnknownStatus | Item::Silent => {}
        }
    }
    Ok(match (is_thin, drafts.is_empty() && is_unknown) {
        (true, _) => Translation::Fetches(fetches),
        (false, true) => Translation::Unknown(UNKNOWN_STATUS.to_owned()),
        (false, false) => Translation::Events(drafts),
    })
}

fn fetch(object: String, told: &Told) -> Result<Fetch, TranslateError> {
    let told = serde_json::to_string(told)
        .map_err(|error| payload::unreadable("what was told of a record", &error))?;
    Ok(Fetch { object, told })
}

/// The fetch of one record: `call` asks for it and `read` says what the answer means. A record that is
/// gone gives no event.
pub fn read_record(
    fetching: &Fetching<'_>,
    call: impl FnOnce(&Thin) -> Result<Call, TranslateError>,
    read: impl FnOnce(&Thin, &Answer) -> Result<Item, TranslateError>,
) -> Result<Step, TranslateError> {
    const GONE: [u16; 2] = [404, 410];
    let told: Told = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what was told of a record", &error))?;
    let endpoint = &fetching.endpoint.name;
    let thin = match told {
        Told::Report(report) => return Ok(done(vec![report.draft(endpoint)?])),
        Told::Record(thin) => thin,
    };
    let Some(answer) = fetching.answers.last() else {
        return Ok(Step::Call(call(&thin)?));
    };
    if GONE.contains(&answer.status) {
        return Ok(Step::Denied);
    }
    if !answer.is_success() {
        let error = format!("the record was refused with the status {}", answer.status);
        return Err(TranslateError(error));
    }
    Ok(done(match read(&thin, answer)? {
        Item::Reported(report) => vec![report.draft(endpoint)?],
        Item::UnknownStatus | Item::Silent | Item::Thin(_) => Vec::new(),
    }))
}

fn done(drafts: Vec<Draft>) -> Step {
    Step::Done { drafts, cursor: None }
}

/// The key of a record's state: the same state is one event however often it is read, and another state
/// is another event. `values` are the record's id and all that the draft is made of, its time of change
/// included where the CRM tells it, so that a status that comes back is an event of its own.
pub fn state_key(values: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for value in values {
        hasher.update((value.len() as u64).to_be_bytes());
        hasher.update(value.as_bytes());
    }
    hex::encode(hasher.finalize())
}

/// The URL of a path at the CRM's API: the setting `api_url`, else `default`, then the segments. A segment
/// that would lead elsewhere is an error.
pub fn api_url(
    endpoint: &Endpoint,
    default: &str,
    segments: &[&str],
) -> Result<String, TranslateError> {
    let mut url = endpoint.setting(API_URL, default).trim_end_matches('/').to_owned();
    for segment in segments {
        // Dots alone climb in a path, percent-encoded or not.
        if segment.bytes().all(|byte| byte == b'.') {
            return Err(payload::not_a("an id", segment));
        }
        url.push('/');
        url.extend(utf8_percent_encode(segment, SEGMENT));
    }
    Ok(url)
}

/// The call with the endpoint's credentials: a ready access token, else a token from `token_url` by the
/// configured client, else nothing, so that the call fails visibly.
pub fn authorised(
    call: Call,
    endpoint: &Endpoint,
    token_url: String,
    scheme: &'static str,
    scope: &'static str,
) -> Call {
    if let Some(token) = endpoint.secret(ACCESS_TOKEN) {
        return call.header("authorization", format!("{scheme} {token}"));
    }
    let (Some(id), Some(secret)) = (endpoint.secret("client_id"), endpoint.secret("client_secret"))
    else {
        return call;
    };
    call.auth(Auth::OAuth(Box::new(OAuth {
        token_url,
        client_id: SecretString::from(id),
        client_secret: SecretString::from(secret),
        credentials_in_body: true,
        refresh_token: endpoint.secret("refresh_token").map(SecretString::from),
        scope,
        scheme,
    })))
}

/// The check of the settings that all CRM sources have.
pub fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let currency = endpoint.setting(CURRENCY, "");
    if !currency.is_empty() {
        Money::new(0, currency.trim())
            .map_err(|error| Mistake { key: CURRENCY, reason: error.to_string() })?;
    }
    let url = endpoint.setting(API_URL, "");
    if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Mistake { key: API_URL, reason: format!("`{url}` is not a URL") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::subject_state::SubjectState;
    use crate::model::{Sequence, Status};
    use crate::providers::{PROVIDERS, Provider, testing};

    pub(in crate::providers::crm) fn endpoint(settings: &[(&str, &str)]) -> Endpoint {
        let provider: &Provider = PROVIDERS.first().expect("there are providers");
        let mut endpoint = testing::endpoint(provider, &[]);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        endpoint.settings = settings.iter().map(owned).collect();
        endpoint
    }

    fn report(status: PaymentStatus, at: i64) -> Report {
        Report {
            key: format!("key-{at}"),
            event_id: format!("event-{at}"),
            event_type: "update".to_owned(),
            occurred_at: Timestamp::from_second(testing::NOW + at).expect("a time"),
            record_type: "deal".to_owned(),
            record_id: "1".to_owned(),
            payment_id: String::new(),
            status,
            amount: None,
            live: true,
            references: References::default(),
        }
    }

    #[test]
    fn a_text_is_a_status_of_the_table_or_none() {
        assert_eq!(status("  pAID "), Some(PaymentStatus::Paid));
        assert_eq!(status("CHARGED BACK"), Some(PaymentStatus::ChargedBack));
        for text in ["", " ", "paid?", "partially_paid", "unpaid", "bezahlt"] {
            assert_eq!(status(text), None, "{text}");
        }
        for known in PaymentStatus::ALL {
            assert_eq!(status(status_text(*known)), Some(*known));
        }
    }

    #[test]
    fn the_newest_status_of_a_record_is_the_whole_truth() {
        let endpoint = endpoint(&[]);
        for before in PaymentStatus::ALL {
            for after in PaymentStatus::ALL {
                let draft = |status, at| report(status, at).draft(&endpoint.name).expect("valid");
                let drafts = [draft(*before, 0), draft(*after, 1)];
                for order in [[0, 1], [1, 0]] {
                    let mut state = SubjectState::begin(&drafts[0].subject);
                    for (index, which) in order.into_iter().enumerate() {
                        let sequence = Sequence(i64::try_from(index).expect("small") + 1);
                        state.apply(&drafts[which], sequence);
                    }
                    assert_eq!(state.status(), Some(Status::Payment(*after)));
                }
            }
        }
    }

    #[test]
    fn an_unknown_status_hides_no_other_item() {
        let name = &endpoint(&[]).name;
        let known = Item::Reported(Box::new(report(PaymentStatus::Paid, 0)));
        let thin = Item::Thin(Thin {
            event_id: String::new(),
            event_type: "insert".to_owned(),
            occurred_at: Timestamp::UNIX_EPOCH,
            record_type: "deal".to_owned(),
            record_id: "2".to_owned(),
        });
        let meaning = |items: &[&Item]| {
            let items = items.iter().map(|item| (*item).clone()).collect();
            translation(items, name).expect("valid")
        };
        let unknown = Translation::Unknown(UNKNOWN_STATUS.to_owned());
        assert_eq!(meaning(&[&Item::UnknownStatus, &Item::Silent]), unknown);
        assert_eq!(meaning(&[&Item::Silent]), Translation::Events(Vec::new()));
        match meaning(&[&Item::UnknownStatus, &known]) {
            Translation::Events(drafts) => assert_eq!(drafts.len(), 1),
            other => panic!("{other:?}"),
        }
        match meaning(&[&known, &thin]) {
            Translation::Fetches(fetches) => assert_eq!(fetches.len(), 2),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_stay_in_their_segment_of_a_url() {
        let endpoint = endpoint(&[(API_URL, "https://crm.example.test/v1/")]);
        assert_eq!(
            api_url(&endpoint, "", &["Deals", "../a b?c"]).as_deref(),
            Ok("https://crm.example.test/v1/Deals/..%2Fa%20b%3Fc")
        );
        for id in ["", ".", ".."] {
            assert!(api_url(&endpoint, "", &["Deals", id]).is_err(), "{id}");
        }
    }
}
