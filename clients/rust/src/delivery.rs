//! One attempt of the gateway to hand one event to this process. In goes the gateway's message, out goes
//! exactly one word about it (ack or nack), carried by the stream that it came on and by no other. Nothing
//! is settled that was not asked for: an unsettled delivery that is dropped comes again.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    error::Error,
    proto::{self, AckStatus, Event, nack::Kind},
};

/// The gateway's limits, in bytes. What is longer is cut: refused, it would end the whole stream.
const MAX_EXTERNAL_REF_BYTES: usize = 256;
const MAX_OUTCOME_BYTES: usize = 64;
const MAX_REASON_BYTES: usize = 1_024;
/// The gateway's limit of a wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// An event to handle. Settle it with [`ack`](Self::ack) or one of its kin.
///
/// While it is held, its deadline is extended in the background, up to the subscription's
/// [`max_extension`](crate::SubscriptionBuilder::max_extension). Dropped unsettled, it is not extended any
/// more and nothing is said about it: its deadline passes and the event is delivered again.
#[must_use = "a delivery that is not settled comes again after its deadline"]
pub struct Delivery {
    ack_id: String,
    event: Box<Event>,
    attempt: u32,
    replay: bool,
    gap_before: bool,
    /// Emptied once it is settled.
    commands: Option<mpsc::UnboundedSender<Command>>,
}

/// What a delivery has its stream's task do. There is at most one for each delivery, so what the gateway
/// allows to be outstanding bounds the channel too.
pub(crate) enum Command {
    /// It is done.
    Ack(proto::Ack, Option<Answer>),
    /// It is given back.
    Nack(proto::Nack, Answer),
    /// It was dropped; its ack id.
    Abandon(String),
}

/// Where the gateway's answer goes. Dropped, it says that there will be none.
pub(crate) type Answer = oneshot::Sender<AckStatus>;

