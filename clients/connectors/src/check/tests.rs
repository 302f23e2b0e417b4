//! A mapping held against what a CRM tells of itself: each mistake is found and said in plain words.

use super::*;
use crate::config::Config;
use crate::crm::FieldKind;
use crate::shelf::{self, Shelf};

const MATCH: &str =
    "match = [{ field = \"payment_id\", from = \"references.payment\", unique = true }]\n";

fn findings_of(config: &Config) -> Vec<String> {
    let shelf = Shelf::default();
    let facts = crate::crm::Crm::facts(&shelf);
    let setting = Setting { events: &config.gateway.filter, facts, takes_labels: false };
    let found = check("objects[0]", &config.objects[0], &shelf::description(), &setting);
    let shown = |one: Finding| format!("{:?} {}: {}", one.severity, one.key, one.words);
    found.into_iter().map(shown).collect()
}

/// With a policy that needs no required fields.
fn findings(fields: &str) -> Vec<String> {
    let object = format!("policy = \"update_only\"\n{MATCH}[objects.fields]\n{fields}");
    findings_of(&shelf::config(&object))
}

fn is_one(found: &[String], starts: &str, tells: &str) {
    let right = found.len() == 1 && found[0].starts_with(starts) && found[0].contains(tells);
    assert!(right, "{found:#?} is not one of {starts} with {tells}");
}

const ERROR: &str = "Error objects[0].";
const WARNING: &str = "Warning objects[0].";

#[test]
fn what_fits_has_no_findings() {
    let fields = "note = \"status\"\namount = \"amounts.paid\"\npaid_on = { from = \"occurred_at\", as = \
                  \"date\" }\nis_paid = { constant = true, when = { status = \"PAID\" } }\n";
    assert_eq!(findings(fields), Vec::<String>::new());
}

#[test]
fn an_unknown_field_is_told_with_the_one_that_was_meant() {
    is_one(&findings("dealstag = \"status\""), ERROR, "did you mean `dealstage`?");
    let found = findings("\"Deal Stage\" = \"status\"");
    is_one(&found, ERROR, "what people see; the field's name is `dealstage`");
    is_one(&findings("zzz = \"status\""), ERROR, "Deal has no field `zzz`");
}

#[test]
fn a_field_that_cannot_be_written_is_an_error() {
    is_one(&findings("created = \"occurred_at\""), ERROR, "cannot be written");
}

#[test]
fn a_field_must_be_able_to_hold_the_value() {
    for (rule, tells) in [
        ("paid_on = \"amounts.paid\"", "is an amount, and the field is a day"),
        ("amount = \"references.email\"", "is text, and the field is a number"),
        ("is_paid = \"status\"", "is text, and the field is yes or no"),
        ("amount = { constant = \"much\" }", "`much` is written to a field that is a number"),
        ("paid_on = { from = \"status\", as = \"date\" }", "never becomes one"),
    ] {
        is_one(&findings(rule), ERROR, tells);
    }
    for (rule, tells) in [
        ("paid_on = \"occurred_at\"", "add `as = \"date\"`"),
        ("amount = \"references.metadata.sum\"", "with `as`"),
        ("dealstage = \"references.metadata.stage\"", "takes its options alone"),
    ] {
        is_one(&findings(rule), WARNING, tells);
    }
    assert_eq!(
        findings("amount = { from = \"references.metadata.sum\", as = \"number\" }"),
        Vec::<String>::new()
    );
}

#[test]
fn money_in_minor_units_is_not_what_an_amount_holds() {
    let mut description = shelf::description();
    description.fields[4].kind = FieldKind::Money;
    let object = format!(
        "policy = \"update_only\"\n{MATCH}[objects.fields]\namount = \"amounts.paid.minor_units\""
    );
    let config = shelf::config(&object);
    let shelf = Shelf::default();
    let setting = Setting {
        events: &config.gateway.filter,
        facts: crate::crm::Crm::facts(&shelf),
        takes_labels: false,
    };
    let found = check("objects[0]", &config.objects[0], &description, &setting);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].words.contains("129.95"), "{found:?}");
}

