//! PayPal's rules, each with a test that fails without it.

use bytes::Bytes;

use super::*;
use crate::model::{CustomerAction, Draft, Fact, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::testing::{self, Coverage};
use crate::providers::{Answer, Sample, samples};

fn endpoint() -> Endpoint {
    let secrets = sample_secrets();
    let secrets: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (*name, value.as_str())).collect();
    testing::endpoint(&PROVIDER, &secrets)
}

fn with(name: &str, value: &str) -> Endpoint {
    let mut endpoint = endpoint();
    endpoint.secrets.insert(name.to_owned(), vec![value.to_owned().into()]);
    endpoint
}

fn set(name: &str, value: &str) -> Endpoint {
    let mut endpoint = endpoint();
    endpoint.settings.insert(name.to_owned(), value.to_owned());
    endpoint
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn draft(event_type: &str, at: i64) -> Draft {
    testing::drafts(&PROVIDER, &endpoint(), event_type, at).expect("a known type").remove(0)
}

/// What comes of a sample whose body is changed after it was taken for authentic.
fn translated(endpoint: &Endpoint, sample: &Sample, body: &[u8]) -> Vec<Draft> {
    let proof = PROVIDER.prove(&sample.request, endpoint, now()).expect("authentic");
    let request = Request { body: Bytes::copy_from_slice(body), ..sample.request.clone() };
    let receipt = Receipt::new(request, proof, endpoint.name.clone(), now(), PROVIDER.redaction);
    samples::drafts(&PROVIDER, endpoint, &receipt, sample).expect("readable").expect("known")
}

#[test]
fn samples_verify_and_translate() {
    let silent = ["subscr_signup", "subscr_cancel", "subscr_eot"];
    testing::check_samples(&PROVIDER, &endpoint(), &silent, Coverage::Values);
}

#[test]
fn a_webhook_does_not_survive_a_flipped_byte() {
    let request = testing::sample(&PROVIDER, &endpoint(), "PAYMENT.CAPTURE.COMPLETED", 0);
    for at in 0..request.body.len() {
        let mut body = request.body.to_vec();
        body[at] ^= 1;
        let flipped = Request { body: Bytes::from(body), ..request.clone() };
        assert!(PROVIDER.prove(&flipped, &endpoint(), now()).is_err(), "byte {at}");
    }
}

#[test]
fn each_payment_is_ordered_along_its_life() {
    for life in [
        &[
            "PAYMENT.CAPTURE.PENDING",
            "PAYMENT.CAPTURE.COMPLETED",
            "PAYMENT.REFUND.PENDING",
            "PAYMENT.CAPTURE.REFUNDED",
            "PAYMENT.REFUND.FAILED",
            "CUSTOMER.DISPUTE.CREATED",
            "CUSTOMER.DISPUTE.UPDATED",
            "PAYMENT.CAPTURE.REVERSED",
            "CUSTOMER.DISPUTE.RESOLVED",
        ][..],
        &["PAYMENT.SALE.PENDING", "PAYMENT.SALE.COMPLETED", "PAYMENT.SALE.REFUNDED"],
        &["PAYMENT.AUTHORIZATION.CREATED", "PAYMENT.AUTHORIZATION.VOIDED"],
        &[
            "INVOICING.INVOICE.CREATED",
            "INVOICING.INVOICE.UPDATED",
            "INVOICING.INVOICE.PAID",
            "INVOICING.INVOICE.REFUNDED",
        ],
        &["CHECKOUT.ORDER.APPROVED", "CHECKOUT.ORDER.COMPLETED"],
        &[
            "Created",
            "Pending",
            "Completed",
            "Refunded",
            "new_case",
            "Reversed",
            "Canceled_Reversal",
        ],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), life);
    }
}

#[test]
fn any_order_of_a_life_ends_in_the_same_state() {
    let life = [
        draft("PAYMENT.CAPTURE.PENDING", 0),
        draft("Completed", 1),
        draft("PAYMENT.CAPTURE.COMPLETED", 2),
        draft("PAYMENT.CAPTURE.REFUNDED", 3),
        draft("Refunded", 3),
        draft("PAYMENT.CAPTURE.REVERSED", 4),
        draft("CUSTOMER.DISPUTE.RESOLVED", 5),
    ];
    let apply = |order: &[usize]| {
        let mut state = SubjectState::begin(&life[0].subject);
        for (sequence, at) in (1..).zip(order) {
            state.apply(&life[*at], Sequence(sequence));
        }
        state
    };
    let mut order: Vec<usize> = (0..life.len()).collect();
    let expected = apply(&order);
    assert_eq!(expected.status(), Some(Status::Payment(PaymentStatus::PartiallyRefunded)));
    let refunded = expected.amounts().refunded.map(|money| money.minor_units);
    let part = samples::part_of(samples::amount("a1"));
    assert_eq!(refunded, Some(part), "webhook and IPN tell of one refund");
    permute(&mut order, 0, &mut |order| {
        assert!(apply(order).converges_with(&expected), "{order:?}")
    });
}

