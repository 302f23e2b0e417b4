//! `tollgate send`: makes signed samples, as a provider would send them, and posts them at an endpoint.
//! In come a configured endpoint and an event type; out go requests over real HTTP, and what each was
//! answered. An answer that is not as it should be is a failure. Nothing here may come from a real
//! customer.

mod api;
pub mod samples;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use reqwest::redirect::Policy;
use serde_json::json;

use super::output;
use crate::config::{self, Config};
use crate::http::sample_api;
use crate::ingest::fetch::install_crypto;
use crate::providers::{Endpoint, PROVIDERS, Provider};
use crate::receipt::Request;
use api::Api;
use samples::Sample;

/// How many requests are under way at a time.
const MAX_CONCURRENT_POSTS: usize = 16;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a local API goes on after the last call.
const API_IDLE: Duration = Duration::from_secs(2);
/// How much of an answer is shown, in characters.
const MAX_SHOWN: usize = 80;
/// Up to so many answers are shown one by one.
const MAX_SINGLE_LINES: u32 = 10;

/// Sign and post a provider's sample event at an endpoint
///
/// The sample is signed with the endpoint's own secrets, so the gateway cannot tell it from the
/// provider's. Without EVENT it is one that reports a payment as paid. Each call makes another payment,
/// unless --seed names one: events with the same seed belong to the same payment. Where the endpoint's
/// `_url` settings name an address of this machine, what the gateway fetches is answered there meanwhile.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  A payment at Stripe, paid:
    tollgate send stripe
  One payment's life, step by step:
    tollgate send stripe payment_intent.created --seed 1001
    tollgate send stripe payment_intent.succeeded --seed 1001
  What there is to send:
    tollgate send --list
  A thousand payments, each webhook sent twice as providers sometimes do:
    tollgate send square --count 1000 --duplicate
  A forged one, which must be refused:
    tollgate send adyen --forge")]
pub struct Args {
    /// The provider, for example stripe
    #[arg(required_unless_present = "list")]
    provider: Option<String>,
    /// The provider's event type, for example payment_intent.succeeded
    event: Option<String>,
    /// The endpoint's name, where the provider has several
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The gateway's configuration, which has the endpoint and its secrets
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "tollgate.toml",
        env = "TOLLGATE_CONFIG"
    )]
    config: PathBuf,
    /// Where the gateway takes webhooks; the configured http.listen if not given
    #[arg(long, value_name = "BASE")]
    url: Option<String>,
    /// Which payment it is about; a new one if not given
    #[arg(long, value_name = "SEED")]
    seed: Option<String>,
    /// Send so many, each about another payment
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Send each twice; the second must be accepted and change nothing
    #[arg(long)]
    duplicate: bool,
    /// Let it have happened a day ago
    #[arg(long)]
    late: bool,
    /// Change a byte after signing; the gateway must answer 401
    #[arg(long, conflicts_with = "duplicate")]
    forge: bool,
    /// Show what can be sent and what it reports, and send nothing
    #[arg(long)]
    list: bool,
    /// Print what was answered as JSON
    #[arg(long)]
    json: bool,
}

/// Posts requests as they are.
pub struct Poster {
    client: reqwest::Client,
    base_url: String,
}

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Poster {
    /// Posts below this URL, without a proxy.
    pub fn new(base_url: &str) -> anyhow::Result<Poster> {
        install_crypto();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(ANSWER_WITHIN)
            .build();
        let client = client.context("could not make an HTTP client")?;
        Ok(Poster { client, base_url: base_url.trim_end_matches('/').to_owned() })
    }

    /// Posts a request at its path.
    pub async fn post(&self, request: Request) -> anyhow::Result<Answer> {
        let url = format!("{}{}", self.base_url, request.path);
        let post = self.client.request(request.method, &url).headers(request.headers);
        let answer = post.body(request.body).send().await.with_context(|| {
            format!("no gateway answers at {} (is `tollgate serve` running?)", self.base_url)
        })?;
        let status = answer.status().as_u16();
        let body = answer.text().await.context("the answer broke off")?;
        Ok(Answer { status, body })
    }
}

