//! `tollgate doctor`: says why a provider's request does not verify. In comes a captured request with the
//! configuration, or what a running gateway refused of late; out come the changes with which it would have
//! verified, and what to do. It sends nothing to anybody and shows no secret.

mod request_file;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate_client::proto::{ListRefusedRequestsRequest, RefusedRequest};

use super::connection::{Connection, refused};
use super::{output, wire_text};
use crate::config::{self, Config};
use crate::providers::diagnosis::{Case, Diagnosis, diagnose};
use crate::providers::{self, Endpoint};

/// Say why a provider's request does not verify
///
/// FILE holds the request as it came: the request line, headers, an empty line and the body, or JSON with
/// method, url, headers and body (or body_base64). It is held against the endpoint's secrets; if it does not
/// verify, known mistakes are tried: the secret of another endpoint or mode, a secret copied with a blank, a
/// proxy that changes the URL, the body or the headers, a clock. No secret is shown.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  A request that was captured:
    tollgate doctor stripe --request request.http
    tollgate doctor square --request request.json --endpoint main
  What a running gateway refused (needs http.keep_refused = true and a token with the scope admin):
    tollgate doctor stripe --from-gateway")]
pub struct Args {
    /// The provider, for example stripe
    provider: String,
    /// The captured request
    #[arg(long, value_name = "FILE", required_unless_present = "from_gateway")]
    request: Option<PathBuf>,
    /// Ask a running gateway for what it refused
    #[arg(long, conflicts_with = "request")]
    from_gateway: bool,
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
    /// The provider's key that the request names, as its API answered, for providers that sign with one
    #[arg(long, value_name = "FILE", requires = "request")]
    key: Option<PathBuf>,
    /// The time to hold the request against, 2026-11-24T12:00:00Z; now if not given
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Does what was asked for; an error unless the request verifies.
pub fn run(args: Args) -> anyhow::Result<()> {
    let provider = providers::find(&args.provider)
        .with_context(|| format!("there is no provider `{}`", args.provider))?;
    let Some(path) = &args.request else {
        return super::block_on(from_gateway(&args));
    };
    let request = request_file::read(path)?;
    let config = Config::load(&args.config, config::process_environment())?;
    let (endpoint, others) = endpoints(&config, provider.name, args.endpoint.as_deref())?;
    let now = args.now.unwrap_or_else(Timestamp::now);
    let key = args.key.as_deref().map(request_file::read_key).transpose()?;
    let case = Case {
        provider,
        endpoint: &endpoint,
        others: &others,
        request: &request,
        now,
        key: key.as_ref(),
    };
    let diagnosis = diagnose(case);
    match args.json {
        true => output::json(&as_json(&endpoint, &diagnosis))?,
        false => show(&endpoint, &diagnosis)?,
    }
    match diagnosis {
        Diagnosis::Verified(_) => Ok(()),
        Diagnosis::Explained(_) => bail!("it does not verify as it is"),
        Diagnosis::NeedsKey(_) => bail!("whether it verifies cannot be told offline"),
        Diagnosis::Unexplained { .. } => bail!("it does not verify"),
    }
}

/// The endpoint that is meant, and the provider's other ones.
fn endpoints(
    config: &Config,
    provider: &str,
    name: Option<&str>,
) -> anyhow::Result<(Endpoint, Vec<Endpoint>)> {
    let of_provider = config.endpoints.iter().filter(|one| one.name.provider() == provider);
    let (mut meant, mut others): (Vec<Endpoint>, Vec<Endpoint>) =
        of_provider.cloned().partition(|one| {
            name.is_none_or(|name| one.name.name() == name || one.name.as_str() == name)
        });
    if meant.len() > 1 {
        let names: Vec<&str> = meant.iter().map(|one| one.name.as_str()).collect();
        bail!("--endpoint must say which: there are {}", names.join(", "));
    }
    let meant = meant.pop().with_context(|| match name {
        Some(name) => format!("the configuration has no endpoint `{provider}/{name}`"),
        None => format!("the configuration has no endpoint of provider `{provider}`"),
    })?;
    others.retain(|other| other.name != meant.name);
    Ok((meant, others))
}

fn show(endpoint: &Endpoint, diagnosis: &Diagnosis) -> std::io::Result<()> {
    let name = &endpoint.name;
    match diagnosis {
        Diagnosis::Verified(by) => output::line(&format!("It verifies at {name}, by {by}.")),
        Diagnosis::Explained(findings) => {
            output::line(&format!("It does not verify at {name} as it is. It verifies:"))?;
            for finding in findings {
                show_finding(finding.cause.word(), &finding.found, &finding.advice)?;
            }
            Ok(())
        }
        Diagnosis::NeedsKey(key) => output::line(&format!(
            "It names the provider's key `{key}`, which a gateway fetches; give what the provider's API \
             answers for it with --key FILE."
        )),
        Diagnosis::Unexplained { reason, attempts } => output::line(&format!(
            "It does not verify at {name}: {reason}. None of {attempts} known mistakes explains it: it \
             may be another endpoint's, or forged, or the capture is not what was sent."
        )),
    }
}

fn show_finding(cause: &str, found: &str, advice: &str) -> std::io::Result<()> {
    output::line(&format!("  {cause:<7} {found}"))?;
    output::line(&format!("          {advice}"))
}

fn as_json(endpoint: &Endpoint, diagnosis: &Diagnosis) -> Value {
    let name = endpoint.name.as_str();
    match diagnosis {
        Diagnosis::Verified(by) => json!({ "endpoint": name, "verified": true, "verifiedBy": by }),
        Diagnosis::Explained(findings) => {
            let findings: Vec<Value> = findings
                .iter()
                .map(|finding| {
                    json!({
                        "cause": finding.cause.word(),
                        "found": finding.found,
                        "advice": finding.advice,
                    })
                })
                .collect();
            json!({ "endpoint": name, "verified": false, "findings": findings })
        }
        Diagnosis::NeedsKey(key) => json!({ "endpoint": name, "verified": false, "needsKey": key }),
        Diagnosis::Unexplained { reason, attempts } => {
            json!({ "endpoint": name, "verified": false, "reason": reason, "attempts": attempts })
        }
    }
}

async fn from_gateway(args: &Args) -> anyhow::Result<()> {
    let client = args.connection.connect().await?;
    let endpoint = args.endpoint.as_deref().unwrap_or_default();
    let endpoint = match endpoint.is_empty() || endpoint.contains('/') {
        true => endpoint.to_owned(),
        false => format!("{}/{endpoint}", args.provider),
    };
    let request =
        ListRefusedRequestsRequest { provider: args.provider.clone(), endpoint, diagnose: true };
    let listed = client.admin().list_refused_requests(request).await.map_err(refused)?;
    let requests = listed.into_inner().requests;
    if args.json {
        requests.iter().try_for_each(|request| output::json(&refused_as_json(request)))?;
    } else if requests.is_empty() {
        output::line("no refused requests")?;
    }
    for request in requests.iter().filter(|_| !args.json) {
        show_refused(request)?;
    }
    match requests.len() {
        0 => Ok(()),
        _ => bail!("{} refused", output::counted(i64::try_from(requests.len())?, "request")),
    }
}

fn show_refused(request: &RefusedRequest) -> std::io::Result<()> {
    let at = request.refused_at.as_ref().map(|at| wire_text::time_to_second(at.seconds));
    let raw = request.raw.as_ref();
    let line = raw.map(|raw| format!("{} {}", raw.method, raw.path)).unwrap_or_default();
    let bytes = raw.map_or(0, |raw| raw.body.len());
    output::line(&format!(
        "{}  {}  {line}  {bytes} bytes",
        at.unwrap_or_default(),
        request.endpoint
    ))?;
    output::line(&format!("  refused: {}", request.reason))?;
    match request.verdict.as_str() {
        "" => output::line("  its body was too large to be kept")?,
        verdict => output::line(&format!("  {verdict}"))?,
    }
    let findings = &request.findings;
    findings.iter().try_for_each(|it| show_finding(&it.cause, &it.found, &it.advice))
}

fn refused_as_json(request: &RefusedRequest) -> Value {
    let at = request.refused_at.as_ref().map(|at| wire_text::time(at.seconds, at.nanos));
    let raw = request.raw.clone().unwrap_or_default();
    let headers: Vec<Value> = raw
        .headers
        .iter()
        .map(|header| json!({ "name": header.name, "value": header.value }))
        .collect();
    let findings: Vec<Value> = request
        .findings
        .iter()
        .map(|it| json!({ "cause": it.cause, "found": it.found, "advice": it.advice }))
        .collect();
    json!({
        "endpoint": request.endpoint,
        "refusedAt": at,
        "reason": request.reason,
        "method": raw.method,
        "url": raw.path,
        "headers": headers,
        "body": String::from_utf8_lossy(&raw.body),
        "bodyLeftOut": request.body_left_out,
        "verdict": request.verdict,
        "findings": findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_the_only_one_or_the_one_that_is_named() {
        let one = |name: &str| {
            format!(
                "[[endpoints]]\nprovider = \"stripe\"\nname = \"{name}\"\n\
                 secrets.webhook_secret = \"whsec_{name}\"\n"
            )
        };
        let config = Config::parse(&format!("{}{}", one("a"), one("b")), "t", []).expect("valid");
        let (meant, others) = endpoints(&config, "stripe", Some("b")).expect("there");
        assert_eq!((meant.name.as_str(), others[0].name.as_str()), ("stripe/b", "stripe/a"));
        let which = endpoints(&config, "stripe", None).expect_err("two").to_string();
        assert_eq!(which, "--endpoint must say which: there are stripe/a, stripe/b");
        assert!(endpoints(&config, "square", None).is_err());
    }
}