#[test]
fn values_must_be_options_of_the_field() {
    let rule = |value: &str| format!("dealstage = {{ constant = \"{value}\" }}");
    is_one(&findings(&rule("Closed Won")), ERROR, "what people see; write `closedwon`");
    is_one(&findings(&rule("closedwin")), ERROR, "did you mean `closedwon`?");
    is_one(&findings(&rule("zzz")), ERROR, "it has `open`, `closedwon`, `closedlost`");
    assert!(findings(&rule("closedwon")).is_empty());
    let defaults = "dealstage = { from = \"references.order\", values = { a = \"open\" }, otherwise = \
                    \"nope\", default = \"opn\" }";
    let found = findings(defaults);
    assert!(found.len() == 2 && found.iter().all(|one| one.starts_with(ERROR)), "{found:?}");
}

#[test]
fn statuses_without_an_entry_are_errors_where_they_get_to_the_field() {
    let values = "values = { PAID = \"closedwon\", FAILED = \"closedlost\" }";
    let found = findings(&format!("dealstage = {{ from = \"status\", {values} }}"));
    is_one(&found, ERROR, "no entry for AUTHORIZED, CANCELED, CHARGED_BACK, DISPUTED, PARTIALLY_");
    assert!(!found[0].contains("OVERDUE"), "invoices are kept out: {found:?}");

    let when = "when = { status = [\"PAID\", \"FAILED\"] }";
    assert!(findings(&format!("dealstage = {{ from = \"status\", {values}, {when} }}")).is_empty());
    let when = "when = { headline = \"PAID\" }";
    assert!(findings(&format!("dealstage = {{ from = \"status\", {values}, {when} }}")).is_empty());

    let found =
        findings(&format!("dealstage = {{ from = \"status\", {values}, otherwise = \"open\" }}"));
    is_one(&found, WARNING, "become the `otherwise`, `open`");
    is_one(&findings("dealstage = \"status\""), ERROR, "`values` says which option each `status`");
}

#[test]
fn statuses_of_kinds_that_nobody_named_are_a_warning() {
    const WORDS: [&str; 10] = [
        "PENDING",
        "AUTHORIZED",
        "PAID",
        "PARTIALLY_PAID",
        "FAILED",
        "CANCELED",
        "PARTIALLY_REFUNDED",
        "REFUNDED",
        "DISPUTED",
        "CHARGED_BACK",
    ];
    let entries = WORDS.map(|word| format!("{word} = \"{word}\"")).join(", ");
    let object = format!(
        "policy = \"update_only\"\n{MATCH}fields.order_id = {{ from = \"status\", values = {{ {entries} }} }}"
    );
    let mut config = shelf::config(&object);
    assert!(findings_of(&config).is_empty());
    config.gateway.filter.kinds.clear();
    let found = findings_of(&config);
    is_one(&found, WARNING, "`gateway.filter.kinds`");
    assert!(found[0].contains("BOOKED") && !found[0].contains("DISPUTED"), "{found:?}");
}

#[test]
fn other_values_without_an_entry_are_a_warning() {
    let rule = "note = { from = \"currency\", values = { EUR = \"euro\" } }";
    is_one(&findings(rule), WARNING, "another `currency`");
}

#[test]
fn texts_must_not_be_longer_than_the_field() {
    is_one(&findings("note = { constant = \"much too long\" }"), ERROR, "13 characters");
    is_one(&findings("note = { template = \"paid for order {status}\" }"), ERROR, "holds 10");
}

#[test]
fn a_flag_goes_to_a_text_that_is_there() {
    let rule = |flag: &str| {
        format!(
            "amount = {{ from = \"amounts.paid\", on_conflict = \"flag\", flag_field = \"{flag}\" }}"
        )
    };
    assert!(findings(&rule("note")).is_empty());
    is_one(&findings(&rule("nots")), ERROR, "did you mean `note`?");
    is_one(&findings(&rule("is_paid")), ERROR, "must be a text");
    is_one(&findings(&rule("created")), ERROR, "cannot be written");
}

