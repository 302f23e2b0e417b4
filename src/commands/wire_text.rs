//! Messages of the wire as people read them: an event as one line, money with its point where the
//! currency has it, times to the second. It must never leave out what distinguishes two events.

use jiff::{SignedDuration, Timestamp};
use tollgate_client::proto::event::Fact;
use tollgate_client::proto::{Backlog, Change, Event, Money};

/// `2026-11-24T08:41:07Z`, with a fraction where there is one.
pub fn time(seconds: i64, nanos: i32) -> String {
    Timestamp::new(seconds, nanos).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}

/// The same, cut to the second.
pub fn time_to_second(seconds: i64) -> String {
    time(seconds, 0)
}

/// `30s`, `0.250s`
pub fn duration(seconds: i64, nanos: i32) -> String {
    match nanos {
        0 => format!("{seconds}s"),
        nanos => format!("{seconds}.{:03}s", nanos / 1_000_000),
    }
}

/// `2h 3m 4s`
pub fn age(seconds: i64) -> String {
    format!("{:#}", SignedDuration::from_secs(seconds))
}

/// `12.50 EUR`
pub fn money(money: &Money) -> String {
    crate::model::Money::new(money.minor_units, &money.currency).map_or_else(
        |_| format!("{} minor units of {}", money.minor_units, money.currency),
        |money| money.to_string(),
    )
}

/// The amount that an event is about: what it states, else the total.
pub fn amount(event: &Event) -> Option<&Money> {
    match event.fact.as_ref()? {
        Fact::Payment(fact) => {
            let total = || fact.amounts.as_ref().and_then(|amounts| amounts.total.as_ref());
            fact.amount.as_ref().or_else(total)
        }
        Fact::Invoice(fact) => fact.total.as_ref(),
        Fact::BankTransaction(fact) => fact.amount.as_ref(),
        Fact::CustomerAction(fact) => fact.amount.as_ref(),
    }
}

/// The status that an event reports, in its short word.
pub fn reported(event: &Event) -> &'static str {
    match &event.fact {
        Some(Fact::Payment(fact)) => short(fact.status().as_str_name(), "PAYMENT_STATUS_"),
        Some(Fact::Invoice(fact)) => short(fact.status().as_str_name(), "INVOICE_STATUS_"),
        Some(Fact::BankTransaction(fact)) => {
            short(fact.status().as_str_name(), "BANK_TRANSACTION_STATUS_")
        }
        Some(Fact::CustomerAction(fact)) => short(fact.action().as_str_name(), "CUSTOMER_ACTION_"),
        None => "",
    }
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// What an event did: `begins PENDING`, `PENDING -> PAID`, `still PAID`, or that it came late.
pub fn change(event: &Event) -> String {
    let Some(Change { previous, current, superseded, .. }) = &event.change else {
        return String::new();
    };
    if *superseded {
        return format!("came late with {}: stays {current}", reported(event));
    }
    match previous.as_str() {
        "" => format!("begins {current}"),
        previous if previous == current => format!("still {current}"),
        previous => format!("{previous} -> {current}"),
    }
}

/// An event as one line: time, sequence, headline, amount, subject and what changed.
pub fn event_line(event: &Event) -> String {
    let received_at = event.received_at.map_or(String::new(), |at| time_to_second(at.seconds));
    let headline = event.change.as_ref().map_or("", |change| {
        change.headline().as_str_name().strip_prefix("HEADLINE_").unwrap_or_default()
    });
    let amount = amount(event).map(money).unwrap_or_default();
    let test = if event.live { "" } else { "  (test)" };
    format!(
        "{received_at}  {:>8}  {headline:<8}  {amount:>16}  {}  {}{test}",
        event.sequence,
        event.subject,
        change(event),
    )
}

/// What waits, in a few words: `3 events of 2 payments, 12.50 EUR`.
pub fn backlog(backlog: Option<&Backlog>) -> String {
    let Some(backlog) = backlog.filter(|backlog| backlog.events > 0) else {
        return "nothing waits".to_owned();
    };
    let about = if backlog.exact { "" } else { "about " };
    let events = super::output::counted(backlog.events, "event");
    let subjects = super::output::counted(backlog.subjects, "subject");
    let mut text = format!("{about}{events} of {subjects}");
    for amount in &backlog.amounts {
        text.push_str(", ");
        text.push_str(&money(amount));
    }
    if let Some(oldest) = &backlog.oldest_age {
        text.push_str(&format!(", oldest {}", age(oldest.seconds)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_client::proto::{Headline, PaymentEvent, PaymentStatus};

    fn event(previous: &str, current: &str, superseded: bool) -> Event {
        Event {
            sequence: 7,
            subject: "payments/stripe/main/pi_1".to_owned(),
            live: true,
            change: Some(Change {
                previous: previous.to_owned(),
                current: current.to_owned(),
                headline: Headline::Paid.into(),
                superseded,
            }),
            fact: Some(Fact::Payment(PaymentEvent {
                status: PaymentStatus::Pending.into(),
                amount: Some(Money { minor_units: 1250, currency: "EUR".to_owned() }),
                ..PaymentEvent::default()
            })),
            ..Event::default()
        }
    }

    #[test]
    fn a_line_tells_what_changed_or_that_the_event_came_late() {
        let shown = [("", false), ("PENDING", false), ("PAID", false), ("PAID", true)]
            .map(|(previous, late)| change(&event(previous, "PAID", late)));
        assert_eq!(
            shown,
            ["begins PAID", "PENDING -> PAID", "still PAID", "came late with PENDING: stays PAID"]
        );
        let line = event_line(&event("PENDING", "PAID", false));
        for part in ["7", "PAID", "12.50 EUR", "payments/stripe/main/pi_1"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("test"), "{line}");
    }

    #[test]
    fn money_has_its_point_where_the_currency_has_it() {
        let shown = [(1250, "EUR"), (1250, "JPY"), (-5, "KWD"), (7, "???")]
            .map(|(minor_units, code)| money(&Money { minor_units, currency: code.to_owned() }));
        assert_eq!(shown, ["12.50 EUR", "1250 JPY", "-0.005 KWD", "7 minor units of ???"]);
    }
}
