//! Calls of one environment's Web API: single ones, and many requests in batches that run side by side. In
//! come requests, out goes one answer or fault for each, in their order. A batch that is refused as a whole
//! is halved until the request that it is refused for is alone. It must never take an answer for a request
//! that it does not belong to.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/api-limits>

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use http::StatusCode;
use reqwest::{Client, RequestBuilder};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::answer::{self, Asked};
use super::batch::{self, Part};
use super::settings::Settings;
use crate::api::{Answer, Api};
use crate::budget::Budget;
use crate::crm::Fault;
use crate::tokens::Token;

const ROOT: &str = "/api/data/v9.2";
/// How long a call is thought to take before the first was made.
const FIRST_ESTIMATE_MS: u64 = 250;
/// One call in so many is what the estimate follows.
const ESTIMATE_WEIGHT: u64 = 8;

/// The Web API of one environment.
pub struct Connection {
    api: Api,
    host: String,
    batch_size: usize,
    /// What the execution time of calls is taken from, in milliseconds.
    execution: Arc<Budget>,
    estimate_ms: AtomicU64,
}

type Outcome = Result<Answer, Fault>;

/// A request and its place among those that were asked for.
type Numbered = (usize, Part);

/// What became of one batch.
enum Exchange {
    /// The answers of the first so many requests; and whether the others were not tried.
    Answered(Vec<Answer>, bool),
    /// It is refused as a whole, for something in it.
    Refused(Answer),
    /// It is not known to be carried out.
    Failed(Fault),
}

impl Connection {
    /// With an API that has the environment's tokens and budget, and the budget of its execution time.
    pub fn new(api: Api, execution: Arc<Budget>, settings: &Settings) -> Connection {
        Connection {
            api,
            host: settings.api_host(),
            batch_size: settings.batch_size,
            execution,
            estimate_ms: AtomicU64::new(FIRST_ESTIMATE_MS),
        }
    }

    /// What limits its calls.
    pub fn budget(&self) -> &Budget {
        self.api.budget()
    }

    /// The host of the API, for people.
    pub fn host(&self) -> &str {
        let bare = self.host.split_once("://").map(|(_, host)| host);
        bare.unwrap_or(&self.host)
    }

