//! `tollgate subscriptions`: shows, makes, moves and removes the named positions in the log. What a
//! subscription is and how far it has come is the gateway's to say; this asks and prints.

use clap::Subcommand;
use jiff::SignedDuration;
use tollgate_client::Client;
use tollgate_client::proto::{
    CreateSubscriptionRequest, DeleteSubscriptionRequest, DeliverySettings, GetSubscriptionRequest,
    ListSubscriptionsRequest, PauseSubscriptionRequest, ResumeSubscriptionRequest, SeekRequest,
    Subscription,
};

use super::connection::{Connection, refused};
use super::filter_options::{FilterOptions, Start};
use super::{output, wire_json, wire_text};

/// Show, make, move and remove subscriptions
///
/// A subscription is a named position in the log with a filter. The gateway keeps it: each matching event
/// is delivered, in order per payment, until a consumer acknowledges it.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  tollgate subscriptions list
  One for a CRM that wants what changed at Stripe, from the beginning:
    tollgate subscriptions create crm --provider stripe --changes-only --from earliest
  Everything since this morning once more:
    tollgate subscriptions seek crm 2026-11-24T06:00:00Z")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List all, with what waits in each
    List,
    /// Show one with its filter, settings and backlog
    Get(Name),
    /// Make one
    Create(Create),
    /// Remove one with its position and dead letters; its streams end
    Delete(Name),
    /// Stop deliveries; acks are still taken
    Pause(Name),
    /// Go on with deliveries
    Resume(Name),
    /// Move the position, back to deliver again or forward to skip
    Seek(Seek),
}

#[derive(clap::Args, Debug)]
struct Name {
    /// The subscription, for example crm
    subscription: String,
}

#[derive(clap::Args, Debug)]
struct Create {
    #[command(flatten)]
    name: Name,
    /// Where it begins: earliest, latest, a sequence, or a time like 2026-11-24T08:00:00Z
    #[arg(long, value_name = "START", default_value = "latest")]
    from: Start,
    /// How long a consumer has before a delivery is made again; the gateway's default is 30s
    #[arg(long, value_name = "TIME")]
    ack_deadline: Option<SignedDuration>,
    /// How many deliveries may be unacknowledged, all consumers together
    #[arg(long, value_name = "NUMBER")]
    max_outstanding: Option<i32>,
    /// After how many failed attempts an event becomes a dead letter; -1 for never
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    max_attempts: Option<i32>,
    /// Deliver a payment's events without waiting for each other
    #[arg(long)]
    unordered: bool,
    #[command(flatten)]
    filter: FilterOptions,
}

#[derive(clap::Args, Debug)]
struct Seek {
    #[command(flatten)]
    name: Name,
    /// The next event: earliest, latest, a sequence, or a time like 2026-11-24T08:00:00Z
    to: Start,
}

/// Does what was asked for.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::block_on(act(args))
}

async fn act(args: Args) -> anyhow::Result<()> {
    let client = args.connection.connect().await?;
    let subscription = match args.action {
        Action::List => return list(&client, args.json).await,
        Action::Delete(Name { subscription }) => {
            let request = DeleteSubscriptionRequest { subscription: subscription.clone() };
            client.subscriptions().delete_subscription(request).await.map_err(refused)?;
            return Ok(output::line(&format!("{subscription} is deleted"))?);
        }
        Action::Get(Name { subscription }) => {
            let request = GetSubscriptionRequest { subscription };
            let got = client.subscriptions().get_subscription(request).await;
            got.map_err(refused)?.into_inner().subscription
        }
        Action::Create(create) => self::create(&client, create).await?,
        Action::Pause(Name { subscription }) => {
            let request = PauseSubscriptionRequest { subscription };
            let paused = client.subscriptions().pause_subscription(request).await;
            paused.map_err(refused)?.into_inner().subscription
        }
        Action::Resume(Name { subscription }) => {
            let request = ResumeSubscriptionRequest { subscription };
            let resumed = client.subscriptions().resume_subscription(request).await;
            resumed.map_err(refused)?.into_inner().subscription
        }
        Action::Seek(Seek { name, to }) => {
            let request = SeekRequest { subscription: name.subscription, to: Some(to.into()) };
            let moved = client.subscriptions().seek(request).await;
            moved.map_err(refused)?.into_inner().subscription
        }
    };
    show(&subscription.unwrap_or_default(), args.json)
}

async fn create(client: &Client, create: Create) -> anyhow::Result<Option<Subscription>> {
    let ack_deadline = create.ack_deadline.map(std::time::Duration::try_from).transpose()?;
    let settings = DeliverySettings {
        ack_deadline: ack_deadline.map(TryInto::try_into).transpose()?,
        max_outstanding: create.max_outstanding.unwrap_or_default(),
        max_attempts: create.max_attempts.unwrap_or_default(),
        unordered: create.unordered,
        ..DeliverySettings::default()
    };
    let request = CreateSubscriptionRequest {
        subscription: create.name.subscription,
        filter: Some(create.filter.filter()),
        start: Some(create.from.into()),
        settings: Some(settings),
    };
    let created = client.subscriptions().create_subscription(request).await;
    Ok(created.map_err(refused)?.into_inner().subscription)
}

async fn list(client: &Client, json: bool) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSubscriptionsRequest { page_size: 0, page_token };
        let page = client.subscriptions().list_subscriptions(request).await;
        let page = page.map_err(refused)?.into_inner();
        all.extend(page.subscriptions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        return Ok(all.iter().try_for_each(|one| output::json(&wire_json::subscription(one)))?);
    }
    let rows: Vec<_> = all.iter().map(row).collect();
    let titles = ["NAME", "STATE", "POSITION", "OUT", "HELD BACK", "DEAD", "WAITS"];
    Ok(output::table(titles, &rows, "no subscriptions")?)
}

fn row(subscription: &Subscription) -> [String; 7] {
    [
        short_name(subscription).to_owned(),
        state(subscription).to_owned(),
        format!("{} of {}", subscription.position, subscription.head),
        subscription.outstanding.to_string(),
        subscription.held_back.to_string(),
        subscription.dead_letters.to_string(),
        wire_text::backlog(subscription.backlog.as_ref()),
    ]
}

fn show(subscription: &Subscription, json: bool) -> anyhow::Result<()> {
    let shown = wire_json::subscription(subscription);
    if json {
        return Ok(output::json(&shown)?);
    }
    let created_at = subscription.created_at.map(|at| wire_text::time_to_second(at.seconds));
    let position = format!("{} of {}", subscription.position, subscription.head);
    let part = |name: &str| shown.get(name).map(ToString::to_string).unwrap_or_default();
    Ok(output::details(&[
        ("name", short_name(subscription).to_owned()),
        ("state", state(subscription).to_owned()),
        ("position", position),
        ("waits", wire_text::backlog(subscription.backlog.as_ref())),
        ("outstanding", subscription.outstanding.to_string()),
        ("held back", output::counted(subscription.held_back, "subject")),
        ("dead letters", subscription.dead_letters.to_string()),
        ("filter", part("filter")),
        ("settings", part("settings")),
        ("created", created_at.unwrap_or_default()),
    ])?)
}

fn short_name(subscription: &Subscription) -> &str {
    subscription.name.strip_prefix("subscriptions/").unwrap_or(&subscription.name)
}

fn state(subscription: &Subscription) -> &'static str {
    if subscription.paused { "paused" } else { "runs" }
}