impl Delivery {
    /// `None` if the gateway sent no event with it.
    pub(crate) fn new(
        message: proto::Delivery,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Option<Self> {
        Some(Self {
            ack_id: message.ack_id,
            event: Box::new(message.event?),
            attempt: u32::try_from(message.attempt).unwrap_or(0),
            replay: message.replay,
            gap_before: message.gap_before,
            commands: Some(commands),
        })
    }

    /// The event. Its `name` is the same each time that it is delivered.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it is an older event again, after a seek or the replay of a dead letter.
    pub fn replay(&self) -> bool {
        self.replay
    }

    /// Whether an earlier event of the same subject is among the dead letters.
    pub fn gap_before(&self) -> bool {
        self.gap_before
    }

    /// The id of this delivery, for logs.
    pub fn ack_id(&self) -> &str {
        &self.ack_id
    }

    /// Says that the event is handled. It is said at once; awaited, it tells what the gateway made of it,
    /// and `Applied` or `Duplicate` is durable.
    pub fn ack(self) -> Settling {
        self.ack_with("", "")
    }

    /// The same, with the record that was written elsewhere (at most 256 bytes are kept) and what was done
    /// (`created`, `updated`, `unchanged`; at most 64 bytes), for the event's timeline.
    pub fn ack_with(self, external_ref: impl Into<String>, outcome: impl Into<String>) -> Settling {
        let external_ref = cut(external_ref.into(), MAX_EXTERNAL_REF_BYTES);
        let outcome = cut(outcome.into(), MAX_OUTCOME_BYTES);
        self.settle(|ack_id, answer| {
            Command::Ack(proto::Ack { ack_id, external_ref, outcome }, Some(answer))
        })
    }

    /// Says that the event is handled without a way to learn the answer: the cheapest. If the connection
    /// breaks before the gateway has it, the event comes again.
    pub fn ack_later(mut self) {
        let ack = proto::Ack { ack_id: std::mem::take(&mut self.ack_id), ..Default::default() };
        self.tell(Command::Ack(ack, None));
    }

    /// It failed: again after the subscription's backoff. Counts as an attempt. At most 1,024 bytes of the
    /// reason are kept.
    pub fn nack(self, reason: impl Into<String>) -> Settling {
        self.give_back(Kind::Retry, None, reason.into())
    }

    /// It failed: again after `wait`, at most a day. Counts as an attempt.
    pub fn retry_after(self, wait: Duration, reason: impl Into<String>) -> Settling {
        self.give_back(Kind::Retry, Some(wait), reason.into())
    }

    /// It could not be tried, for example for a rate limit: again after `wait`, at most a day. Counts as no
    /// attempt.
    pub fn throttled(self, wait: Duration) -> Settling {
        self.give_back(Kind::Throttled, Some(wait), String::new())
    }

    /// It will never work: put it aside now.
    pub fn dead_letter(self, reason: impl Into<String>) -> Settling {
        self.give_back(Kind::DeadLetter, None, reason.into())
    }

    fn give_back(self, kind: Kind, wait: Option<Duration>, reason: String) -> Settling {
        let reason = cut(reason, MAX_REASON_BYTES);
        let retry_after = wait.map(|wait| {
            let wait = wait.min(MAX_RETRY_AFTER);
            prost_types::Duration::try_from(wait).expect("a day fits")
        });
        self.settle(|ack_id, answer| {
            let kind = kind.into();
            Command::Nack(proto::Nack { ack_id, kind, reason, retry_after }, answer)
        })
    }

    fn settle(mut self, command: impl FnOnce(String, Answer) -> Command) -> Settling {
        let (sender, answer) = oneshot::channel();
        let command = command(std::mem::take(&mut self.ack_id), sender);
        self.tell(command);
        Settling { answer }
    }

    fn tell(&mut self, command: Command) {
        if let Some(commands) = self.commands.take() {
            // Fails when the stream has ended; the answer's sender, dropped with the command, tells.
            let _ = commands.send(command);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let ack_id = std::mem::take(&mut self.ack_id);
        self.tell(Command::Abandon(ack_id));
    }
}

impl fmt::Debug for Delivery {
    /// Shows no personal data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("ack_id", &self.ack_id)
            .field("event", &self.event.name)
            .field("attempt", &self.attempt)
            .field("replay", &self.replay)
            .field("gap_before", &self.gap_before)
            .finish()
    }
}

/// A delivery that was settled, on its way to the gateway. What was said is sent whether this is awaited or
/// not.
#[must_use = "await it to know that the gateway has it, or use `ack_later`"]
#[derive(Debug)]
pub struct Settling {
    answer: oneshot::Receiver<AckStatus>,
}

impl Future for Settling {
    type Output = Result<AckStatus, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map_err(|_| Error::Disconnected)
    }
}

/// The text up to `max_bytes`, ending with a whole character.
fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> (Delivery, mpsc::UnboundedReceiver<Command>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let message = proto::Delivery {
            ack_id: "a1".into(),
            event: Some(Event::default()),
            ..Default::default()
        };
        (Delivery::new(message, sender).expect("it has an event"), receiver)
    }

    #[test]
    fn dropped_it_is_abandoned_and_nothing_else() {
        let (delivery, mut commands) = delivery();
        drop(delivery);
        assert!(matches!(commands.try_recv(), Ok(Command::Abandon(ack_id)) if ack_id == "a1"));
        assert!(commands.try_recv().is_err());
    }

    #[test]
    fn settled_it_says_one_word_even_if_nobody_awaits_the_answer() {
        let (delivery, mut commands) = delivery();
        drop(delivery.ack());
        assert!(
            matches!(commands.try_recv(), Ok(Command::Ack(ack, Some(_))) if ack.ack_id == "a1")
        );
        assert!(commands.try_recv().is_err());
    }

    #[tokio::test]
    async fn settled_after_its_stream_ended_it_is_disconnected() {
        let (delivery, commands) = delivery();
        drop(commands);
        assert!(matches!(delivery.ack().await, Err(Error::Disconnected)));
    }

    #[test]
    fn what_the_gateway_would_refuse_is_cut() {
        let (delivery, mut commands) = delivery();
        drop(delivery.retry_after(Duration::MAX, "é".repeat(600)));
        let Ok(Command::Nack(nack, _)) = commands.try_recv() else { panic!("no nack") };
        assert_eq!(nack.reason.len(), 1_024);
        assert_eq!(nack.retry_after.map(|wait| wait.seconds), Some(86_400));
    }
}