    /// How many requests go into a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Reads something that is no row; any answer but a success is a fault.
    pub async fn get(&self, target: &str) -> Outcome {
        let url = format!("{}{ROOT}/{target}", self.host);
        let answer = self.call(1, |client, token| headed(client.get(&url), token)).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(answer::fault(&answer, Asked::Call)),
        }
    }

    /// Sends requests in batches. An answer may be a refusal of its request, but none that passes.
    pub async fn send(&self, parts: Vec<Part>) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = parts.iter().map(|_| None).collect();
        let mut numbered = parts.into_iter().enumerate();
        let mut batches = Vec::new();
        loop {
            let batch: Vec<Numbered> = numbered.by_ref().take(self.batch_size).collect();
            if batch.is_empty() {
                break;
            }
            batches.push(self.send_batch(batch));
        }
        let in_flight = self.budget().max_in_flight();
        let mut done = stream::iter(batches).buffer_unordered(in_flight);
        while let Some(batch) = done.next().await {
            for (index, outcome) in batch {
                outcomes[index] = Some(outcome);
            }
        }
        let unknown = || Err(Fault::transient("the batch had no answer for it"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unknown)).collect()
    }

    async fn send_batch(&self, batch: Vec<Numbered>) -> Vec<(usize, Outcome)> {
        let mut done = Vec::with_capacity(batch.len());
        let mut waiting = vec![batch];
        while let Some(mut batch) = waiting.pop() {
            match self.exchange(&batch).await {
                Exchange::Answered(answers, is_stopped) => {
                    let rest = batch.split_off(answers.len().min(batch.len()));
                    let pairs = batch.into_iter().zip(answers);
                    done.extend(pairs.map(|((index, _), answer)| (index, self.checked(answer))));
                    if is_stopped && !rest.is_empty() {
                        waiting.push(rest);
                    }
                }
                Exchange::Refused(answer) if batch.len() == 1 => {
                    done.push((batch[0].0, self.checked(answer)));
                }
                Exchange::Refused(_) => {
                    let second = batch.split_off(batch.len() / 2);
                    waiting.push(second);
                    waiting.push(batch);
                }
                Exchange::Failed(fault) => {
                    done.extend(batch.iter().map(|(index, _)| (*index, Err(fault.clone()))));
                }
            }
        }
        done
    }

    async fn exchange(&self, batch: &[Numbered]) -> Exchange {
        let parts: Vec<Part> = batch.iter().map(|(_, part)| part.clone()).collect();
        let sent = batch::encode(ROOT, &parts);
        let url = format!("{}{ROOT}/$batch", self.host);
        let called = self.call(parts.len() as u64, |client, token| {
            headed(client.post(&url), token)
                .header("content-type", &sent.content_type)
                .header("prefer", "odata.continue-on-error")
                .body(sent.body.clone())
        });
        let answer = match called.await {
            Ok(answer) => answer,
            Err(fault) => return Exchange::Failed(fault),
        };
        match batch::decode(&answer) {
            // More answers than requests: whose they are is not known.
            Some(answers) if answers.len() > parts.len() => {
                Exchange::Failed(Fault::transient("the batch had more answers than requests"))
            }
            // A CRM that stops at the first failure says so by the status: what follows was not tried.
            Some(answers) => {
                let is_stopped = !answer.status.is_success() && !answers.is_empty();
                Exchange::Answered(answers, is_stopped)
            }
            None if answer::is_about_content(&answer) => Exchange::Refused(answer),
            None => Exchange::Failed(answer::fault(&answer, Asked::Call)),
        }
    }

    /// An answer of a row; one that passes is a fault, and a wait that it asks for holds for all.
    fn checked(&self, answer: Answer) -> Outcome {
        let fault = match answer.status {
            StatusCode::TOO_MANY_REQUESTS => answer::fault(&answer, Asked::Call),
            status if status.is_server_error() || status == 401 || status == 408 => {
                answer::fault(&answer, Asked::Call)
            }
            _ => return Ok(answer),
        };
        self.heed(&fault);
        Err(fault)
    }

    fn heed(&self, fault: &Fault) {
        if let Fault::Throttled { wait, reason } = fault {
            self.budget().throttled(*wait, reason);
        }
    }

    /// One call of so many requests. A 429 and a failure of the server are faults.
    async fn call(
        &self,
        requests: u64,
        request: impl Fn(&Client, &Token) -> RequestBuilder,
    ) -> Outcome {
        // What is waited for here must not count as execution time.
        self.budget().ready(requests).await;
        let estimate = self.estimate_ms.load(Ordering::Relaxed);
        let _slot = self.execution.acquire(estimate).await?;
        let began = Instant::now();
        let answer = self.api.call_any(requests, request, |answer| answer.status == 401).await?;
        self.learn(began.elapsed());
        if answer.status == 429 {
            let fault = answer::fault(&answer, Asked::Call);
            self.heed(&fault);
            return Err(fault);
        }
        if answer.status.is_server_error() && answer.status != 501 {
            let reason = answer.told();
            let pause = self.budget().failed(&reason);
            let wait = answer::wait(&answer).map_or(pause, |wait| wait.max(pause));
            return Err(Fault::Transient { reason, wait: Some(wait) });
        }
        self.budget().succeeded();
        Ok(answer)
    }

    fn learn(&self, took: Duration) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX / ESTIMATE_WEIGHT);
        let before = self.estimate_ms.load(Ordering::Relaxed);
        let after = (before * (ESTIMATE_WEIGHT - 1)).saturating_add(took_ms) / ESTIMATE_WEIGHT;
        self.estimate_ms.store(after.max(1), Ordering::Relaxed);
    }
}

/// With the headers of every call; the cache of a proxy must not answer.
fn headed(request: RequestBuilder, token: &Token) -> RequestBuilder {
    request
        .bearer_auth(token.secret.expose_secret())
        .header("odata-maxversion", "4.0")
        .header("odata-version", "4.0")
        .header("accept", "application/json")
        .header("if-none-match", "null")
}