/// Sends what was asked for.
pub fn run(args: Args) -> anyhow::Result<()> {
    let provider = args.provider.as_deref().map(provider_named).transpose()?;
    let Some(provider) = provider.filter(|_| !args.list) else {
        return list(provider);
    };
    let config = Config::load(&args.config, config::process_environment())?;
    let endpoint = endpoint(&config, provider, args.endpoint.as_deref())?.clone();
    let event_type = match args.event.as_deref() {
        Some(event_type) if provider.events.contains(&event_type) => event_type,
        Some(event_type) => {
            let closest = samples::closest(event_type, provider.events);
            bail!(
                "{} has no event `{event_type}`; did you mean `{closest}`? \
                 `tollgate send {} --list` shows all",
                provider.title,
                provider.name
            );
        }
        None => samples::paid_event(provider, &endpoint),
    };
    let base_url = args.url.clone().unwrap_or_else(|| {
        let mut listen = config.http.listen;
        if listen.ip().is_unspecified() {
            listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{listen}")
    });
    let seed = args.seed.clone().unwrap_or_else(|| hex::encode(rand::random::<[u8; 6]>()));
    let poster = Poster::new(&base_url)?;
    super::block_on(async {
        let api = match sample_api::local_api_of(&endpoint) {
            Some(address) => Some(Api::at(address).await?),
            None => None,
        };
        let order = Order { provider, endpoint, event_type, seed, poster, api };
        order.send(&args).await?;
        order.linger().await
    })
}

/// What is sent, and where to.
struct Order<'a> {
    provider: &'static Provider,
    endpoint: Endpoint,
    event_type: &'a str,
    seed: String,
    poster: Poster,
    /// The provider's API, where the endpoint's settings say that it is on this machine.
    api: Option<Api>,
}

