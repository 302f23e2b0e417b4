//! WPG's order notifications: an XML document comes in, drafts about a payment go out. The journal tells
//! what this notification is about, since the payment's last event may already be a later one. There is no
//! event id; what the notification says is its key. External entities are never fetched: a DOCTYPE without
//! declarations is cut out before parsing, and any other is refused.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use roxmltree::{Document, Node};
use sha2::{Digest, Sha256};

use crate::model::{
    Collection, Dispute, Draft, EndpointName, Entry, EntryState, Fact, Money, PaymentFact,
    PaymentStatus, References,
};
use crate::providers::payload;
use crate::providers::{TranslateError, Translation};

use super::facts::{CHARGEBACK, Meaning, WPG, disputed};

const DOCTYPE: &str = "<!DOCTYPE";
/// No currency has more decimals.
const MAX_EXPONENT: u32 = 4;
/// The account whose entries say how much was captured.
const CAPTURED_ACCOUNT: &str = "IN_PROCESS_CAPTURED";

/// The XML without its DOCTYPE; `None` for what is no XML, or declares anything in it.
pub(super) fn text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    if !text.starts_with('<') {
        return None;
    }
    let Some((before, rest)) = text.split_once(DOCTYPE) else { return Some(text.to_owned()) };
    let mut quote = None;
    let end = rest.char_indices().find_map(|(at, character)| match (quote, character) {
        (Some(open), _) => {
            if character == open {
                quote = None;
            }
            None
        }
        (None, '"' | '\'') => {
            quote = Some(character);
            None
        }
        (None, '[' | '>') => Some((at, character)),
        (None, _) => None,
    });
    match end {
        Some((at, '>')) => Some(format!("{before}{}", rest.get(at + 1..)?)),
        _declares_or_never_ends => None,
    }
}

/// The document. A DOCTYPE that is left in it is refused by the parser.
pub(super) fn parse(text: &str) -> Option<Document<'_>> {
    Document::parse(text).ok()
}

/// Whose notification it is; `None` for a document of another kind.
pub(super) fn merchant_code<'d>(document: &'d Document<'_>) -> Option<&'d str> {
    let root = document.root_element();
    root.attribute("merchantCode").filter(|_| root.has_tag_name("paymentService"))
}

/// A notification, with what every draft of it needs.
pub(super) struct Notification<'d> {
    pub(super) document: &'d Document<'d>,
    pub(super) received_at: Timestamp,
    pub(super) live: bool,
    pub(super) endpoint: &'d EndpointName,
}

impl Notification<'_> {
    /// What it means.
    pub(super) fn translation(&self) -> Result<Translation, TranslateError> {
        let root = self.document.root_element();
        let events: Vec<Node<'_, '_>> = child(root, "notify")
            .into_iter()
            .flat_map(|notify| notify.children())
            .filter(|node| node.has_tag_name("orderStatusEvent"))
            .collect();
        if events.is_empty() {
            return payload::unknown_type(&self.other_kind());
        }
        let mut unknown = String::new();
        let mut drafts = Vec::new();
        for event in events {
            let journals: Vec<Node<'_, '_>> = named(event, "journal").collect();
            // Without a journal, only the payment itself tells what happened.
            let journals = match journals.is_empty() {
                true => vec![None],
                false => journals.into_iter().map(Some).collect(),
            };
            for journal in journals {
                let order = Order { event, journal };
                match WPG.iter().find(|(name, _)| *name == order.event_type()) {
                    Some((name, meaning)) => drafts.push(self.draft(&order, name, *meaning)?),
                    None => order.event_type().clone_into(&mut unknown),
                }
            }
        }
        match drafts.is_empty() {
            true => payload::unknown_type(&unknown),
            false => Ok(Translation::Events(drafts)),
        }
    }

    /// The name of what else is notified.
    fn other_kind(&self) -> String {
        let notify = child(self.document.root_element(), "notify");
        let first = notify.and_then(|notify| notify.children().find(Node::is_element));
        first.map_or("paymentService", |node| node.tag_name().name()).to_owned()
    }

    fn draft(
        &self,
        order: &Order<'_, '_>,
        event_type: &str,
        meaning: Meaning,
    ) -> Result<Draft, TranslateError> {
        let code = merchant_code(self.document).unwrap_or_default();
        let (fact, rank) = order.fact(meaning)?;
        let fact = Fact::Payment(fact);
        let key = order.key(code);
        let mut references = order.references();
        references.metadata.insert("merchant_code".to_owned(), code.to_owned());
        Ok(Draft {
            event_id: key.clone(),
            key,
            event_type: event_type.to_owned(),
            occurred_at: order.booked_at(self.received_at)?,
            version: 0,
            rank,
            subject: payload::subject(fact.kind(), self.endpoint, order.code())?,
            references: references.bounded(),
            live: self.live,
            fact,
        })
    }
}