fn permute(order: &mut Vec<usize>, from: usize, check: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        return check(order);
    }
    for at in from..order.len() {
        order.swap(from, at);
        permute(order, from + 1, check);
        order.swap(from, at);
    }
}

#[test]
fn a_certificate_is_asked_for_and_its_answer_decides() {
    let mut endpoint = endpoint();
    let request = testing::sample(&PROVIDER, &endpoint, "PAYMENT.CAPTURE.COMPLETED", 0);
    let fixtures = endpoint.secret(CERT_FIXTURES).expect("fixtures").to_owned();
    endpoint.secrets.remove(CERT_FIXTURES);
    let Ok(Verdict::NeedsKey(needed)) = verify(&request, &endpoint, &Keys::default(), now()) else {
        panic!("no key was asked for");
    };
    assert_eq!(Some(needed.id.as_str()), request.headers["paypal-cert-url"].to_str().ok());
    let fixtures: serde_json::Value = serde_json::from_str(&fixtures).expect("JSON");
    let pem = fixtures[&needed.id].as_str().expect("a certificate").to_owned();
    let with_key = |body: &str| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let key = crate::providers::calls::Key { body, fetched_at: now() };
        verify(&request, &endpoint, &Keys::new([(needed.id.clone(), key)].into()), now())
    };
    assert!(matches!(with_key(&pem), Ok(Verdict::Verified(_))));
    assert!(with_key("").is_err() && with_key("<html>").is_err());
    endpoint.secrets.remove(TRUSTED_ROOT);
    let body = Bytes::copy_from_slice(pem.as_bytes());
    let key = crate::providers::calls::Key { body, fetched_at: now() };
    let keys = Keys::new([(needed.id.clone(), key)].into());
    assert!(verify(&request, &endpoint, &keys, now()).is_err(), "no public root issued it");
}

#[test]
fn the_public_roots_are_readable() {
    assert!(certificate::are_roots(PUBLIC_ROOTS.as_bytes()));
}

#[test]
fn another_name_suffix_or_webhook_id_is_refused() {
    let request = testing::sample(&PROVIDER, &endpoint(), "PAYMENT.CAPTURE.COMPLETED", 0);
    for (name, value) in [(NAME_SUFFIX, ".example.com"), (WEBHOOK_ID, "OTHER"), (WEBHOOK_ID, " ")] {
        assert!(PROVIDER.prove(&request, &with(name, value), now()).is_err(), "{name} {value}");
    }
    assert!(PROVIDER.prove(&request, &with(NAME_SUFFIX, ".sample.paypal.com"), now()).is_ok());
}

#[test]
fn a_changed_body_under_a_known_transmission_makes_no_other_event() {
    let endpoint = endpoint();
    for event_type in ["PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.REFUNDED"] {
        let sample = testing::whole_sample(&PROVIDER, &endpoint, event_type, 0);
        let text = std::str::from_utf8(&sample.request.body).expect("text");
        let forged = text.replacen("evt_a1", "evt_a2", 1);
        let genuine = translated(&endpoint, &sample, text.as_bytes()).remove(0);
        let forged = translated(&endpoint, &sample, forged.as_bytes()).remove(0);
        assert_ne!(genuine.event_id, forged.event_id);
        assert_eq!(genuine.key, forged.key);
    }
}

