//! The webhooks of the double: who asked for them, and how a change of a record is sent. In comes an event, out
//! goes a post with Basic auth, tried four times; a receiver that fails ten first tries is left alone for a
//! while, and one that takes nothing for three days is forgotten. Waits run on the double's clock, so whoever
//! drives it calls [`Webhook::due`] and [`Webhook::deliver`] in turn. It must never sign anything: Pipedrive
//! does not.

use std::{collections::VecDeque, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{callback, clock::after, ids};

/// How long an answer is waited for.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// After which waits an event is sent again.
pub const RETRIES: [Duration; 3] =
    [Duration::from_secs(3), Duration::from_secs(30), Duration::from_secs(150)];
/// So many failed first tries in a row ban the receiver.
pub const FAILURES_TO_BAN: u32 = 10;
/// For how long.
pub const BAN: Duration = Duration::from_secs(30 * 60);
/// After so long without a success the webhook is deleted.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3 * 24 * 60 * 60);
const MAX_WAITING: usize = 10_000;

/// One webhook of the company.
#[derive(Debug)]
pub struct Webhook {
    url: String,
    timeout: Duration,
    authorization: Option<String>,
    waiting: VecDeque<Attempt>,
    failures: u32,
    banned_until: Option<Timestamp>,
    last_success: Timestamp,
    is_deleted: bool,
}

/// What is told of a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `create`, `change` or `delete`.
    pub action: &'static str,
    /// `deal`, `person`, `organization`.
    pub entity: &'static str,
    /// The record's id.
    pub entity_id: u64,
    /// `app` for a person, `api` for a connector.
    pub source: &'static str,
    /// The record as it is.
    pub data: Value,
    /// What was changed, as it was.
    pub previous: Value,
}

#[derive(Clone, Debug)]
struct Attempt {
    id: String,
    change: Change,
    number: u32,
    at: Timestamp,
    happened_at: Timestamp,
}

impl Webhook {
    /// To a URL of the loopback, with the user and password of Basic auth if there are any.
    pub fn new(url: &str, basic: Option<(&str, &str)>, now: Timestamp) -> Webhook {
        let authorization = basic.map(|(user, password)| {
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        Webhook {
            url: url.to_owned(),
            timeout: TIMEOUT,
            authorization,
            waiting: VecDeque::new(),
            failures: 0,
            banned_until: None,
            last_success: now,
            is_deleted: false,
        }
    }

    /// Waits so long for an answer, for tests that have not ten seconds.
    pub fn with_timeout(mut self, timeout: Duration) -> Webhook {
        self.timeout = timeout;
        self
    }

    /// Something happened. It is dropped if the receiver is banned or the webhook deleted.
    pub fn push(&mut self, change: Change, now: Timestamp) {
        let is_banned = self.banned_until.is_some_and(|until| now < until);
        if is_banned || self.is_deleted || self.waiting.len() >= MAX_WAITING {
            return;
        }
        let attempt = Attempt { id: ids::uuid(), change, number: 1, at: now, happened_at: now };
        self.waiting.push_back(attempt);
    }

    /// When the next try is due.
    pub fn due(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|attempt| attempt.at).min()
    }

    /// Whether the receiver is left alone at this time.
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }

    /// Whether the webhook was deleted.
    pub fn is_deleted(&self) -> bool {
        self.is_deleted
    }

    /// Sends what is due, one after the other, and tells how many were taken.
    pub async fn deliver(&mut self, now: Timestamp) -> usize {
        let mut taken = 0;
        let (due, later) = self.waiting.drain(..).partition(|attempt| attempt.at <= now);
        self.waiting = later;
        let due: VecDeque<Attempt> = due;
        for attempt in due {
            if self.post(&attempt).await {
                taken += 1;
                self.failures = 0;
                self.last_success = now;
            } else {
                self.failed(attempt, now);
            }
        }
        if after(self.last_success, FORGOTTEN_AFTER) <= now {
            self.is_deleted = true;
            self.waiting.clear();
        }
        taken
    }

    async fn post(&self, attempt: &Attempt) -> bool {
        let body = Bytes::from(body(attempt).to_string());
        let mut headers = vec![("content-type", "application/json"), ("user-agent", "Pipedrive")];
        headers.extend(self.authorization.as_deref().map(|value| ("authorization", value)));
        let answer = callback::post(&self.url, &headers, body, self.timeout).await;
        answer.is_ok_and(|reply| reply.status.is_success())
    }

    fn failed(&mut self, attempt: Attempt, now: Timestamp) {
        if attempt.number == 1 {
            self.failures += 1;
        }
        if self.failures >= FAILURES_TO_BAN {
            self.failures = 0;
            self.banned_until = Some(after(now, BAN));
        }
        let wait = usize::try_from(attempt.number).ok().and_then(|tried| RETRIES.get(tried - 1));
        if let Some(wait) = wait {
            let at = after(now, *wait);
            self.waiting.push_back(Attempt { number: attempt.number + 1, at, ..attempt });
        }
    }
}

fn body(attempt: &Attempt) -> Value {
    let change = &attempt.change;
    let is_delete = change.action == "delete";
    json!({
        "meta": {
            "action": change.action,
            "entity": change.entity,
            "entity_id": change.entity_id.to_string(),
            "company_id": "4711",
            "user_id": "7",
            "id": attempt.id,
            "correlation_id": attempt.id,
            "version": "2.0",
            "webhook_id": "1",
            "webhook_owner_id": "7",
            "timestamp": format!("{:.3}", attempt.happened_at),
            "type": "general",
            "attempt": attempt.number,
            "host": "acme.pipedrive.com",
            "change_source": change.source,
            "is_bulk_edit": false,
            "permitted_user_ids": ["7"],
        },
        "data": if is_delete { Value::Null } else { change.data.clone() },
        "previous": change.previous,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        let data = json!({ "id": 31 });
        Change {
            action: "change",
            entity: "deal",
            entity_id: 31,
            source: "app",
            data,
            previous: json!({}),
        }
    }

    #[tokio::test]
    async fn an_event_is_tried_four_times_and_a_deaf_receiver_banned_then_forgotten() {
        let start = Timestamp::from_second(1_800_000_000).expect("a time");
        // Nobody listens on the port of a listener that is gone.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        drop(listener);
        let mut webhook = Webhook::new(&url, Some(("u", "p")), start);
        webhook.push(change(), start);
        let mut tries = 0;
        while let Some(due) = webhook.due() {
            assert_eq!(webhook.deliver(due).await, 0);
            tries += 1;
        }
        assert_eq!(tries, 1 + RETRIES.len());
        for _ in 0..FAILURES_TO_BAN {
            webhook.push(change(), start);
        }
        webhook.deliver(start).await;
        assert!(webhook.is_banned(start));
        webhook.deliver(after(start, FORGOTTEN_AFTER)).await;
        assert!(webhook.is_deleted() && webhook.due().is_none());
    }
}
