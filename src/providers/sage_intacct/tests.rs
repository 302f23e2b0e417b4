//! Sage Intacct: templates of three kinds, states and amounts of records, and records that are read.

use http::HeaderMap;
use secrecy::SecretString;

use super::*;
use crate::model::{
    BankTransactionStatus, Draft, InvoiceStatus, PaymentStatus, Sequence, Status, SubjectState,
};
use crate::providers::{Answer, Fetching, Step, testing};

const SECRETS: &[(&str, &str)] = &[(URL_TOKEN, "sample-token"), (COMPANY_ID, "ExampleUS")];

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn translated(body: &str) -> Result<Translation, TranslateError> {
    testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
}

fn draft(body: &str) -> Draft {
    match translated(body) {
        Ok(Translation::Events(mut drafts)) if drafts.len() == 1 => drafts.remove(0),
        other => panic!("{other:?}"),
    }
}

fn status(draft: &Draft) -> Status {
    let mut state = SubjectState::begin(&draft.subject);
    state.apply(draft, Sequence(1)).1.status()
}

#[test]
fn samples_verify_and_translate() {
    testing::check_samples(&PROVIDER, &endpoint(), &[], testing::Coverage::Nothing);
}

#[test]
fn an_invoice_is_ordered_along_its_life() {
    testing::check_life(&PROVIDER, &endpoint(), &["ARINVOICE", "ARADJUSTMENT"]);
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn a_body_is_of_the_company_and_complete() {
    let sample = testing::sample(&PROVIDER, &endpoint(), "ARPYMT", 0);
    let is_accepted = |body: &str| {
        let request = Request { body: body.to_owned().into(), ..sample.clone() };
        testing::receive(&PROVIDER, &endpoint(), request, now()).is_ok()
    };
    assert!(is_accepted("company=ExampleUS&object=X"));
    assert!(is_accepted(" <e><COMPANY>ExampleUS</COMPANY></e>"));
    assert!(is_accepted(r#"{"Company":"ExampleUS"}"#));
    for body in [
        "",
        "object=ARPYMT",
        "company=exampleus",
        "company=ExampleUS&company=ExampleUS",
        "company=ExampleUS&recordno={!ARPYMT.RECORDNO!}",
        "company=ExampleUS&recordno=%7B%21ARPYMT.RECORDNO%21%7D",
        "<!DOCTYPE e><e><company>ExampleUS</company></e>",
        "<e><company>ExampleUS</company>",
        r#"{"company":"ExampleUS","#,
        r#"["ExampleUS"]"#,
    ] {
        assert!(!is_accepted(body), "{body}");
    }
}

#[test]
fn stored_receipts_hold_no_session_and_no_token() {
    let sample = testing::sample(&PROVIDER, &endpoint(), "ARPYMT", 0);
    for body in [
        "company=ExampleUS&sessionid=s3cret&object=ARPYMT",
        "<e><company>ExampleUS</company><sessionid>s3cret</sessionid></e>",
        r#"{"company":"ExampleUS","sessionId":"s3cret"}"#,
    ] {
        let request = Request { body: body.to_owned().into(), ..sample.clone() };
        let proof = PROVIDER.prove(&request, &endpoint(), now()).expect("authentic");
        let name = endpoint().name;
        let receipt = Receipt::new(request, proof, name, now(), PROVIDER.redaction);
        let kept = String::from_utf8_lossy(receipt.body()).into_owned();
        assert!(!kept.contains("s3cret") && kept.contains("ExampleUS"), "{kept}");
        assert!(!receipt.path().contains("sample"), "{}", receipt.path());
    }
}

#[test]
fn amounts_go_before_states() {
    for (told, wanted) in [
        ("total=10&paid=10&due=0&state=Bezahlt", InvoiceStatus::Paid),
        ("total=10&paid=4&due=6&state=Posted", InvoiceStatus::PartiallyPaid),
        ("total=10&paid=4", InvoiceStatus::PartiallyPaid),
        ("total=10&due=4", InvoiceStatus::PartiallyPaid),
        ("total=10&paid=0.00&due=10.00&state=Ouvert", InvoiceStatus::Open),
        ("total=10&paid=0&due=10&state=Submitted", InvoiceStatus::Draft),
        ("total=10&due=10&state=Draft", InvoiceStatus::Draft),
        ("total=10&paid=4&due=6&state=Submitted", InvoiceStatus::PartiallyPaid),
        ("total=10&paid=10&due=0&state=Submitted", InvoiceStatus::Paid),
        ("total=10&due=0&state=Draft", InvoiceStatus::Paid),
        ("total=10&paid=12&due=-2&state=Posted", InvoiceStatus::Paid),
        ("total=-10&paid=0&due=-10&state=Posted", InvoiceStatus::Open),
        ("event=add&total=10", InvoiceStatus::Open),
        ("total=10&paid=0&due=0&state=Reversed", InvoiceStatus::Void),
        ("state=Partially%20Paid", InvoiceStatus::PartiallyPaid),
        ("state=partiallyPaid", InvoiceStatus::PartiallyPaid),
        ("state=Paid", InvoiceStatus::Paid),
        ("event=delete", InvoiceStatus::Void),
    ] {
        let body = format!("object=ARINVOICE&recordno=1&currency=USD&{told}");
        assert_eq!(status(&draft(&body)), Status::Invoice(wanted), "{told}");
    }
    assert!(translated("object=ARINVOICE&recordno=1&state=Bezahlt").is_err());
    assert!(translated("object=ARINVOICE&recordno=1&total=1.005&currency=USD&due=0").is_err());
    assert!(translated("object=ARINVOICE&recordno=1&total=1&due=0").is_err(), "no currency");
    assert!(translated("object=ARINVOICE&event=set&recordno=1&total=1&currency=USD").is_err());
}

#[test]
fn payments_and_bank_transactions_have_states_of_their_own() {
    for (state, wanted) in [
        ("Posted", PaymentStatus::Paid),
        ("Cleared", PaymentStatus::Paid),
        ("Submitted", PaymentStatus::Pending),
        ("Voided", PaymentStatus::Canceled),
    ] {
        let body = format!("object=ARPYMT&recordno=1&currency=JPY&total=100.00&state={state}");
        let draft = draft(&body);
        assert_eq!(status(&draft), Status::Payment(wanted), "{state}");
        let amount = testing::payment_fact(&draft).amount.expect("an amount");
        assert_eq!(amount.minor_units, 100);
    }
    let charge = draft("object=CCTRANSACTION&recordno=1&currency=USD&total=1.00&state=Posted");
    assert_eq!(status(&charge), Status::BankTransaction(BankTransactionStatus::Booked));
    match charge.fact {
        crate::model::Fact::BankTransaction(fact) => {
            assert_eq!(fact.amount.map(|money| money.minor_units), Some(-100));
        }
        other => panic!("{other:?}"),
    }
    let added = "object=ARPYMT&recordno=1&currency=USD&amount=1.00&event=add";
    assert_eq!(status(&draft(added)), Status::Payment(PaymentStatus::Paid), "without a state");
    assert!(translated(&added.replace("=add", "=set")).is_err());
    assert!(translated("object=ARPYMT&recordno=1&currency=USD&total=1&state=Verbucht").is_err());
    assert_eq!(translated("object=GLENTRY&recordno=1"), Ok(Translation::Unknown("GLENTRY".into())));
    let credit = "object=ARADVANCE&recordno=1&currency=USD&total=1&state=Posted";
    for state in ["Posted", "Verbucht"] {
        let credit = credit.replace("Posted", state);
        assert_eq!(translated(&credit), Ok(Translation::Events(Vec::new())), "of no invoice");
    }
    assert!(translated(&format!("{}&invoice=2", credit.replace("Posted", "Verbucht"))).is_err());
}

#[test]
fn invoices_of_receivables_and_of_orders_do_not_meet() {
    let receivable = draft("object=ARINVOICE&recordno=1&state=Paid");
    let of_order = draft("object=SODOCUMENT&recordno=1&state=Paid");
    assert_ne!(receivable.subject, of_order.subject);
}

#[test]
fn an_event_without_a_change_is_the_same_event() {
    let key = |body: &str| draft(body).key;
    let paid = "object=ARINVOICE&recordno=1&currency=USD&total=2&due=0&whenmodified=11%2F23%2F2026+14:05:09";
    assert_eq!(key(paid), key(paid));
    assert_ne!(key(paid), key(&paid.replace("14:05:09", "14:05:10")));
    assert_ne!(key(paid), key(&paid.replace("due=0", "due=1")));
    assert_eq!(draft(paid).occurred_at.to_string(), "2026-11-23T14:05:09Z");
    assert!(translated(&paid.replace("14:05:09", "yesterday")).is_err());
}

#[test]
fn a_sandbox_is_not_live() {
    let mut endpoint = endpoint();
    endpoint.secrets.insert(COMPANY_ID.to_owned(), vec![SecretString::from("ExampleUS-sandbox")]);
    let drafts = testing::drafts(&PROVIDER, &endpoint, "ARPYMT", 0).expect("known");
    assert!(!drafts[0].live);
    assert!(draft("object=ARINVOICE&recordno=1&state=Paid").live);
}

#[test]
fn an_event_of_ids_alone_reads_its_record() {
    let body = "company=ExampleUS&object=ARINVOICE&event=set&recordno=4711";
    let Ok(Translation::Fetches(fetches)) = translated(body) else { panic!("a fetch") };
    let mut endpoint = endpoint();
    let step = |endpoint: &Endpoint, answers: &[&str]| {
        let answers: Vec<Answer> = answers
            .iter()
            .map(|body| Answer {
                status: 200,
                headers: HeaderMap::new(),
                body: (*body).to_owned().into(),
            })
            .collect();
        let (fetch, received_at, now, cursor, answers) = (&fetches[0], now(), now(), "", &*answers);
        (PROVIDER.fetch)(&Fetching { endpoint, fetch, received_at, now, cursor, answers })
    };
    assert!(step(&endpoint, &[]).is_err(), "without credentials");
    for name in [read::SENDER_ID, read::SENDER_PASSWORD, read::USER_ID, read::USER_PASSWORD] {
        let value = format!("<{name}>");
        endpoint.secrets.insert(name.to_owned(), vec![SecretString::from(value)]);
    }
    let Ok(Step::Call(call)) = step(&endpoint, &[]) else { panic!("a call") };
    assert_eq!(call.url, "https://api.intacct.com/ia/xml/xmlgw.phtml");
    let text = String::from_utf8(call.body.to_vec()).expect("text");
    assert!(text.contains("<senderid>&lt;sender_id&gt;</senderid>"), "{text}");
    assert!(text.contains("<object>ARINVOICE</object><keys>4711</keys>"), "{text}");
    let answer = |data: &str| {
        format!(
            "<response><control><status>success</status></control><operation><authentication>\
             <status>success</status></authentication><result><status>success</status>{data}\
             </result></operation></response>"
        )
    };
    let record = answer(
        "<data listtype=\"arinvoice\" count=\"1\"><ARINVOICE><RECORDNO>4711</RECORDNO>\
         <RECORDID>INV-1</RECORDID><CURRENCY>USD</CURRENCY><TRX_TOTALENTERED>25.00</TRX_TOTALENTERED>\
         <TRX_TOTALPAID>10.00</TRX_TOTALPAID><TRX_TOTALDUE>15.00</TRX_TOTALDUE><STATE>Posted</STATE>\
         <WHENMODIFIED>11/23/2026 14:05:09</WHENMODIFIED><WHENDUE>12/23/2026</WHENDUE>\
         <ARINVOICEITEMS><arinvoiceitem><RECORDNO>1</RECORDNO></arinvoiceitem></ARINVOICEITEMS>\
         </ARINVOICE></data>",
    );
    let Ok(Step::Done { drafts, .. }) = step(&endpoint, &[&record]) else { panic!("drafts") };
    assert_eq!(status(&drafts[0]), Status::Invoice(InvoiceStatus::PartiallyPaid));
    assert_eq!(drafts[0].references.invoice_number, "INV-1");
    let gone = answer("<data listtype=\"arinvoice\" count=\"0\"/>");
    assert!(matches!(step(&endpoint, &[&gone]), Ok(Step::Denied)));
    let failed = "<response><control><status>failure</status></control><errormessage><error>\
                  <errorno>XL03000006</errorno></error></errormessage></response>";
    assert!(step(&endpoint, &[failed]).is_err());
    let other = record.replace("<RECORDNO>4711", "<RECORDNO>4712");
    assert!(step(&endpoint, &[&other]).is_err(), "another record");
    assert!(step(&endpoint, &["nonsense"]).is_err());
}

#[test]
fn an_invoice_ends_in_the_same_state_whatever_the_order() {
    let at = |second: u8, told: &str| {
        draft(&format!(
            "object=ARINVOICE&recordno=1&currency=USD&total=10&whenmodified=11/23/2026+14:05:0{second}&{told}"
        ))
    };
    let drafts = [
        at(0, "state=Draft"),
        at(1, "state=Posted&paid=0&due=10"),
        at(2, "state=Partially+Paid&paid=4&due=6"),
        at(3, "state=Paid&paid=10&due=0"),
        at(4, "state=Posted&paid=0&due=10"),
    ];
    for turn in 0..drafts.len() {
        for reversed in [false, true] {
            let mut order: Vec<usize> = (0..drafts.len()).collect();
            order.rotate_left(turn);
            if reversed {
                order.reverse();
            }
            let mut state = SubjectState::begin(&drafts[0].subject);
            for (sequence, which) in (1..).zip(order) {
                state.apply(&drafts[which], Sequence(sequence));
            }
            assert_eq!(state.status(), Some(Status::Invoice(InvoiceStatus::Open)));
        }
    }
}
