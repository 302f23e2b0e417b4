//! Mappings as people write them, and the rows that events then mean.

use tollgate_client::Event;
use tollgate_client::proto::{
    Change, Headline, Money, PaymentAmounts, PaymentEvent, PaymentStatus, References, event::Fact,
};

use super::*;
use crate::config::{Config, Mistake};
use crate::crms::Kind;
use crate::value::Value;

const KIND: Kind = Kind {
    name: "acme",
    title: "Acme",
    object_options: &["pipeline"],
    open: |_, _| Err(Mistake::new("crm", "is not there")),
    example: "",
};

fn money(minor_units: i64, currency: &str) -> Option<Money> {
    Some(Money { minor_units, currency: currency.to_owned() })
}

/// A payment of 129.95 EUR of which 20 were given back.
fn event() -> Event {
    let mut references = References {
        payment: "pi_1".to_owned(),
        invoice_number: "INV-7".to_owned(),
        email: "payer@example.com".to_owned(),
        ..References::default()
    };
    references.metadata.insert("deal_id".to_owned(), "42".to_owned());
    let amounts = PaymentAmounts {
        total: money(12_995, "EUR"),
        paid: money(12_995, "EUR"),
        refunded: money(2_000, "EUR"),
        ..PaymentAmounts::default()
    };
    let status = PaymentStatus::PartiallyRefunded.into();
    let fact = PaymentEvent { status, amounts: Some(amounts), ..PaymentEvent::default() };
    Event {
        name: "events/9".to_owned(),
        sequence: 9,
        provider: "stripe".to_owned(),
        subject: "payments/stripe/acme-eu/pi_1".to_owned(),
        occurred_at: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        references: Some(references),
        live: true,
        change: Some(Change {
            previous: "PAID".to_owned(),
            current: "PARTIALLY_REFUNDED".to_owned(),
            headline: Headline::Refunded.into(),
            superseded: false,
        }),
        fact: Some(Fact::Payment(fact)),
        ..Event::default()
    }
}

fn mapping(fields: &str) -> Result<Mapping, Mistake> {
    let text = format!(
        "[gateway]\naddress = 'http://127.0.0.1:1'\nsubscription = 's'\n[crm]\n[[objects]]\nobject = 'deals'\n\
         [[objects.match]]\nfield = 'payment_id'\nfrom = 'subject_id'\nunique = true\n[objects.fields]\n{fields}"
    );
    Config::parse(&text, &KIND).map(|config| config.objects.into_iter().next().expect("one"))
}

fn values(fields: &str) -> Vec<(String, String)> {
    let mapping = mapping(fields).expect("a mapping");
    let row = mapping.row(&event()).expect("it can be mapped").expect("it is meant");
    row.fields.into_iter().map(|field| (field.name, field.value.to_string())).collect()
}

fn refusal(fields: &str) -> String {
    mapping(fields).expect_err("it is wrong").to_string()
}

#[test]
fn each_way_to_fill_a_field_gives_what_it_says() {
    let cases = [
        ("a = 'amounts.paid'", "129.95 EUR"),
        ("a = 'amounts.paid.minor_units'", "12995"),
        ("a = 'amounts.paid.currency'", "EUR"),
        ("a = { from = 'amounts.refunded', as = 'number' }", "20.00"),
        ("a = 'headline'", "REFUNDED"),
        ("a = 'references.metadata.deal_id'", "42"),
        ("a = { from = 'occurred_at', as = 'date' }", "2026-09-21"),
        (
            "a = { from = 'status', values = { PARTIALLY_REFUNDED = 'Part refunded' } }",
            "Part refunded",
        ),
        ("a = { from = 'status', values = { PAID = 1 }, otherwise = 2 }", "2"),
        ("a = { constant = true }", "true"),
        (
            "a = { template = 'Payment {subject_id} of {references.invoice_number}' }",
            "Payment pi_1 of INV-7",
        ),
        ("a = { from = 'amounts.fee', default = 0 }", "0"),
        ("a = { from = 'amounts.fee', clear = true }", "(empty)"),
    ];
    for (fields, value) in cases {
        assert_eq!(values(fields), [("a".to_owned(), value.to_owned())], "{fields}");
    }
}

