//! Calls of HubSpot's API, within both of its budgets. In comes a path and a body, out goes an answer of
//! success, or a refusal that says whether it is about the call or about rows in it. What answers tell
//! about limits is passed to the budget. A token must never be shown.

use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value as Json;

use super::answer::{self, Problem, Refused};
use super::{Hubspot, ROLLING, SECONDLY};
use crate::api::{Answer, Api};
use crate::crm::Fault;

/// Where the day's quota begins anew is not known: one call finds out after this.
const DAILY_RETRY: Duration = Duration::from_secs(15 * 60);
/// The wait while an account moves to another data centre, where none is told.
const MOVING: Duration = Duration::from_secs(60);
/// HubSpot asks for this wait at the least before a locked record is tried again.
pub(super) const LOCKED: Duration = Duration::from_secs(2);
/// HubSpot's status for an account that is moving to another data centre.
const MOVING_STATUS: u16 = 477;

impl Hubspot {
    /// Reads something.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Fault> {
        let answer = self.send(&self.records, Method::GET, path, None).await?;
        self.judged(answer).map_err(Refused::into_fault)
    }

    /// Does something with records.
    pub(super) async fn post(&self, path: &str, body: &Json) -> Result<Answer, Refused> {
        self.judged(self.send(&self.records, Method::POST, path, Some(body)).await?)
    }

    /// Searches. Searches have a limit of their own, and are taken to count as calls besides.
    pub(super) async fn post_search(&self, path: &str, body: &Json) -> Result<Answer, Refused> {
        // The permit for a call is not held while others have to wait for their search.
        self.search.budget().ready(1).await;
        let _permit = self.records.budget().acquire(1).await?;
        self.judged(self.send(&self.search, Method::POST, path, Some(body)).await?)
    }

    async fn send(
        &self,
        api: &Api,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<Answer, Fault> {
        let url = format!("{}{path}", self.base);
        let is_expired =
            |answer: &Answer| answer.status == StatusCode::UNAUTHORIZED && !self.has_static_token;
        let answer = api.call(
            1,
            |client, token| {
                let request = client.request(method.clone(), &url);
                let request = request.bearer_auth(token.secret.expose_secret());
                match body {
                    Some(body) => request.json(body),
                    None => request,
                }
            },
            is_expired,
        );
        let answer = answer.await?;
        self.note_limits(&answer);
        Ok(answer)
    }

    /// What the answer tells about the account's limits. Answers to searches tell nothing.
    fn note_limits(&self, answer: &Answer) {
        let number = |name: &str| answer.header(name)?.trim().parse::<u64>().ok();
        let budget = self.records.budget();
        let is_rolling = number("x-hubspot-ratelimit-interval-milliseconds")
            .is_some_and(|interval| u128::from(interval) == ROLLING.as_millis());
        if let Some(max) = number("x-hubspot-ratelimit-max").filter(|_| is_rolling) {
            budget.set_points(0, self.calls_set.map_or(max, |set| set.min(max)));
        }
        if let Some(remaining) = number("x-hubspot-ratelimit-daily-remaining") {
            budget.daily(remaining, number("x-hubspot-ratelimit-daily"), self.until_midnight());
        }
    }

    /// Until the account's next day begins, where its time zone is known.
    fn until_midnight(&self) -> Option<Duration> {
        let now = Timestamp::now();
        let today = now.to_zoned_datetime(self.zone.get()?.clone());
        let midnight = today.tomorrow().and_then(|tomorrow| tomorrow.start_of_day()).ok()?;
        Duration::try_from(midnight.timestamp().duration_since(now)).ok()
    }

    /// What the answer's status means for the call.
    fn judged(&self, answer: Answer) -> Result<Answer, Refused> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let problem = Problem::of(&answer);
        let reason = problem.told();
        match answer.status.as_u16() {
            429 => Err(self.throttled(&answer, &problem)),
            MOVING_STATUS => {
                let wait = answer.retry_after().unwrap_or(MOVING);
                self.block(wait, &reason);
                Err(Fault::Throttled { wait, reason }.into())
            }
            401 => {
                tracing::error!(reason, "HubSpot refuses the credential; somebody must act");
                Err(Fault::Unauthorized { reason }.into())
            }
            // A proxy's page and no word of HubSpot's.
            400 | 403 | 404 | 409 if !problem.is_hubspots() => {
                Err(Fault::Transient { reason, wait: answer.retry_after() }.into())
            }
            // There is no such path; records that are not there have a category of their own.
            404 if problem.category() != "OBJECT_NOT_FOUND" => {
                Err(Fault::permanent(problem.code(), reason).into())
            }
            400 | 404 | 409 | 413 | 423 => Err(Refused::Rows(problem)),
            402..=499 if answer.status != StatusCode::REQUEST_TIMEOUT => {
                Err(Fault::permanent(problem.code(), reason).into())
            }
            _ => Err(Fault::Transient { reason, wait: answer.retry_after() }.into()),
        }
    }

    /// HubSpot names the limit and seldom a wait.
    fn throttled(&self, answer: &Answer, problem: &Problem) -> Refused {
        let reason = problem.told();
        let told = answer.retry_after();
        let wait = match problem.policy() {
            answer::Policy::Daily => {
                let reset = self.until_midnight().or(told).unwrap_or(DAILY_RETRY);
                self.block(reset, &reason);
                reset
            }
            answer::Policy::Secondly => {
                let wait = told.unwrap_or(SECONDLY);
                self.search.budget().throttled(wait, &reason);
                wait
            }
            answer::Policy::Rolling => {
                let wait = told.unwrap_or(ROLLING);
                self.block(wait, &reason);
                wait
            }
        };
        Fault::Throttled { wait, reason }.into()
    }

    /// Nothing is sent to the account before.
    fn block(&self, wait: Duration, reason: &str) {
        self.records.budget().throttled(wait, reason);
        self.search.budget().throttled(wait, reason);
    }
}
