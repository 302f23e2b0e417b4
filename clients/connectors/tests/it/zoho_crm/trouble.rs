//! Trouble on the way: answers that are lost, cut, slow or not Zoho's. Whatever happens, a row is called
//! written only if Zoho said so, and writing it again makes no second record.

use std::time::Duration;

use fake_crms::faults::bad_gateway;
use futures::future::join_all;

use super::*;

/// Writes until it is written, and tells what each failed try was called.
async fn written_in_the_end(crm: &Arc<dyn Crm>) -> (Written, Vec<String>) {
    let mut failed = Vec::new();
    for _ in 0..5 {
        match write_one(crm, paid("pay_1")).await {
            Ok(written) => return (written, failed),
            outcome => failed.push(code(&outcome).to_owned()),
        }
    }
    panic!("never written: {failed:?}");
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_write_leads_to_one_record() {
    let server = start().await;
    let crm = open(&server);
    server.faults().add(Fault::new(Effect::Close(Carried::Applied)).path("/upsert"));
    let (written, failed) = written_in_the_end(&crm).await;
    assert_eq!(failed, ["transient"]);
    assert_eq!(written.created, Some(false));
    assert_eq!(server.records().len(), 1);
    assert!(server.journal().second_creates().is_empty());
}

#[tokio::test]
async fn whatever_comes_in_place_of_an_answer_the_row_is_written_once() {
    let page = |status| Effect::Answer(Carried::Applied, bad_gateway(status));
    let json = |status, code| Effect::Answer(Carried::Lost, Reply::json(status, &refusal(code)));
    let effects = vec![
        Effect::Truncate,
        Effect::Close(Carried::Lost),
        page(502),
        page(200),
        page(403),
        json(500, "INTERNAL_ERROR"),
        json(503, "SERVICE_UNAVAILABLE"),
        Effect::Answer(Carried::Applied, Reply::empty(204)),
    ];
    let each = effects.into_iter().map(|effect| async move {
        let server = start().await;
        let crm = open(&server);
        server.faults().add(Fault::new(effect.clone()).path("/upsert"));
        let (_, failed) = written_in_the_end(&crm).await;
        assert_eq!(failed, ["transient"], "{effect:?}");
        assert_eq!(server.records().len(), 1, "{effect:?}");
    });
    join_all(each).await;
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_and_a_silent_one_is_given_up() {
    let server = start().await;
    let crm = open_with(&server, "timeout_seconds", 1);
    let drip = Effect::Drip(64, Duration::from_millis(10));
    server.faults().add(Fault::new(drip).path("/upsert"));
    assert!(write_one(&crm, paid("pay_1")).await.is_ok());
    let label = Effect::ContentType("text/plain");
    server.faults().add(Fault::new(label).path("/upsert"));
    assert!(write_one(&crm, paid("pay_1")).await.is_ok());
    server.faults().add(Fault::new(Effect::Hang(Carried::Applied)).path("/upsert"));
    assert_eq!(code(&write_one(&crm, paid("pay_1")).await), "transient");
    assert_eq!(server.records().len(), 1);
}

#[tokio::test]
async fn trouble_with_the_fields_is_trouble_with_all_rows_and_over_with_it() {
    let server = start().await;
    let crm = open(&server);
    let broken = Effect::Answer(Carried::Lost, bad_gateway(502));
    server.faults().add(Fault::new(broken).path("/settings/fields"));
    let rows = [paid("pay_1"), paid("pay_2")];
    let outcomes = crm.write(&deals(), &rows).await;
    assert!(outcomes.iter().all(|outcome| code(outcome) == "transient"));
    let outcomes = crm.write(&deals(), &rows).await;
    assert!(outcomes.iter().all(Result::is_ok));
}
