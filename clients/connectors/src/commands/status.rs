//! `tollgate-connect <crm> status`: tells where the subscription stands, and what the running process says of
//! itself. In come the gateway's answer and the process's `/status`; it changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tollgate_client::Error;
use tollgate_client::proto::{GetSubscriptionRequest, Subscription};

use super::output;
use super::target::{OneFile, Target};
use crate::api;
use crate::crms::Kind;
use crate::gateway;
use crate::report::status::{Status, Statuses};

/// How long the running process has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Show where the connector stands
///
/// Asks the gateway how far the subscription has come and what waits, in events and money, and the running
/// process, if `[connector] listen` is set, what it gets done, what the CRM still allows, and what went
/// wrong of late.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
    tollgate-connect CRM_NAME status
    tollgate-connect CRM_NAME status --config CRM_NAME-eu.toml --json

Exit status: 0 the gateway answered, 1 it did not, or has no such subscription.")]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: OneFile,
}

/// Asks both and prints what they say.
pub fn run(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    super::block_on(show(kind, args))
}

async fn show(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    let target = args.file.open(kind)?;
    // A gateway that is away must not hide what the process says.
    let (subscription, process) = tokio::join!(subscription(&target), process(&target));
    if args.json {
        let subscription = subscription?;
        let process = process.ok();
        let both = json!({
            "subscription": subscription_json(&subscription),
            "connector": process,
        });
        return Ok(output::line(&both.to_string())?);
    }
    if let Ok(subscription) = &subscription {
        output::details(&gateway_rows(subscription))?;
        output::line("")?;
    }
    match process {
        Ok(status) => {
            output::details(&process_rows(&status))?;
            troubles(&status)?;
        }
        Err(why) => output::line(&format!("process  {why}"))?,
    }
    subscription.map(drop)
}

async fn subscription(target: &Target) -> anyhow::Result<Subscription> {
    let gateway = &target.config.gateway;
    let client = gateway::client(gateway)?;
    let request = GetSubscriptionRequest { subscription: gateway.subscription.clone() };
    let got = client.subscriptions().get_subscription(request).await.map_err(Error::from);
    let got = got.with_context(|| format!("the gateway at {}", gateway.address))?;
    Ok(got.into_inner().subscription.unwrap_or_default())
}

/// What the running process says of this target, or why there is nothing.
async fn process(target: &Target) -> Result<Status, String> {
    let Some(listen) = target.config.connector.listen else {
        return Err("not asked: `connector.listen` is not set".to_owned());
    };
    let address = reachable(listen);
    let request = api::client(PATIENCE).get(format!("http://{address}/status"));
    let answer = api::send(request).await;
    let answer = answer.map_err(|why| format!("no answer at {address}: {why}"))?;
    let told: Statuses = serde_json::from_slice(&answer.body)
        .map_err(|_| format!("what answers at {address} is no connector"))?;
    let mine = told.connectors.into_iter().find(|status| status.target == target.name);
    mine.ok_or_else(|| format!("the process at {address} does not run `{}`", target.name))
}

/// Where a listener on all addresses is asked.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn gateway_rows(subscription: &Subscription) -> [(&'static str, String); 6] {
    [
        ("subscription", short_name(subscription).to_owned()),
        ("state", if subscription.paused { "paused" } else { "runs" }.to_owned()),
        ("position", format!("{} of {}", subscription.position, subscription.head)),
        ("waits", backlog(subscription)),
        ("held back", counted(subscription.held_back, "subject")),
        ("dead letters", subscription.dead_letters.to_string()),
    ]
}

