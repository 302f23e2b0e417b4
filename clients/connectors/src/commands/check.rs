//! `tollgate-connect <crm> check`: holds a configuration against the CRM and the gateway as they are, and
//! says what is wrong in plain words. It reads and never writes.

use anyhow::{Context as _, bail};
use tollgate_client::proto::{GetSubscriptionRequest, LiveMode};
use tollgate_client::{Error, Filter};

use super::output;
use super::target::OneFile;
use crate::check::{self, Finding, Setting, Severity};
use crate::config::{Config, Start};
use crate::crm::{Crm, Fault};
use crate::crms::Kind;
use crate::gateway;

/// Hold the configuration against the CRM and the gateway
///
/// Signs in, reads how the CRM describes each object, and compares: fields that are not there or cannot be
/// written, values that are no option of a choice, statuses without an entry, keys that are not unique,
/// fields that new records must have. Nothing is written anywhere.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
    tollgate-connect CRM_NAME check
    tollgate-connect CRM_NAME check --config CRM_NAME-eu.toml

Exit status: 0 without errors (there may be warnings), 1 with errors or if the CRM does not answer.")]
pub struct Args {
    #[command(flatten)]
    file: OneFile,
}

/// What a CRM tells about a configuration.
pub struct Examined {
    /// Who it is signed in as.
    pub identity: String,
    /// Of each object what people call it, with what was found.
    pub objects: Vec<(String, Vec<Finding>)>,
    /// What was found beside the objects.
    pub beside: Vec<Finding>,
}

/// Prints what is found.
pub fn run(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    super::block_on(show(kind, args))
}

/// Signs in and holds each mapping against the CRM; a fault where the CRM gives no answer to that.
pub async fn examine(config: &Config, crm: &dyn Crm) -> Result<Examined, Fault> {
    let identity = crm.identify().await?;
    let setting = Setting {
        events: &config.gateway.filter,
        facts: crm.facts(),
        takes_labels: crm.takes_labels(),
    };
    let mut objects = Vec::with_capacity(config.objects.len());
    for (index, mapping) in config.objects.iter().enumerate() {
        let at = format!("objects[{index}]");
        let (label, found) = match crm.describe(&mapping.object()).await {
            Ok(description) => {
                let found = check::check(&at, mapping, &description, &setting);
                (format!("{} ({})", mapping.label(), description.label), found)
            }
            Err(fault) => match check::of_refusal(&at, &mapping.object, &fault) {
                Some(finding) => (mapping.label().to_owned(), vec![finding]),
                None => return Err(fault),
            },
        };
        objects.push((label, found));
    }
    Ok(Examined { identity, objects, beside: check::check_filter(&config.gateway.filter) })
}

impl Examined {
    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.objects.iter().flat_map(|(_, found)| found).chain(&self.beside)
    }

    /// Those with which nothing may run.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings().filter(|finding| finding.severity == Severity::Error)
    }
}

async fn show(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    let target = args.file.open(kind)?;
    let mut examined = examine(&target.config, target.crm.as_ref())
        .await
        .with_context(|| format!("{} gives no answer", kind.title))?;
    output::line(&format!("signed in to {} as {}", kind.title, examined.identity))?;
    for ((label, found), mapping) in examined.objects.iter().zip(&target.config.objects) {
        if found.iter().all(|finding| finding.severity != Severity::Error) {
            let fields = output::counted(mapping.fields.len() as u64, "field");
            output::line(&format!("ok       {label}: {fields}"))?;
        }
        found.iter().try_for_each(tell)?;
    }
    match look_at_gateway(&target.config).await {
        Ok((words, found)) => {
            output::line(&format!("ok       gateway: {words}"))?;
            examined.beside.extend(found);
        }
        Err(finding) => examined.beside.push(finding),
    }
    examined.beside.iter().try_for_each(tell)?;
    let errors = examined.errors().count();
    let warnings = examined.findings().count() - errors;
    let warnings = output::counted(warnings as u64, "warning");
    match errors {
        0 => Ok(output::line(&format!("no errors, {warnings}"))?),
        _ => bail!("{}, {warnings}", output::counted(errors as u64, "error")),
    }
}

