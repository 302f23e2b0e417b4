//! What all long streams have in common: they show signs of life, end at a jittered age, end when their
//! credential is revoked, and end when the gateway stops. `grpc-timeout` covers a stream only until its
//! headers and a connection's age never ends one, so each stream keeps its own time.

use std::time::Duration;

use futures::FutureExt;
use rand::Rng;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::auth::Identity;
use super::{Context, convert, proto};
use crate::delivery::EndReason;
use crate::delivery::task::Snapshot;
use crate::delivery::window::Backlog;
use crate::model::Sequence;

/// The share of a stream's age that is taken off at random, so that streams do not all reconnect at once.
const AGE_JITTER: f64 = 0.1;
/// How many messages may go out before a stream looks at what is due.
const MAX_MESSAGES_A_LOOK: u32 = 16;

/// The life of one stream.
pub struct Life {
    identity: Identity,
    stopping: CancellationToken,
    ends_at: Instant,
    heartbeats: Interval,
    /// Messages since it was last looked at what is due.
    messages: u32,
}

/// What a stream's life asks of it.
pub enum Due {
    /// A sign of life.
    Heartbeat,
    /// The end.
    End(EndReason),
}

impl Life {
    /// Of a stream that begins now, with a heartbeat of its own making.
    pub fn new(context: &Context, identity: Identity) -> Life {
        let share = 1.0 - AGE_JITTER * rand::rng().random::<f64>();
        let period = context.settings.heartbeat;
        let mut heartbeats = tokio::time::interval_at(Instant::now() + period, period);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Life {
            identity,
            stopping: context.stopping.clone(),
            ends_at: Instant::now() + context.settings.stream_max_age.mul_f64(share),
            heartbeats,
            messages: 0,
        }
    }

    /// What is due by now, looked at every so many calls: for a stream that always has more to send, and
    /// would never come to `due`.
    pub fn due_between_messages(&mut self) -> Option<Due> {
        self.messages += 1;
        if self.messages < MAX_MESSAGES_A_LOOK {
            return None;
        }
        self.messages = 0;
        self.due().now_or_never()
    }

    /// The next thing due. Safe to drop and call again.
    pub async fn due(&mut self) -> Due {
        if self.identity.is_over() {
            return Due::End(EndReason::Revoked);
        }
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Due::End(EndReason::Shutdown),
            () = self.identity.revoked() => Due::End(EndReason::Revoked),
            () = tokio::time::sleep_until(self.ends_at) => Due::End(EndReason::Age),
            _ = self.heartbeats.tick() => Due::Heartbeat,
        }
    }
}

/// A heartbeat of a subscription.
pub fn heartbeat(context: &Context, snapshot: &Snapshot) -> proto::Heartbeat {
    let now = (context.delivery.shared().clock)();
    proto::Heartbeat {
        position: snapshot.position.0,
        head: snapshot.head.0,
        time: Some(convert::timestamp(now)),
        backlog: Some(backlog(&snapshot.backlog, now)),
        log_epoch: epoch(context),
    }
}

/// A heartbeat of a watch.
pub fn watch_heartbeat(context: &Context, position: Sequence) -> proto::Heartbeat {
    let shared = context.delivery.shared();
    proto::Heartbeat {
        position: position.0,
        head: shared.tail.head().0,
        time: Some(convert::timestamp((shared.clock)())),
        backlog: None,
        log_epoch: epoch(context),
    }
}

/// What waits, on the wire.
pub fn backlog(backlog: &Backlog, now: jiff::Timestamp) -> proto::Backlog {
    let age = backlog.oldest_received_at.map(|oldest| {
        let age = now.duration_since(oldest).max(jiff::SignedDuration::ZERO);
        Duration::try_from(age).unwrap_or_default()
    });
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    proto::Backlog {
        events: number(backlog.events),
        subjects: number(backlog.subjects),
        oldest_age: age.map(convert::duration),
        amounts: backlog.amounts.iter().map(|money| convert::money(*money)).collect(),
        exact: backlog.exact,
    }
}

/// The news that a stream is about to end.
pub fn draining(context: &Context, position: Sequence, reason: EndReason) -> proto::Draining {
    proto::Draining {
        position: position.0,
        log_epoch: epoch(context),
        reason: reason.word().to_owned(),
    }
}

/// The news that the end of what waited was reached.
pub fn caught_up(context: &Context, position: Sequence) -> proto::CaughtUp {
    proto::CaughtUp { position: position.0, log_epoch: epoch(context) }
}

/// The log's epoch on the wire.
pub fn epoch(context: &Context) -> String {
    context.delivery.epoch().0.to_string()
}
