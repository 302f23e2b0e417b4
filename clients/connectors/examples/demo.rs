//! Payments of three providers on their way into six CRMs: a real gateway and six real connectors, each a
//! process of its own, and in place of the CRMs local doubles that are at least as strict. In comes
//! nothing; out comes what the records show, and a failure as soon as anything is not as it should be.
//! Nothing leaves this machine.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use fake_crms::process::{Process, Site};
use fake_crms::{Double, Limits, PaymentRecord};
use rust_decimal::Decimal;
use tollgate_client::Client;
use tollgate_client::proto::{GetTimelineRequest, ListPaymentsRequest, LiveMode, Payment};

/// Endpoints beside the one of Stripe; the secrets are made up.
const ENDPOINTS: &str = "
[[endpoints]]
provider = 'square'
name = 'demo'
secrets.signature_key = 'square-signature-key-of-the-demo'
[[endpoints]]
provider = 'adyen'
name = 'demo'
secrets.hmac_key_hex = '44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056'
";

/// What is sent: provider, event, seed.
const SENT: &[[&str; 3]] = &[
    ["stripe", "payment_intent.created", "1001"],
    ["stripe", "payment_intent.succeeded", "1001"],
    ["stripe", "payment_intent.payment_failed", "1002"],
    ["square", "payment.updated", "2001"],
    ["adyen", "AUTHORISATION", "3001"],
];
const REFUND: [&str; 3] = ["stripe", "charge.refunded", "1001"];
const REFUNDED: &str = "payments/stripe/test/pi_1001";
const PATIENCE: Duration = Duration::from_secs(60);

/// A CRM's double with its connector.
struct Crm {
    title: &'static str,
    name: &'static str,
    double: Box<dyn Double>,
    _connector: Process,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    let site = Site::new(ENDPOINTS)?;
    let _gateway = site.start_gateway().await?;
    let client = Client::connect(site.grpc_url()).await?;
    println!(
        "A gateway, six connectors, and six LOCAL FAKES of CRMs: nothing leaves this machine.\n"
    );
    let mut crms = Vec::new();
    for kind in tollgate_connectors::crms::CRMS {
        crms.push(open(kind.title, kind.name, &site).await?);
    }

    println!("1. Stripe, Square and Adyen report payments by signed webhooks:");
    for sent in SENT {
        send(&site, sent)?;
    }
    let payments = settled(&client, &crms).await?;
    println!("\n2. What the records of the six CRMs show:");
    show(&payments, &crms)?;

    println!("\n3. One payment is refunded at Stripe:");
    send(&site, &REFUND)?;
    let payments = settled(&client, &crms).await?;
    show(payments.iter().filter(|payment| payment.name == REFUNDED), &crms)?;

    println!("\n4. What the gateway keeps of it for an audit, event by event:");
    timeline(&client).await?;
    println!("\nAll of it went as promised, in {:.1} s.", started.elapsed().as_secs_f64());
    Ok(())
}

async fn open(title: &'static str, name: &'static str, site: &Site) -> anyhow::Result<Crm> {
    let double = fake_crms::start(name, Limits::Generous).await;
    // The samples of the three providers have an order's number, not an invoice's.
    let tables = double.config().replace("references.invoice_number", "references.order");
    let config = site.configure(name, "", &tables)?;
    let _connector = site.start_connector(name, &config)?;
    Ok(Crm { title, name, double, _connector })
}

fn send(site: &Site, [provider, event, seed]: &[&str; 3]) -> anyhow::Result<()> {
    let sent = site.run("tollgate", &["send", provider, event, "--seed", seed])?;
    let told = String::from_utf8_lossy(&sent.stdout);
    ensure!(sent.status.success(), "{told}{}", String::from_utf8_lossy(&sent.stderr));
    println!("   {provider:7} {event}");
    Ok(())
}

/// Waits until each payment's record in each CRM says what the gateway says.
async fn settled(client: &Client, crms: &[Crm]) -> anyhow::Result<Vec<Payment>> {
    let begun = Instant::now();
    loop {
        let live_mode = LiveMode::All.into();
        let request = ListPaymentsRequest { page_size: 1_000, live_mode, ..Default::default() };
        let payments = client.payments().list_payments(request).await?.into_inner().payments;
        let mut pairs =
            payments.iter().flat_map(|payment| crms.iter().map(move |crm| (payment, crm)));
        match pairs.find(|(payment, crm)| !says_the_same(payment, crm)) {
            None => return Ok(payments),
            Some((payment, crm)) if begun.elapsed() > PATIENCE => {
                bail!("{}: {} is not {}", crm.name, payment.name, payment.status)
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn says_the_same(payment: &Payment, crm: &Crm) -> bool {
    let words = payment.status.replace('_', " ").to_lowercase();
    record(payment, crm).is_some_and(|record| record.status.to_lowercase() == words)
}

fn record(payment: &Payment, crm: &Crm) -> Option<PaymentRecord> {
    let id = payment.name.splitn(4, '/').nth(3)?;
    crm.double.records().into_iter().find(|record| record.payment_id == id)
}

fn show<'a>(payments: impl IntoIterator<Item = &'a Payment>, crms: &[Crm]) -> anyhow::Result<()> {
    println!(
        "   payment          CRM                     record                 status      paid      refunded  reference"
    );
    for payment in payments {
        for crm in crms {
            let record = record(payment, crm).context("a record that was there")?;
            let amount = |amount: Option<Decimal>| format!("{:.2}", amount.unwrap_or_default());
            println!(
                "   {:16} {:23} {:22} {:11} {:9} {:9} {}",
                shortened(&record.payment_id, 16),
                crm.title,
                shortened(&record.id, 22),
                record.status,
                amount(record.paid),
                amount(record.refunded),
                record.reference.unwrap_or_default(),
            );
        }
    }
    Ok(())
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 2).chain("..".chars()).collect(),
    }
}

async fn timeline(client: &Client) -> anyhow::Result<()> {
    let request = GetTimelineRequest { name: REFUNDED.to_owned(), ..Default::default() };
    let timeline = client.payments().get_timeline(request).await?.into_inner();
    for entry in timeline.entries {
        let event = entry.event.context("an entry has its event")?;
        let change = event.change.unwrap_or_default();
        println!("   {:10} {:26} {}", event.name, event.provider_event_type, change.current);
        for delivery in entry.deliveries {
            let crm = delivery.subscription.trim_start_matches("subscriptions/");
            println!("      {crm:12} {:10} {}", delivery.outcome, delivery.external_ref);
        }
    }
    Ok(())
}