fn process_rows(status: &Status) -> Vec<(&'static str, String)> {
    let quota = &status.quota;
    let left = match (quota.remaining, quota.limit) {
        (Some(left), Some(limit)) => {
            format!("{} of {} calls left today", output::grouped(left), output::grouped(limit))
        }
        (Some(left), None) => format!("{} calls left today", output::grouped(left)),
        (None, _) => String::new(),
    };
    let blocked = quota
        .blocked_seconds
        .map(|seconds| format!("nothing is sent for {seconds:.0} s: {}", quota.blocked_reason));
    let outcomes = status.acks.iter().flat_map(|(object, outcomes)| {
        outcomes.iter().map(move |(outcome, count)| {
            let of = if object.is_empty() { "" } else { " " };
            format!("{object}{of}{outcome} {}", output::grouped(*count))
        })
    });
    let given_back =
        status.nacks.iter().map(|(kind, count)| format!("{kind} {}", output::grouped(*count)));
    let rates = &status.throughput;
    vec![
        ("process", if status.healthy { "works" } else { "does not work" }.to_owned()),
        ("why", status.reason.clone()),
        ("signed in as", status.identity.clone()),
        ("gateway", if status.connected { "connected" } else { "not connected" }.to_owned()),
        (
            "throughput",
            format!(
                "{:.1} events/s over the last minute, {:.1} over 15",
                rates.last_1_minute, rates.last_15_minutes
            ),
        ),
        ("acknowledged", outcomes.collect::<Vec<_>>().join(", ")),
        ("given back", given_back.collect::<Vec<_>>().join(", ")),
        (
            "calls",
            format!(
                "{}, {} throttled, {} failed",
                output::grouped(quota.calls),
                output::grouped(quota.throttled),
                output::grouped(quota.failed)
            ),
        ),
        ("quota", left),
        ("blocked", blocked.unwrap_or_default()),
    ]
}

fn troubles(status: &Status) -> std::io::Result<()> {
    for trouble in &status.last_errors {
        output::line(&format!(
            "{}  {:<11}  {}  {}  {}",
            trouble.at, trouble.kind, trouble.event, trouble.trace_id, trouble.reason
        ))?;
    }
    Ok(())
}

/// `about 3 events of 2 subjects, 12.50 EUR, oldest 4m`
fn backlog(subscription: &Subscription) -> String {
    let Some(backlog) = subscription.backlog.as_ref().filter(|backlog| backlog.events > 0) else {
        return "nothing".to_owned();
    };
    let about = if backlog.exact { "" } else { "about " };
    let mut text = format!("{about}{}", counted(backlog.events, "event"));
    if backlog.subjects > 0 {
        text.push_str(&format!(" of {}", counted(backlog.subjects, "subject")));
    }
    for amount in &backlog.amounts {
        text.push_str(", ");
        text.push_str(&output::money(amount.minor_units, &amount.currency));
    }
    if let Some(oldest) = &backlog.oldest_age {
        text.push_str(&format!(", oldest {}", output::span(oldest.seconds)));
    }
    text
}

fn subscription_json(subscription: &Subscription) -> serde_json::Value {
    let backlog = subscription.backlog.clone().unwrap_or_default();
    let amounts = backlog
        .amounts
        .iter()
        .map(|amount| json!({ "minorUnits": amount.minor_units, "currency": amount.currency }));
    json!({
        "name": short_name(subscription),
        "paused": subscription.paused,
        "position": subscription.position,
        "head": subscription.head,
        "outstanding": subscription.outstanding,
        "heldBack": subscription.held_back,
        "deadLetters": subscription.dead_letters,
        "backlog": {
            "events": backlog.events,
            "subjects": backlog.subjects,
            "oldestAgeSeconds": backlog.oldest_age.map_or(0, |age| age.seconds),
            "amounts": amounts.collect::<Vec<_>>(),
            "exact": backlog.exact,
        },
    })
}

fn short_name(subscription: &Subscription) -> &str {
    subscription.name.strip_prefix("subscriptions/").unwrap_or(&subscription.name)
}

fn counted(number: i64, what: &str) -> String {
    output::counted(number.max(0).unsigned_abs(), what)
}

#[cfg(test)]
mod tests {
    use tollgate_client::proto::{Backlog, Money};

    use super::*;

    #[test]
    fn what_waits_is_told_in_events_and_money() {
        let mut subscription = Subscription { position: 3, head: 5, ..Subscription::default() };
        assert_eq!(backlog(&subscription), "nothing");
        subscription.backlog = Some(Backlog {
            events: 1_200,
            subjects: 1,
            amounts: vec![Money { minor_units: 1_250, currency: "EUR".to_owned() }],
            exact: false,
            ..Backlog::default()
        });
        assert_eq!(backlog(&subscription), "about 1,200 events of 1 subject, 12.50 EUR");
        assert_eq!(subscription_json(&subscription)["backlog"]["events"], 1_200);
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_this_machine() {
        let asked = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(asked("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(asked("[::]:9464"), "[::1]:9464");
        assert_eq!(asked("10.0.0.7:9464"), "10.0.0.7:9464");
    }
}
