//! Which records an event goes to: several kinds at once, keys in their order, records that are not there,
//! and policies.

use std::time::Duration;

use fake_crms::process::until;

use super::{NEW_DEAL, SOON, deal, hubspot, object};

/// The payer's contact, by the address.
fn contact(keys: &str) -> String {
    let keys = format!(
        "name = \"contact\"\npolicy = \"update_only\"\n\
         match = [{{ field = \"email\", from = \"references.email\" }}]\n{keys}"
    );
    object("contacts", &keys, "", ("last_payment_status", ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_acknowledged_once_the_deal_and_its_contact_are_written() {
    let objects = deal("", "") + &contact("park = { every = \"1s\", at_most = \"7d\" }\n");
    let mut scene = hubspot("", &objects).await;
    let there = scene.double.backend().create_contact("payer-1@example.com");
    scene.start();
    for number in [1, 2] {
        scene.deliver(number, "payment_intent.succeeded", 0).await;
    }
    assert_eq!(scene.acked(1, 1).await, ["payment created, contact updated"]);
    let reference = scene.deliveries(1).await.remove(0).external_ref;
    assert!(reference.ends_with(&format!(" contact/{there}")), "{reference}");
    assert!(reference.starts_with("payment/"), "{reference}");
    // The second one's deal is there and its contact is not.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let waits = scene.deliveries(2).await.remove(0);
    assert_ne!(waits.state, "acked");
    assert_eq!(waits.failed_attempts, 0, "{}", waits.reason);
    let made = scene.double.backend().create_contact("payer-2@example.com");
    let outcome = scene.acked(2, 1).await.remove(0);
    assert!(outcome.ends_with("contact updated"), "{outcome}");
    let value = scene.double.backend().value(&made, "last_payment_status");
    assert_eq!(value.as_deref(), Some("paid"));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_missing_is_skipped_or_a_dead_letter_or_waited_for_at_most_so_long() {
    let mut skips = hubspot("", &(deal("", "") + &contact("no_match = \"skip\"\n"))).await;
    let mut puts_aside =
        hubspot("", &(deal("", "") + &contact("no_match = \"dead_letter\"\n"))).await;
    let park = "park = { every = \"1s\", at_most = \"2s\" }\n";
    let mut waits = hubspot("", &(deal("", "") + &contact(park))).await;
    for scene in [&mut skips, &mut puts_aside, &mut waits] {
        scene.start();
        scene.deliver(1, "payment_intent.succeeded", 0).await;
    }
    assert_eq!(skips.acked(1, 1).await, ["payment created, contact skipped"]);
    assert_eq!(puts_aside.dead(1).await, ["contact: no record matches"]);
    let reason = waits.dead(1).await.remove(0);
    assert!(reason.starts_with("contact: no record matches, for "), "{reason}");
    for scene in [&mut skips, &mut puts_aside, &mut waits] {
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_tried_in_order_and_what_is_ambiguous_waits() {
    let keys = "name = \"payment\"\npolicy = \"update_only\"\n\
        match = [{ field = \"payment_id\", from = \"subject_id\", unique = true }, \
        { field = \"payment_invoice\", from = \"references.invoice_number\" }]\n\
        park = { every = \"1s\", at_most = \"7d\" }\n";
    let mut scene = hubspot("", &object("deals", keys, "", ("payment_status", ""))).await;
    let deals = scene.double.backend();
    // The first key leads to one, the second to another: the first counts.
    let by_payment = deals.create_deal(&[("payment_id", "pi_00001")]);
    let by_invoice = deals.create_deal(&[("payment_invoice", "INV-1")]);
    let second = deals.create_deal(&[("payment_invoice", "INV-2")]);
    let twins = [0, 1].map(|_| deals.create_deal(&[("payment_invoice", "INV-3")]));
    scene.start();
    for number in [1, 2, 3] {
        scene.deliver(number, "payment_intent.succeeded", 0).await;
    }
    for number in [1, 2] {
        assert_eq!(scene.acked(number, 1).await, ["updated"]);
    }
    let status =
        |id: &String| scene.double.backend().value(id, "payment_status").unwrap_or_default();
    assert_eq!([&by_payment, &by_invoice, &second].map(status), ["paid", "", "paid"]);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(twins.each_ref().map(status), ["", ""]);
    let waits = scene.deliveries(3).await.remove(0);
    assert_ne!(waits.state, "acked");
    assert_eq!(waits.failed_attempts, 0);
    scene.double.backend().archive(&twins[0]);
    assert_eq!(scene.acked(3, 1).await, ["updated"]);
    assert_eq!(status(&twins[1]), "paid");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_hold_and_what_is_for_new_records_is_not_written_later() {
    let mut creates = hubspot("", &deal("policy = \"create_only\"\n", "")).await;
    let mut updates =
        hubspot("", &deal("policy = \"update_only\"\nno_match = \"skip\"\n", "")).await;
    let mut both = hubspot("", &deal("", "")).await;
    let by_hand = updates.double.backend().create_deal(&[("payment_id", "pi_00001")]);
    for scene in [&mut creates, &mut updates, &mut both] {
        scene.start();
        scene.deliver(1, "payment_intent.created", 0).await;
        scene.acked(1, 1).await;
    }
    let made = fake_crms::Account::records(&both.double).remove(0).id;
    fake_crms::Account::edit(&both.double, &made, "dealstage", "closedwon".into());
    for scene in [&mut creates, &mut updates, &mut both] {
        scene.deliver(1, "payment_intent.succeeded", 1).await;
    }
    assert_eq!(creates.acked(1, 2).await, ["created", "unchanged"]);
    assert_eq!(updates.acked(1, 2).await, ["updated", "updated"]);
    assert_eq!(both.acked(1, 2).await, ["created", "updated"]);
    updates.deliver(2, "payment_intent.succeeded", 0).await;
    assert_eq!(updates.acked(2, 1).await, ["skipped"]);
    assert_eq!(fake_crms::Account::records(&updates.double).len(), 1);
    assert_eq!(fake_crms::Account::records(&creates.double)[0].status, "Pending");
    assert_eq!(updates.double.backend().value(&by_hand, "dealname").as_deref(), Some("By hand"));
    let value = |field| both.double.backend().value(&made, field);
    assert_eq!(value("dealstage").as_deref(), Some("closedwon"));
    assert_eq!(value("payment_status").as_deref(), Some("paid"));
    for scene in [&mut creates, &mut updates, &mut both] {
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_one_parent_are_never_in_two_calls_at_once() {
    let new = format!("{NEW_DEAL}payment_currency = \"currency\"\n");
    let keys = format!("name = \"payment\"\n{}parent = \"currency\"\n", super::BY_PAYMENT);
    let mut scene = hubspot("", &object("deals", &keys, &new, ("payment_status", ""))).await;
    scene.start();
    scene.deliver(0, "payment_intent.created", 0).await;
    scene.acked(0, 1).await;
    scene.double.faults().set_latency(Duration::from_millis(60));
    for number in 1..25 {
        scene.deliver(number, "payment_intent.succeeded", 0).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until("all are there", SOON, async || {
        (fake_crms::Account::records(&scene.double).len() == 25).then_some(())
    })
    .await;
    assert_eq!(scene.double.journal().most_in_flight(), 1);
    assert!(scene.double.journal().count("batch") > 3, "there were several batches");
    scene.stop().await;
}