#[test]
fn with_api_credentials_the_event_is_what_the_api_gives() {
    let mut endpoint = with(api::CLIENT_ID, "client");
    endpoint.secrets.insert(api::CLIENT_SECRET.to_owned(), vec!["secret".to_owned().into()]);
    for (event_type, amount) in [
        ("PAYMENT.CAPTURE.COMPLETED", samples::amount("a1")),
        ("PAYMENT.CAPTURE.REFUNDED", samples::part_of(samples::amount("a1"))),
    ] {
        let sample = testing::whole_sample(&PROVIDER, &endpoint, event_type, 0);
        let text = std::str::from_utf8(&sample.request.body).expect("text");
        let forged = text.replace("\"value\":\"", "\"value\":\"9");
        let draft = translated(&endpoint, &sample, forged.as_bytes()).remove(0);
        assert_eq!(draft.key, draft.event_id);
        let stated = testing::payment_fact(&draft).amount.map(|money| money.minor_units);
        assert_eq!(stated, Some(amount), "{event_type}");
    }
    let sample = testing::whole_sample(&PROVIDER, &endpoint, "PAYMENT.CAPTURE.COMPLETED", 0);
    assert!(matches!(step(&endpoint, &sample, &[answer(404, "")]), Ok(Step::Denied)));
    assert!(matches!(step(&endpoint, &sample, &[answer(403, "")]), Ok(Step::Later(_))));
    assert!(step(&endpoint, &sample, &[answer(200, "{\"id\":\"WH-2\"}")]).is_err());
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        headers: http::HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// The step of the fetch that a sample asks for, after these answers.
fn step(endpoint: &Endpoint, sample: &Sample, answers: &[Answer]) -> Result<Step, TranslateError> {
    let proof = PROVIDER.prove(&sample.request, endpoint, now()).expect("authentic");
    let (request, name) = (sample.request.clone(), endpoint.name.clone());
    let receipt = Receipt::new(request, proof, name, now(), PROVIDER.redaction);
    let Ok(Translation::Fetches(fetches)) = translate(&receipt, endpoint) else {
        panic!("nothing to fetch");
    };
    fetch(&Fetching {
        endpoint,
        fetch: &fetches[0],
        received_at: now(),
        now: now(),
        cursor: "",
        answers,
    })
}

#[test]
fn a_refund_is_whole_or_partial_by_its_capture() {
    let endpoint = endpoint();
    let sample = testing::whole_sample(&PROVIDER, &endpoint, "PAYMENT.CAPTURE.REFUNDED", 0);
    let status = |capture: Answer| match step(&endpoint, &sample, &[capture]) {
        Ok(Step::Done { drafts, .. }) => testing::payment_fact(&drafts[0]).status,
        _ => panic!("not done"),
    };
    let capture = |value: &str| {
        answer(
            200,
            &format!(
                "{{\"id\":\"PAY-a1\",\"amount\":{{\"currency_code\":\"USD\",\"value\":\"{value}\"}}}}"
            ),
        )
    };
    let part = samples::part_of(samples::amount("a1"));
    let whole = format!("{}.{:02}", part / 100, part % 100);
    assert_eq!(status(capture(&whole)), Some(PaymentStatus::Refunded));
    assert_eq!(status(capture("99999.00")), Some(PaymentStatus::PartiallyRefunded));
    assert_eq!(status(answer(403, "")), None, "left to what is known of the payment");
    let other = capture(&whole);
    let other = Answer {
        body: Bytes::from(String::from_utf8_lossy(&other.body).replace("PAY-a1", "X")),
        ..other
    };
    assert!(step(&endpoint, &sample, &[other]).is_err());
}

#[test]
fn a_form_says_something_only_once_paypal_has_verified_it() {
    let endpoint = endpoint();
    let sample = testing::whole_sample(&PROVIDER, &endpoint, "Completed", 0);
    assert!(matches!(
        verify(&sample.request, &endpoint, &Keys::default(), now()),
        Ok(Verdict::NeedsConfirmation(_))
    ));
    let Ok(Step::Call(call)) = step(&endpoint, &sample, &[]) else { panic!("no call") };
    assert_eq!(call.url, "https://ipnpb.paypal.com/cgi-bin/webscr");
    assert_eq!(call.body, [ipn::POSTBACK_PREFIX, &sample.request.body].concat());
    assert!(call.headers.iter().any(|(name, _)| *name == "user-agent"));
    let after = |status, body| step(&endpoint, &sample, &[answer(status, body)]);
    assert!(matches!(after(200, "VERIFIED"), Ok(Step::Done { drafts, .. }) if drafts.len() == 1));
    assert!(matches!(after(200, "INVALID"), Ok(Step::Denied)));
    for (status, body) in
        [(200, "<html>VERIFIED</html>"), (200, ""), (500, "VERIFIED"), (404, "INVALID")]
    {
        assert!(matches!(after(status, body), Ok(Step::Later(_))), "{status} {body}");
    }
}

#[test]
fn the_sandbox_confirms_only_its_own_forms_and_is_not_live() {
    let endpoint = endpoint();
    let mut sample = testing::whole_sample(&PROVIDER, &endpoint, "Completed", 0);
    sample.request.body = Bytes::from([&sample.request.body[..], b"&test_ipn=1"].concat());
    let Ok(Step::Call(call)) = step(&endpoint, &sample, &[]) else { panic!("no call") };
    assert_eq!(call.url, "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr");
    let own = set(ipn::IPN_URL, "https://confirm.example.test/ipn");
    let Ok(Step::Call(call)) = step(&own, &sample, &[]) else { panic!("no call") };
    assert_eq!(call.url, "https://confirm.example.test/ipn");
    match step(&endpoint, &sample, &[answer(200, "VERIFIED")]) {
        Ok(Step::Done { drafts, .. }) => assert!(!drafts[0].live),
        _ => panic!("not done"),
    }
}

#[test]
fn a_form_for_another_receiver_is_refused() {
    let request = testing::sample(&PROVIDER, &endpoint(), "Completed", 0);
    assert!(PROVIDER.prove(&request, &with(RECEIVER_EMAIL, "other@example.com"), now()).is_err());
    assert!(PROVIDER.prove(&request, &with(RECEIVER_EMAIL, "SELLER@example.com"), now()).is_ok());
    let mut without = endpoint();
    without.secrets.remove(RECEIVER_EMAIL);
    assert!(PROVIDER.prove(&request, &without, now()).is_err());
    // The payer may write what they like into `business`.
    let text = String::from_utf8_lossy(&request.body);
    let body = text.replace("receiver_email=seller", "receiver_email=other");
    let forged = Request { body: Bytes::from(body), ..request.clone() };
    assert!(PROVIDER.prove(&forged, &endpoint(), now()).is_err());
}

#[test]
fn the_scheme_of_an_endpoint_decides_what_it_takes() {
    let form = testing::sample(&PROVIDER, &endpoint(), "Completed", 0);
    let event = testing::sample(&PROVIDER, &endpoint(), "PAYMENT.CAPTURE.COMPLETED", 0);
    for (scheme, takes_form, takes_event) in [(IPN, true, false), (WEBHOOK, false, true)] {
        let endpoint = set(SCHEME, scheme);
        assert_eq!(PROVIDER.prove(&form, &endpoint, now()).is_ok(), takes_form, "{scheme}");
        assert_eq!(PROVIDER.prove(&event, &endpoint, now()).is_ok(), takes_event, "{scheme}");
    }
}

#[test]
fn mistakes_in_the_configuration_are_refused() {
    assert_eq!(check(&endpoint()), Ok(()));
    for broken in [
        set(SCHEME, "soap"),
        set(api::API_URL, "api-m.paypal.com"),
        with(TRUSTED_ROOT, "no PEM"),
        with(NAME_SUFFIX, "paypal.com"),
        with(CERT_FIXTURES, "[]"),
        with(api::CLIENT_ID, "alone"),
        testing::endpoint(&PROVIDER, &[]),
    ] {
        assert!(check(&broken).is_err());
    }
}

#[test]
fn an_amount_of_an_invoice_may_leave_the_currency_to_the_invoice() {
    let endpoint = endpoint();
    let sample = testing::whole_sample(&PROVIDER, &endpoint, "INVOICING.INVOICE.PAID", 0);
    let mut body: serde_json::Value = serde_json::from_slice(&sample.request.body).expect("JSON");
    let amount = body["resource"]["invoice"]["amount"].as_object_mut().expect("an amount");
    assert!(amount.remove("currency_code").is_some());
    let invoice = translated(&endpoint, &sample, body.to_string().as_bytes()).remove(0);
    let Fact::Invoice(fact) = &invoice.fact else { panic!("{invoice:?}") };
    assert!(fact.total.is_some() && fact.total == fact.paid, "{fact:?}");
}

#[test]
fn an_order_that_the_buyer_agreed_to_is_not_paid_yet() {
    let order = draft("CHECKOUT.ORDER.APPROVED", 0);
    let Fact::CustomerAction(fact) = &order.fact else { panic!("{order:?}") };
    assert_eq!(fact.action, CustomerAction::RequestAccepted);
    assert_eq!(order.references.payment, "PAY-a1");
}

#[test]
fn each_payment_of_a_mass_payment_goes_out_on_its_own() {
    let endpoint = endpoint();
    let mut sample = testing::whole_sample(&PROVIDER, &endpoint, "masspay", 0);
    let second = b"&masspay_txn_id_2=M2&status_2=Returned&mc_gross_2=1.50&mc_currency_2=EUR";
    sample.request.body = Bytes::from([&sample.request.body[..], second].concat());
    let drafts = match step(&endpoint, &sample, &[answer(200, "VERIFIED")]) {
        Ok(Step::Done { drafts, .. }) => drafts,
        _ => panic!("not done"),
    };
    let amounts: Vec<i64> = drafts
        .iter()
        .map(|draft| match &draft.fact {
            Fact::BankTransaction(fact) => fact.amount.expect("an amount").minor_units,
            _ => panic!("{draft:?}"),
        })
        .collect();
    assert_eq!(amounts, [-samples::amount("a1"), -150]);
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}