fn tell(finding: &Finding) -> std::io::Result<()> {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    output::line(&format!("{severity:<7}  {}: {}", finding.key, finding.words))
}

/// Where the subscription stands, or why that cannot be told.
async fn look_at_gateway(config: &Config) -> Result<(String, Option<Finding>), Finding> {
    let error = |key: &str, words: String| Finding {
        severity: Severity::Error,
        key: key.to_owned(),
        words,
    };
    let client = gateway::client(&config.gateway).map_err(|it| error(&it.key, it.reason))?;
    let name = &config.gateway.subscription;
    let request = GetSubscriptionRequest { subscription: name.clone() };
    match client.subscriptions().get_subscription(request).await.map_err(Error::from) {
        Ok(answer) => {
            let subscription = answer.into_inner().subscription.unwrap_or_default();
            let (position, head) = (subscription.position, subscription.head);
            let wanted = config.gateway.filter.filter();
            let differs = comparable(subscription.filter.unwrap_or_default()) != comparable(wanted);
            let words =
                "the subscription was made with another filter, which stays until it is made anew";
            let finding = differs.then(|| Finding {
                severity: Severity::Warning,
                key: "gateway.filter".to_owned(),
                words: words.to_owned(),
            });
            Ok((format!("subscription `{name}` at {position} of {head}"), finding))
        }
        Err(Error::NotFound { .. }) => {
            let start = match config.gateway.start {
                Start::Latest => "the next event",
                Start::Earliest => "the first event of the log",
            };
            Ok((format!("subscription `{name}` will be made, beginning with {start}"), None))
        }
        Err(it @ (Error::Unauthenticated { .. } | Error::PermissionDenied { .. })) => {
            Err(error("gateway.token", it.to_string()))
        }
        Err(it) => Err(error("gateway.address", format!("no answer: {it}"))),
    }
}

/// Without what makes no difference.
fn comparable(mut filter: Filter) -> Filter {
    filter.providers.sort_unstable();
    filter.endpoints.sort_unstable();
    filter.kinds.sort_unstable();
    filter.statuses.sort_unstable();
    filter.headlines.sort_unstable();
    filter.currencies.sort_unstable();
    filter.subjects.sort_unstable();
    if filter.live_mode() == LiveMode::Unspecified {
        filter.set_live_mode(LiveMode::Live);
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::{self, Shelf};

    const RIGHT: &str = "policy = \"update_only\"\nmatch = [{ field = \"payment_id\", from = \
                         \"references.payment\", unique = true }]\nfields.note = \"status\"\n";

    #[tokio::test]
    async fn a_crm_is_asked_who_and_what_it_is() {
        let shelf = Shelf::default();
        let examined = examine(&shelf::config(RIGHT), &shelf).await.expect("an answer");
        assert_eq!((examined.identity.as_str(), examined.findings().count()), ("the shelf", 0));
        assert_eq!(examined.objects[0].0, "deals (Deal)");

        let mut config = shelf::config(RIGHT);
        config.objects[0].object = "deels".to_owned();
        let examined = examine(&config, &shelf).await.expect("an answer");
        assert_eq!(examined.errors().count(), 1);

        shelf.faults.lock().expect("no panic").push_back(Fault::transient("502"));
        assert!(examine(&config, &shelf).await.is_err());
    }

    #[test]
    fn the_order_in_a_filter_makes_no_difference() {
        let of = |words: [&str; 2]| Filter {
            statuses: words.map(str::to_owned).into(),
            ..Filter::default()
        };
        let live = Filter { live_mode: LiveMode::Live.into(), ..of(["PAID", "FAILED"]) };
        assert_eq!(comparable(live), comparable(of(["FAILED", "PAID"])));
    }
}