#[test]
fn a_field_without_a_value_or_whose_condition_fails_is_left_alone() {
    assert_eq!(values("a = 'amounts.fee'\nb = 'name'").len(), 1);
    assert_eq!(values("a = { constant = 1, when = { status = 'PAID' } }\nb = 'name'").len(), 1);
    assert_eq!(values("a = { template = '{dispute}' }\nb = 'name'").len(), 1);
}

#[test]
fn conditions_hold_or_do_not() {
    let holds = |when: &str| {
        let fields = format!("a = {{ constant = 1, when = {{ {when} }} }}\nb = 'name'");
        values(&fields).len() == 2
    };
    for when in [
        "status = 'PARTIALLY_REFUNDED'",
        "status = ['PAID', 'PARTIALLY_REFUNDED']",
        "live = true",
        "'amounts.refunded' = { at_least = '20' }",
        "'amounts.refunded' = { at_least = 19.99, at_most = 20 }",
        "dispute = { exists = false }",
        "'references.invoice_number' = { starts_with = 'INV-' }",
        "provider = { not = ['square'] }",
        "'references.metadata.deal_id' = 42",
    ] {
        assert!(holds(when), "{when}");
    }
    for when in [
        "status = 'PAID'",
        "'amounts.refunded' = { at_least = '20.01' }",
        "dispute = ''",
        "dispute = { exists = true }",
        "provider = { not = ['stripe'] }",
        "status = 'PARTIALLY_REFUNDED', live = false",
    ] {
        assert!(!holds(when), "{when}");
    }
}

#[test]
fn what_no_event_could_make_right_is_refused_with_its_key() {
    let told = [
        ("a = 'amount.paid'", "did you mean `amounts.paid`?"),
        ("a = { from = 'status', values = { PAYED = 'x' } }", "no status is `PAYED`"),
        ("a = { from = 'status', constant = 1 }", "one of `from`, `constant` and `template`"),
        ("a = { template = '{nothing}' }", "events have no `nothing`"),
        ("a = { from = 'status', flag_field = 'b' }", "`flag_field` needs"),
        (
            "a = { from = 'status', on_conflict = 'flag', flag_field = 'b' }\nb = 'name'",
            "`b` is written by the mapping",
        ),
        ("a = { from = 'status', otherwise = 'x' }", "`otherwise` needs `values`"),
        ("a = { from = 'status', defualt = 'x' }", "unknown field `defualt`"),
        ("", "nothing would be written"),
    ];
    for (fields, words) in told {
        let refusal = refusal(fields);
        assert!(refusal.contains(words), "{fields}: {refusal}");
    }
}

#[test]
fn an_event_that_cannot_be_a_row_says_why() {
    let fields = "a = { from = 'status', values = { PAID = 'x' } }";
    let why = mapping(fields).expect("a mapping").row(&event()).expect_err("no entry");
    assert_eq!(
        why.to_string(),
        "`a`: `values` has no entry for `PARTIALLY_REFUNDED`, and there is no `otherwise`"
    );
    let mut event = event();
    event.subject.clear();
    let why = mapping("a = 'name'").expect("a mapping").row(&event).expect_err("no key");
    assert!(why.to_string().contains("subject_id"), "{why}");
}

#[test]
fn amounts_have_the_places_of_their_currency() {
    let cases = [("JPY", "12995"), ("KWD", "12.995"), ("EUR", "129.95")];
    for (currency, expected) in cases {
        let amounts = PaymentAmounts { paid: money(12_995, currency), ..Default::default() };
        let fact = PaymentEvent { amounts: Some(amounts), ..PaymentEvent::default() };
        let event = Event { fact: Some(Fact::Payment(fact)), ..event() };
        let path = EventPath::parse("amounts.paid").expect("a path");
        assert_eq!(path.of(&event).text(), expected);
        let path = EventPath::parse("amounts.paid.minor_units").expect("a path");
        assert_eq!(path.of(&event), Value::Number(12_995.into()));
    }
}

#[test]
fn spans_read_as_people_write_them() {
    assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
    assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
    for wrong in ["", "m", "5", "0s", "-1h", "5 m", "99999999999999999999d", "5é"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}