#[test]
fn words_that_no_status_has_are_errors() {
    let found = findings("note = { constant = \"x\", when = { status = \"paid\" } }");
    assert!(found[0].contains("no status is `paid`; did you mean `PAID`?"), "{found:?}");
    let object = format!(
        "policy = \"update_only\"\nwhen = {{ kind = \"payments\" }}\n{MATCH}fields.note = \"status\""
    );
    let found = findings_of(&shelf::config(&object));
    assert!(found[0].contains("did you mean `payment`?"), "{found:?}");
    assert!(found[1].contains("no event gets here"), "{found:?}");

    let mut config = shelf::config(&format!("{MATCH}fields.note = \"status\""));
    config.gateway.filter.statuses = vec!["PAYED".to_owned(), "PAID".to_owned()];
    let found = check_filter(&config.gateway.filter);
    assert!(found.len() == 1 && found[0].words.contains("`PAID`?"), "{found:?}");
}

#[test]
fn keys_are_held_against_the_crm() {
    let with = |matches: &str| {
        let object =
            format!("policy = \"update_only\"\nmatch = [{matches}]\nfields.note = \"status\"");
        findings_of(&shelf::config(&object))
    };
    let found = with("{ field = \"order_id\", from = \"references.order\", unique = true }");
    is_one(&found, ERROR, "not unique in the CRM");
    let found = with("{ field = \"payment_id\", from = \"references.payment\" }");
    is_one(&found, WARNING, "`unique = true` saves calls");
    is_one(&with("{ field = \"order\", from = \"references.order\" }"), ERROR, "`order_id`");
    is_one(&with("{ field = \"order_id\", from = \"status\" }"), WARNING, "tells no record");
    assert!(with("{ from = \"references.metadata.deal_id\" }").is_empty());
}

#[test]
fn new_records_need_their_required_fields() {
    let with =
        |fields: &str| findings_of(&shelf::config(&format!("{MATCH}[objects.fields]\n{fields}")));
    is_one(&with("note = \"status\""), ERROR, "must have `dealname` (Deal Name)");
    is_one(&with("dealname = \"references.order\""), WARNING, "give it a `default`");
    assert!(with("dealname = { from = \"references.order\", default = \"?\" }").is_empty());
    assert!(with("dealname = { template = \"Payment {subject_id}\" }").is_empty());

    let made_with = "match = [{ field = \"created\", from = \"references.payment\" }]\n";
    let object = format!("{made_with}fields.dealname = \"subject\"");
    is_one(
        &findings_of(&shelf::config(&object)),
        ERROR,
        "cannot be written: put another key first",
    );
}

#[test]
fn what_becomes_of_events_without_a_record_is_told() {
    let with = |text: &str| {
        findings_of(&shelf::config(&format!("{text}\n{MATCH}fields.dealname = \"subject\"")))
    };
    let update_only = "policy = \"update_only\"\n";
    let skip = format!("{update_only}no_match = \"skip\"\n");
    assert!(with(&skip).is_empty());
    is_one(&with(&format!("{skip}park.every = \"1h\"")), WARNING, "only counts with `no_match");
    is_one(&with(&format!("{update_only}park.every = \"5s\"")), WARNING, "finds nothing");
    is_one(&with(&format!("{update_only}park.at_most = \"1m\"")), WARNING, "looked up twice");
    is_one(&with("park.every = \"1h\""), WARNING, "only counts with");
    assert!(with(update_only).is_empty());
}

#[test]
fn a_crm_that_takes_labels_finds_fields_and_options_by_them() {
    let object = format!(
        "policy = \"update_only\"\n{MATCH}fields.\"Deal Stage\" = {{ constant = \"Closed Won\" }}"
    );
    let config = shelf::config(&object);
    let shelf = Shelf::default();
    let found = |takes_labels| {
        let facts = crate::crm::Crm::facts(&shelf);
        let setting = Setting { events: &config.gateway.filter, facts, takes_labels };
        check("objects[0]", &config.objects[0], &shelf::description(), &setting).len()
    };
    assert_eq!((found(true), found(false)), (0, 1));
}

#[test]
fn an_object_that_is_not_there_is_a_finding_and_a_crm_that_is_away_is_none() {
    let found = of_refusal("objects[0]", "deels", &Fault::permanent("404", "no such object"));
    assert!(found.is_some_and(|one| one.key == "objects[0].object" && one.words.contains("deels")));
    assert_eq!(of_refusal("objects[0]", "deals", &Fault::transient("502")), None);
}