/// The report of one order, with the journal that it is about.
struct Order<'d, 'i> {
    event: Node<'d, 'i>,
    journal: Option<Node<'d, 'i>>,
}

impl<'d, 'i> Order<'d, 'i> {
    fn code(&self) -> &'d str {
        self.event.attribute("orderCode").unwrap_or_default()
    }

    fn payment(&self) -> Option<Node<'d, 'i>> {
        child(self.event, "payment")
    }

    fn event_type(&self) -> &'d str {
        let journal = self.journal.and_then(|journal| journal.attribute("journalType"));
        journal.unwrap_or_else(|| self.payment_text("lastEvent"))
    }

    fn payment_text(&self, name: &str) -> &'d str {
        let node = self.payment().and_then(|payment| child(payment, name));
        node.and_then(|node| node.text()).unwrap_or_default().trim()
    }

    /// The payment's own amount, which stays what it was when parts of it are captured or given back.
    fn total(&self) -> Result<Option<Money>, TranslateError> {
        let amount = self.payment().and_then(|payment| child(payment, "amount"));
        amount.map(money).transpose()
    }

    /// The amounts of the journal's entries, with the account of each.
    fn entries(&self) -> Result<Vec<(&'d str, Money)>, TranslateError> {
        let entries = self.journal.into_iter().flat_map(|journal| named(journal, "accountTx"));
        let amounts = entries.filter_map(|entry| {
            let account = entry.attribute("accountType").unwrap_or_default();
            child(entry, "amount").map(|amount| money(amount).map(|money| (account, money)))
        });
        amounts.collect()
    }

    fn fact(&self, meaning: Meaning) -> Result<(PaymentFact, u8), TranslateError> {
        let total = self.total()?;
        let entries = self.entries()?;
        let booked = entries.first().map(|(_, money)| *money).or(total);
        let paid = |status| Collection { status, total, paid: total };
        let mut fact = PaymentFact {
            method: self.payment_text("paymentMethod").to_owned(),
            ..PaymentFact::default()
        };
        let rank = match meaning {
            Meaning::Collection(status, rank) => {
                let captured = entries.iter().find(|(account, _)| *account == CAPTURED_ACCOUNT);
                let captured = captured.map(|(_, money)| *money).or(total);
                let is_paid = status == PaymentStatus::Paid;
                fact.status = Some(status);
                fact.amount = total;
                fact.collection =
                    Some(Collection { status, total, paid: captured.filter(|_| is_paid) });
                if status == PaymentStatus::Failed {
                    (fact.failure_code, fact.failure_message) = self.failure();
                }
                rank
            }
            Meaning::Refund(state, rank) => {
                fact.amount = booked;
                fact.refund = Some(Entry { id: self.refund_id(booked), amount: booked, state });
                // Only what was taken is given back.
                fact.collection = total.map(|_| paid(PaymentStatus::Paid));
                if state == EntryState::Failed {
                    (fact.failure_code, fact.failure_message) = self.failure();
                }
                rank
            }
            Meaning::Dispute(state, rank) => {
                let id = CHARGEBACK.to_owned();
                fact.status = Some(disputed(state));
                fact.amount = booked;
                fact.dispute = Some(Dispute { id, amount: booked, state });
                fact.collection = total.map(|_| paid(PaymentStatus::Paid));
                rank
            }
        };
        Ok((fact, rank))
    }

    fn failure(&self) -> (String, String) {
        let code = self.payment().and_then(|payment| child(payment, "ISO8583ReturnCode"));
        let attribute = |name| code.and_then(|code| code.attribute(name)).unwrap_or_default();
        let journal = self.journal.and_then(|journal| journal.attribute("description"));
        let message = payload::first(&[attribute("description"), journal.unwrap_or_default()]);
        (attribute("code").to_owned(), message)
    }

    /// The reference that the merchant gave the refund; without one, refunds are only told apart by their
    /// amount.
    fn refund_id(&self, amount: Option<Money>) -> String {
        match (self.journal_reference(), amount) {
            ("", Some(amount)) => format!("refund of {}", amount.minor_units),
            ("", None) => "refund".to_owned(),
            (reference, _) => reference.to_owned(),
        }
    }

    fn journal_reference(&self) -> &'d str {
        let reference = self.journal.and_then(|journal| child(journal, "journalReference"));
        reference.and_then(|reference| reference.attribute("reference")).unwrap_or_default().trim()
    }

    fn booking_date(&self) -> Option<Node<'d, 'i>> {
        child(child(self.journal?, "bookingDate")?, "date")
    }

    /// The day on which it was booked, with the time where it is told, in UTC; else the day on which it
    /// came, so that all of a day stand in the order of their ranks.
    fn booked_at(&self, received_at: Timestamp) -> Result<Timestamp, TranslateError> {
        let Some(date) = self.booking_date() else {
            let received = TimeZone::UTC.to_datetime(received_at).date().at(0, 0, 0, 0);
            return utc(received);
        };
        let wrong = || TranslateError("a booking date is no date".to_owned());
        let part = |name: &str, missing: i16| match date.attribute(name) {
            Some(text) => text.trim().parse::<i16>().map_err(|_| wrong()),
            None => Ok(missing),
        };
        let small =
            |name: &str, missing: i16| i8::try_from(part(name, missing)?).map_err(|_| wrong());
        let time = DateTime::new(
            part("year", 0)?,
            small("month", 0)?,
            small("dayOfMonth", 0)?,
            small("hour", 0)?,
            small("minute", 0)?,
            small("second", 0)?,
            0,
        );
        utc(time.map_err(|_| wrong())?)
    }

    /// What tells this notification from all others.
    fn key(&self, merchant_code: &str) -> String {
        let mut hasher = Sha256::new();
        let mut part = |text: &str| {
            hasher.update(text);
            hasher.update([0]);
        };
        part(merchant_code);
        part(self.code());
        part(self.event_type());
        for name in ["year", "month", "dayOfMonth", "hour", "minute", "second"] {
            let date = self.booking_date().and_then(|date| date.attribute(name));
            part(date.unwrap_or_default());
        }
        for entry in self.journal.into_iter().flat_map(|journal| named(journal, "accountTx")) {
            part(entry.attribute("accountType").unwrap_or_default());
            let amount = child(entry, "amount");
            for name in ["value", "currencyCode", "debitCreditIndicator"] {
                part(amount.and_then(|amount| amount.attribute(name)).unwrap_or_default());
            }
        }
        part(self.journal_reference());
        part(self.payment_text("reference"));
        hex::encode(hasher.finalize())
    }

    fn references(&self) -> References {
        let anywhere = |name: &str| {
            let node = self.event.descendants().find(|node| node.has_tag_name(name));
            node.and_then(|node| node.text()).unwrap_or_default().trim().to_owned()
        };
        let mut references = References {
            payment: self.code().to_owned(),
            order: self.code().to_owned(),
            customer: anywhere("authenticatedShopperID"),
            customer_name: anywhere("cardHolderName"),
            email: anywhere("shopperEmailAddress"),
            ..References::default()
        };
        let reference = payload::first(&[self.payment_text("reference"), self.journal_reference()]);
        if !reference.is_empty() {
            references.metadata.insert("reference".to_owned(), reference);
        }
        references
    }
}

