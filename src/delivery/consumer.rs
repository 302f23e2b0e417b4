//! A consumer attached to a subscription: what it asked for, what it is handed, and the handle by which
//! its stream receives. Dropping the handle detaches it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use super::Error;
use super::budget::Budget;
use super::task::{Command, Snapshot};
use super::window::ConsumerId;
use crate::model::Sequence;
use crate::store::Logged;

/// What a consumer asks for.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Who it is, for timelines and dead letters.
    pub name: String,
    /// At most this many unacknowledged deliveries; `None` for the subscription's limit.
    pub max_outstanding: Option<usize>,
    /// At most this many unacknowledged bytes; `None` for the subscription's limit.
    pub max_outstanding_bytes: Option<usize>,
    /// Acknowledge at hand-off.
    pub auto_ack: bool,
    /// Deliveries wait for `credit` beside the limits.
    pub manual_credit: bool,
    /// What is unacknowledged when it leaves goes to others at once; otherwise at its deadline.
    pub release_on_detach: bool,
    /// The bytes under way on its connection.
    pub budget: Budget,
}

/// What a stream is sent.
#[derive(Debug)]
pub enum Message {
    /// A delivery.
    Delivery(Handed),
    /// The end of what waited was reached.
    CaughtUp {
        /// The head at that moment.
        position: Sequence,
    },
    /// The stream is to end.
    End {
        /// Why.
        reason: EndReason,
        /// The subscription's position.
        position: Sequence,
    },
}

/// One event handed to one consumer.
pub struct Handed {
    /// What to acknowledge it with.
    pub ack_id: String,
    /// The number of this attempt.
    pub attempt: u32,
    /// Until when.
    pub deadline: Timestamp,
    /// An older event again.
    pub replay: bool,
    /// An earlier event of its subject is a dead letter.
    pub gap_before: bool,
    /// The event.
    pub logged: Arc<Logged>,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The stream is old enough.
    Age,
    /// The gateway stops.
    Shutdown,
    /// The subscription was deleted.
    Deleted,
    /// The credential was revoked.
    Revoked,
}

impl EndReason {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            EndReason::Age => "age",
            EndReason::Shutdown => "shutdown",
            EndReason::Deleted => "deleted",
            EndReason::Revoked => "revoked",
        }
    }
}

/// What attaching gives.
pub struct Attachment {
    /// The consumer's number.
    pub id: ConsumerId,
    /// What it is sent.
    pub messages: mpsc::Receiver<Message>,
    /// Tells the task that a stream which had fallen behind has read on.
    pub read_on: Arc<Notify>,
}

/// An attached consumer.
pub struct Consumer {
    id: ConsumerId,
    messages: mpsc::Receiver<Message>,
    read_on: Arc<Notify>,
    commands: mpsc::Sender<Command>,
}

impl Consumer {
    pub(super) fn new(attachment: Attachment, commands: mpsc::Sender<Command>) -> Consumer {
        let Attachment { id, messages, read_on } = attachment;
        Consumer { id, messages, read_on, commands }
    }

    /// The next message; `None` once the subscription is gone.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.messages.recv().await;
        self.tell_read_on();
        message
    }

    /// The next message if one is there already.
    pub fn try_next(&mut self) -> Option<Message> {
        let message = self.messages.try_recv().ok()?;
        self.tell_read_on();
        Some(message)
    }

    /// The task stops handing to a full channel and nothing else need wake it: whoever reads does, once,
    /// on the way down through the middle.
    fn tell_read_on(&self) {
        if self.messages.len() == self.messages.max_capacity() / 2 {
            self.read_on.notify_one();
        }
    }

    /// Allows more deliveries, with `manual_credit`.
    pub async fn credit(&self, deliveries: usize) -> Result<(), Error> {
        let command = Command::Credit { consumer: self.id, deliveries };
        self.commands.send(command).await.map_err(|_| Error::Unavailable)
    }

    /// Asks for no more deliveries; what is outstanding may still be settled.
    pub async fn stop(&self) -> Result<(), Error> {
        let command = Command::Quiet { consumer: self.id };
        self.commands.send(command).await.map_err(|_| Error::Unavailable)
    }

    /// Where the subscription stands, with this consumer's outstanding deliveries.
    pub async fn snapshot(&self) -> Result<(Snapshot, usize), Error> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Snapshot { consumer: self.id, reply };
        self.commands.send(command).await.map_err(|_| Error::Unavailable)?;
        answer.await.map_err(|_| Error::Unavailable)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (commands, consumer) = (self.commands.clone(), self.id);
        if let Err(mpsc::error::TrySendError::Full(command)) =
            commands.try_send(Command::Detach { consumer })
        {
            // The task is busy; the detach must not be lost, or its deliveries would wait for deadlines.
            tokio::spawn(async move {
                let _ = commands.send_timeout(command, Duration::from_secs(60)).await;
            });
        }
    }
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Handed")
            .field("sequence", &self.logged.sequence)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
