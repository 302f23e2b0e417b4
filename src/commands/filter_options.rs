//! The options that say which events are meant and where to begin, for every command that takes them. In
//! come words as people write them, out go the messages of the wire; the gateway checks what they say.

use std::time::SystemTime;

use clap::ValueEnum;
use jiff::Timestamp;
use tollgate_client::proto::start_position::At;
use tollgate_client::proto::{self, LiveMode, SubjectKind};
use tollgate_client::{Filter, StartPosition};

/// Which events. All conditions that are given must hold; of one that is given several times, any does.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Filter")]
pub struct FilterOptions {
    /// Only of this provider, for example stripe
    #[arg(long, value_name = "PROVIDER")]
    provider: Vec<String>,
    /// Only of this endpoint, for example stripe/main
    #[arg(long, value_name = "PROVIDER/NAME")]
    endpoint: Vec<String>,
    /// Only events that report this status, for example PARTIALLY_REFUNDED
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,
    /// Only where the subject then stands at this headline
    #[arg(long, value_name = "HEADLINE", ignore_case = true)]
    headline: Vec<Headline>,
    /// Only about this kind of subject
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only about this subject, in full: payments/stripe/main/pi_123
    #[arg(long, value_name = "SUBJECT")]
    subject: Vec<String>,
    /// Only in this currency, for example EUR
    #[arg(long, value_name = "CODE")]
    currency: Vec<String>,
    /// Only with this entry in the provider's metadata; given several times, all must hold
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Only events that changed their subject's status
    #[arg(long)]
    changes_only: bool,
    /// Only events of the providers' test modes, instead of live ones
    #[arg(long, conflicts_with = "all_modes")]
    test: bool,
    /// Live and test events
    #[arg(long)]
    all_modes: bool,
}

/// The words that people use for what became of a payment.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Headline {
    /// Not decided yet
    Pending,
    /// The money is there
    Paid,
    /// It did not work
    Failed,
    /// Some or all of it was given back
    Refunded,
    /// It is or was taken back by the payer's bank
    Disputed,
}

/// What events are about.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A payment
    Payment,
    /// An invoice
    Invoice,
    /// A movement on a bank account
    BankTransaction,
    /// A request that a customer acts on: a checkout, a link
    PaymentRequest,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// With the first event that the log has.
    Earliest,
    /// With the next event to come.
    Latest,
    /// With the event of this sequence.
    At(i64),
    /// With the first event received at or after this time.
    Since(SystemTime),
}

impl FilterOptions {
    /// As the wire has it.
    pub fn filter(&self) -> Filter {
        let headlines = self.headline.iter().map(|headline| match headline {
            Headline::Pending => proto::Headline::Pending,
            Headline::Paid => proto::Headline::Paid,
            Headline::Failed => proto::Headline::Failed,
            Headline::Refunded => proto::Headline::Refunded,
            Headline::Disputed => proto::Headline::Disputed,
        });
        let kinds = self.kind.iter().map(|kind| match kind {
            Kind::Payment => SubjectKind::Payment,
            Kind::Invoice => SubjectKind::Invoice,
            Kind::BankTransaction => SubjectKind::BankTransaction,
            Kind::PaymentRequest => SubjectKind::PaymentRequest,
        });
        let live_mode = match (self.test, self.all_modes) {
            (true, _) => LiveMode::Test,
            (false, true) => LiveMode::All,
            (false, false) => LiveMode::Live,
        };
        Filter {
            providers: self.provider.clone(),
            endpoints: self.endpoint.clone(),
            kinds: kinds.map(i32::from).collect(),
            statuses: self.status.iter().map(|word| word.to_ascii_uppercase()).collect(),
            headlines: headlines.map(i32::from).collect(),
            changes_only: self.changes_only,
            live_mode: live_mode.into(),
            currencies: self.currency.clone(),
            minimum_amount: None,
            subjects: self.subject.clone(),
            metadata: self.metadata.iter().cloned().collect(),
        }
    }
}

impl From<Start> for StartPosition {
    fn from(start: Start) -> StartPosition {
        match start {
            Start::Earliest => StartPosition::earliest(),
            Start::Latest => StartPosition::latest(),
            // A position is the last sequence that was seen.
            Start::At(sequence) => StartPosition {
                at: Some(At::Sequence((sequence - 1).max(0))),
                log_epoch: String::new(),
            },
            Start::Since(time) => StartPosition::since(time),
        }
    }
}

impl std::str::FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        match text {
            "earliest" => return Ok(Start::Earliest),
            "latest" => return Ok(Start::Latest),
            _ => {}
        }
        if let Ok(sequence) = text.parse::<i64>() {
            return match sequence {
                1.. => Ok(Start::At(sequence)),
                _ => Err("sequences begin with 1".to_owned()),
            };
        }
        let time = text.parse::<Timestamp>().and_then(SystemTime::try_from);
        time.map(Start::Since).map_err(|_| {
            "must be earliest, latest, a sequence, or a time like 2026-11-24T08:00:00Z".to_owned()
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must read KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_and_a_sequence_means_that_event() {
        assert_eq!("earliest".parse(), Ok(Start::Earliest));
        assert_eq!("latest".parse(), Ok(Start::Latest));
        let position = StartPosition::from("5".parse::<Start>().expect("a sequence"));
        assert_eq!(position.at, Some(At::Sequence(4)));
        assert!(matches!("2026-11-24T08:00:00Z".parse(), Ok(Start::Since(_))));
        for wrong in ["", "0", "-1", "newest", "2026-11-24"] {
            assert!(wrong.parse::<Start>().is_err(), "{wrong}");
        }
    }
}