fn utc(time: DateTime) -> Result<Timestamp, TranslateError> {
    let time = TimeZone::UTC.to_timestamp(time);
    time.map_err(|_| TranslateError("a booking date is out of range".to_owned()))
}

/// An integer with its number of decimals; which way it goes is told by what it is about.
fn money(amount: Node<'_, '_>) -> Result<Money, TranslateError> {
    let attribute = |name| amount.attribute(name).unwrap_or_default().trim();
    let value: i64 =
        attribute("value").parse().map_err(|_| payload::not_a("an amount", attribute("value")))?;
    let currency = attribute("currencyCode").to_ascii_uppercase();
    let exponents = match attribute("exponent") {
        "" => Vec::new(),
        text => {
            let exponent = text.parse().ok().filter(|exponent| *exponent <= MAX_EXPONENT);
            let exponent = exponent.ok_or_else(|| payload::not_a("an exponent", text))?;
            vec![(currency.as_str(), exponent)]
        }
    };
    let money = payload::money(value, &currency, &exponents)?;
    Ok(Money { minor_units: money.minor_units.saturating_abs(), ..money })
}

fn named<'d, 'i>(parent: Node<'d, 'i>, name: &str) -> impl Iterator<Item = Node<'d, 'i>> {
    parent.children().filter(move |node| node.has_tag_name(name))
}

fn child<'d, 'i>(parent: Node<'d, 'i>, name: &str) -> Option<Node<'d, 'i>> {
    named(parent, name).next()
}
