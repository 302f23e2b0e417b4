//! Subjects that always fail beside subjects that do not: with 100 of 10,000 stuck, the other 9,900 must
//! keep their throughput. Both are measured over the same backlog in the same round, once with all acked
//! and once with the 100 always nacked; what is counted is the acks of the 9,900.

use std::time::Instant;

use tollgate_client::proto::{Delivery, Event};

use crate::consumer::{Goal, Verdict, consume};
use crate::gateway::{Gateway, Start};
use crate::run::Run;
use crate::sample::{number_of, subject_of};
use crate::seen::Seen;
use crate::table::{Aim, Row};

/// Measures.
pub async fn measure(run: &mut Run) -> anyhow::Result<()> {
    let sizes = run.sizes;
    let gateway = run.gateway().await?;
    let name = format!("filling a log with {} subjects", sizes.subjects);
    gateway.fill(sizes.events, Some(sizes.subjects), name).await?;
    let (mut sound, mut beside_stuck) = (vec![], vec![]);
    for round in 1..=run.rounds {
        for (stuck, figures) in [(0, &mut sound), (sizes.stuck_subjects, &mut beside_stuck)] {
            let name = format!("stuck-{round}-{stuck}");
            eprintln!("{} subjects, {stuck} of them stuck, round {round}", sizes.subjects);
            let (checked, per_second) = work_off(run, &gateway, &name, stuck).await?;
            figures.push(per_second);
            run.check(&name, checked);
            gateway.delete(&name).await?;
        }
    }
    let row = Row::new("10,000 subjects, 100 always nack: the other 9,900", "events/s");
    let row = row.figures(&beside_stuck).beside("none nacks", &sound);
    run.table.add(row.aim(Aim::RatioAtLeast(0.95)));
    Ok(())
}

/// Works off the whole log, nacking the first subjects; events a second of those that are never nacked.
async fn work_off(
    run: &Run,
    gateway: &Gateway,
    name: &str,
    stuck: u64,
) -> anyhow::Result<(anyhow::Result<()>, f64)> {
    let sizes = run.sizes;
    let counts = |subject: u64| subject >= sizes.stuck_subjects;
    let counted = (0..sizes.events).filter(|number| counts(number % sizes.subjects)).count() as u64;
    let expected = if stuck == 0 { sizes.events } else { counted };
    gateway.create(name, Start::Earliest, true).await?;
    let goal = Goal::acks(expected);
    let (accepted, seen) = (Seen::none_of(0..sizes.events), Seen::none_of(0..sizes.events));
    for number in (0..sizes.events).filter(|number| counts(number % sizes.subjects)) {
        accepted.mark(Some(number));
    }
    let begun = Instant::now();
    let mut ended = begun;
    let mut left = counted;
    consume(gateway, name.to_owned(), goal.clone(), |delivery: &Delivery| {
        let Some(event) = &delivery.event else { return Verdict::Ack };
        let subject = subject_of(&event.subject).unwrap_or(u64::MAX);
        if !counts(subject) {
            return if subject < stuck { Verdict::Nack } else { Verdict::Ack };
        }
        take(event, &seen);
        left = left.saturating_sub(1);
        if left == 0 {
            ended = Instant::now();
        }
        Verdict::Ack
    })
    .await?;
    let checked = seen.same_as(&accepted).and_then(|()| goal.complete());
    Ok((checked, counted as f64 / (ended - begun).as_secs_f64()))
}

fn take(event: &Event, seen: &Seen) {
    seen.mark(number_of(&event.provider_event_id));
}