impl Order<'_> {
    async fn send(&self, args: &Args) -> anyhow::Result<()> {
        let started = Instant::now();
        let bar = output::progress(u64::from(args.count), "sent");
        let mut posts = futures::stream::iter(0..args.count)
            .map(|number| self.send_one(args, number))
            .buffer_unordered(MAX_CONCURRENT_POSTS);
        let mut answers = BTreeMap::<u16, u64>::new();
        let mut wrong = None;
        while let Some(sent) = posts.next().await {
            for answer in sent? {
                if args.count <= MAX_SINGLE_LINES && !args.json {
                    output::line(&self.line(&answer))?;
                }
                *answers.entry(answer.status).or_default() += 1;
                if wrong.is_none() && !self.is_expected(&answer, args.forge) {
                    wrong = Some(answer);
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.summarize(args, &answers, started.elapsed())?;
        match wrong {
            Some(answer) => bail!("{}", self.complaint(&answer, args.forge)),
            None => Ok(()),
        }
    }

    async fn send_one(&self, args: &Args, number: u32) -> anyhow::Result<Vec<Answer>> {
        let now = Timestamp::now();
        let day = if args.late { SignedDuration::from_hours(24) } else { SignedDuration::ZERO };
        let seed = match args.count {
            1 => self.seed.clone(),
            _ => format!("{}-{}", self.seed, number + 1),
        };
        let sample = Sample {
            event_type: self.event_type,
            seed: &seed,
            event_id: None,
            occurred_at: now - day,
        };
        let sample = sample.whole(self.provider, &self.endpoint, now)?;
        if let Some(api) = &self.api {
            api.add(&self.poster, sample.answers).await?;
        }
        let mut request = sample.request;
        if args.forge {
            request = samples::forge(self.provider, &self.endpoint, &request, now)?;
        }
        let mut answers = Vec::new();
        for _ in 0..if args.duplicate { 2 } else { 1 } {
            answers.push(self.poster.post(request.clone()).await?);
        }
        Ok(answers)
    }

    /// Goes on answering for the provider's API, since the gateway asks after it has answered.
    async fn linger(&self) -> anyhow::Result<()> {
        if let Some(Api::Here(api)) = &self.api {
            output::note(&format!(
                "(answering for the API of {} for a moment)",
                self.provider.title
            ));
            api.idle(API_IDLE).await;
        }
        Ok(())
    }

    fn is_expected(&self, answer: &Answer, forged: bool) -> bool {
        let reply = self.provider.replies.accepted;
        match forged {
            true => answer.status == self.provider.replies.refused.status,
            false => answer.status == reply.status && answer.body == reply.body,
        }
    }

    fn line(&self, answer: &Answer) -> String {
        let body: String = answer.body.trim().chars().take(MAX_SHOWN).collect();
        let event_type = self.event_type;
        format!("{}  {}  {event_type}  {body}", answer.status, self.endpoint.name)
    }

    fn summarize(
        &self,
        args: &Args,
        answers: &BTreeMap<u16, u64>,
        took: Duration,
    ) -> anyhow::Result<()> {
        let sent: u64 = answers.values().sum();
        if args.json {
            let answers: BTreeMap<String, u64> =
                answers.iter().map(|(status, count)| (status.to_string(), *count)).collect();
            output::json(&json!({
                "endpoint": self.endpoint.name.as_str(),
                "eventType": self.event_type,
                "seed": self.seed,
                "sent": sent,
                "answers": answers,
                "seconds": took.as_secs_f64(),
            }))?;
        } else if args.count > MAX_SINGLE_LINES {
            let number = |count: u64| output::grouped(i64::try_from(count).unwrap_or(i64::MAX));
            let parts: Vec<String> = answers
                .iter()
                .map(|(status, count)| format!("{} answered {status}", number(*count)))
                .collect();
            let (sent, seconds) = (number(sent), took.as_secs_f64());
            output::line(&format!("{sent} sent in {seconds:.1} s: {}", parts.join(", ")))?;
        } else {
            output::note(&format!("(seed {}: --seed sends more about this payment)", self.seed));
        }
        Ok(())
    }

    /// What is wrong with an answer, and where to look.
    fn complaint(&self, answer: &Answer, forged: bool) -> String {
        let replies = &self.provider.replies;
        let expected = if forged { replies.refused.status } else { replies.accepted.status };
        let hint = match answer.status {
            401 => "the gateway's secrets for this endpoint are not those of this configuration",
            404 => "the gateway has no endpoint at this path",
            429 => {
                "the endpoint's rate limit is reached; see http.max_requests_per_second_per_endpoint"
            }
            503 => "the gateway could not store it; its log has the cause",
            _ => "that is not what the provider expects",
        };
        let body: String = answer.body.trim().chars().take(MAX_SHOWN).collect();
        format!(
            "{} answered {} ({body}) where {expected} was expected: {hint}",
            self.endpoint.path, answer.status
        )
    }
}

fn provider_named(name: &str) -> anyhow::Result<&'static Provider> {
    crate::providers::find(name).with_context(|| {
        let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        let closest = samples::closest(name, &names);
        format!("there is no provider `{name}`; did you mean `{closest}`?")
    })
}

fn endpoint<'a>(
    config: &'a Config,
    provider: &Provider,
    name: Option<&str>,
) -> anyhow::Result<&'a Endpoint> {
    let mut of_provider =
        config.endpoints.iter().filter(|endpoint| endpoint.name.provider() == provider.name);
    let Some(name) = name else {
        let first = of_provider.next().with_context(|| {
            format!("the configuration has no endpoint of provider `{}`", provider.name)
        })?;
        if let Some(other) = of_provider.next() {
            bail!("--endpoint must say which: there are {} and {}", first.name, other.name);
        }
        return Ok(first);
    };
    let full = format!("{}/{name}", provider.name);
    of_provider
        .find(|endpoint| endpoint.name.as_str() == full || endpoint.name.as_str() == name)
        .with_context(|| format!("the configuration has no endpoint `{full}`"))
}

/// Shows what can be sent.
fn list(only: Option<&'static Provider>) -> anyhow::Result<()> {
    let providers = PROVIDERS.iter().filter(|one| only.is_none_or(|only| only.name == one.name));
    let mut rows = Vec::new();
    for provider in providers {
        let endpoint = samples::made_up_endpoint(provider, "main")?;
        for event_type in provider.events {
            let says = samples::meaning(provider, &endpoint, event_type);
            rows.push([provider.name.to_owned(), (*event_type).to_owned(), says]);
        }
    }
    output::table(["PROVIDER", "EVENT", "REPORTS"], &rows, "nothing can be sent")?;
    Ok(())
}
