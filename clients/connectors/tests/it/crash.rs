//! A connector is killed at each point of one event's way: before the CRM has it, after the CRM has written
//! it, between the CRM's yes and the acknowledgement. The record is there once and right in the end.

use std::time::Duration;

use fake_crms::{Effect, Fault, Write, lives};
use jiff::Timestamp;

use crate::stage::{Stage, Target};

/// No event needs more calls than this, signing in among them.
const MAX_CALLS: u64 = 5;
/// An event that makes no further call has made its last one by then.
const LAST_CALL: Duration = Duration::from_millis(1_500);

async fn killed_at_each_call(name: &'static str) {
    let stage = Stage::open("").await;
    let mut target = stage.target(name, "", |tables| tables).await;
    let mut number = 0;
    for effect in [Effect::Hang(Write::Lost), Effect::Hang(Write::Applied)] {
        for event in ["payment_intent.succeeded", "charge.refunded"] {
            for call in 1..=MAX_CALLS {
                target.start(&stage.site);
                stage.agrees(&target).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                let armed = target.double.faults().add(Fault::new(effect.clone()).nth(call));
                if event == "payment_intent.succeeded" {
                    number += 1;
                }
                let created = Timestamp::now().as_second();
                let step = usize::from(event == "charge.refunded");
                stage.deliver(&[lives::happening(number, event, created, step)]).await;
                let hit = tokio::time::timeout(LAST_CALL, armed.hit()).await.is_ok();
                target.kill();
                target.double.faults().clear();
                if !hit {
                    break;
                }
            }
        }
    }
    target.start(&stage.site);
    stage.agrees(&target).await;
    stage.is_drained(name).await;
    assert!(number >= 2, "{name}: no call was hit");
}

async fn cut_off_in_the_answer(name: &'static str) {
    let stage = Stage::open("").await;
    let mut target = stage.target(name, "", |tables| tables).await;
    target.start(&stage.site);
    let effects = [
        Effect::Close(Write::Applied),
        Effect::Close(Write::Lost),
        Effect::Truncate,
        Effect::Answer(Write::Lost, fake_crms::faults::bad_gateway(502)),
    ];
    for (number, effect) in effects.into_iter().enumerate() {
        for call in 1..=2 {
            target.double.faults().add(Fault::new(effect.clone()).nth(call));
            let created = Timestamp::now().as_second();
            let number = number * 2 + usize::try_from(call).unwrap_or(0);
            let event = lives::happening(number, "payment_intent.succeeded", created, 0);
            stage.deliver(&[event]).await;
            stage.agrees(&target).await;
            target.double.faults().clear();
        }
    }
    stage.is_drained(name).await;
}

/// The CRM's yes arrives, but the gateway is gone before it hears of it, and then the connector too.
async fn killed_between_yes_and_ack(name: &'static str) {
    let mut stage = Stage::open("").await;
    let mut target: Target = stage.target(name, "", |tables| tables).await;
    target.start(&stage.site);
    let created = Timestamp::now().as_second();
    stage.deliver(&[lives::happening(1, "payment_intent.succeeded", created, 0)]).await;
    stage.agrees(&target).await;
    stage.is_drained(name).await;
    let before = target.double.journal().commits().len();
    let delay = Effect::DelayAnswer(Duration::from_millis(400));
    let armed = target.double.faults().add(Fault::new(delay).times(3));
    stage.deliver(&[lives::happening(1, "charge.refunded", created + 1, 1)]).await;
    armed.hit().await;
    stage.kill_gateway();
    tokio::time::sleep(Duration::from_millis(900)).await;
    target.kill();
    stage.start_gateway().await;
    target.start(&stage.site);
    stage.is_drained(name).await;
    stage.agrees(&target).await;
    let writes = target.double.journal().commits().len() - before;
    assert_eq!(writes, 1, "{name}: what was written is written again");
}

macro_rules! for_each_crm {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn killed_at_each_call_it_leaves_one_right_record() {
                super::killed_at_each_call(stringify!($name)).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn cut_off_in_the_answer_it_leaves_one_right_record() {
                super::cut_off_in_the_answer(stringify!($name)).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn killed_between_yes_and_ack_it_writes_nothing_again() {
                super::killed_between_yes_and_ack(stringify!($name)).await;
            }
        }
    )*};
}

for_each_crm!(dynamics hubspot monday pipedrive salesforce zoho_crm);
