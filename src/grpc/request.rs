//! What several calls take in: filters, start positions, delivery settings. Each field that is wrong is
//! refused by name.

use std::time::Duration;

use tonic::Status;

use super::convert;
use super::proto;
use super::status::{epoch_changed, invalid};
use crate::delivery::spec::{
    MAX_ACK_DEADLINE, MAX_BACKOFF, MAX_OUTSTANDING, MAX_OUTSTANDING_BYTES,
};
use crate::delivery::{Delivery, Filter, LiveMode, Settings, Start};
use crate::model::money::Currency;
use crate::model::{Sequence, Status as SubjectStatus, Subject, SubjectKind};

/// How many values a list of a filter may have.
const MAX_FILTER_VALUES: usize = 100;
/// The longest value in a filter, in bytes.
const MAX_FILTER_VALUE_BYTES: usize = 1024;

/// Reads a filter. `at` is the field's path.
pub fn filter(filter: Option<proto::Filter>, at: &str) -> Result<Filter, Status> {
    let Some(filter) = filter else { return Ok(Filter::default()) };
    let field = |name: &str| format!("{at}.{name}");
    bounded(&filter.providers, &field("providers"))?;
    bounded(&filter.endpoints, &field("endpoints"))?;
    bounded(&filter.subjects, &field("subjects"))?;
    bounded(&filter.statuses, &field("statuses"))?;
    bounded(&filter.currencies, &field("currencies"))?;
    bounded(filter.metadata.keys(), &field("metadata"))?;
    bounded(filter.metadata.values(), &field("metadata"))?;
    for subject in &filter.subjects {
        subject
            .parse::<Subject>()
            .map_err(|error| invalid(&field("subjects"), error.to_string()))?;
    }
    for word in &filter.statuses {
        let known =
            SubjectKind::ALL.into_iter().any(|kind| SubjectStatus::parse(kind, word).is_some());
        if !known {
            return Err(invalid(&field("statuses"), format!("`{word}` is not a status")));
        }
    }
    let currencies = filter.currencies.iter().map(|code| Currency::parse(code));
    let currencies: Result<Vec<Currency>, _> = currencies.collect();
    let currencies =
        currencies.map_err(|error| invalid(&field("currencies"), error.to_string()))?;
    let minimum = convert::money_back(filter.minimum_amount)
        .map_err(|error| invalid(&field("minimum_amount"), error.0))?;
    let headlines: Result<_, _> =
        filter.headlines.into_iter().map(convert::headline_back).collect();
    Ok(Filter {
        providers: filter.providers,
        endpoints: filter.endpoints,
        kinds: kinds(&filter.kinds, &field("kinds"))?,
        statuses: filter.statuses,
        headlines: headlines.map_err(|error| invalid(&field("headlines"), error.0))?,
        changes_only: filter.changes_only,
        live_mode: live_mode(filter.live_mode, &field("live_mode"))?,
        currencies: currencies.into_iter().map(|code| code.code().to_owned()).collect(),
        minimum_amount: minimum,
        subjects: filter.subjects,
        metadata: filter.metadata.into_iter().collect(),
    })
}

fn bounded<'a>(values: impl IntoIterator<Item = &'a String>, field: &str) -> Result<(), Status> {
    let mut count = 0;
    for value in values {
        count += 1;
        if count > MAX_FILTER_VALUES || value.len() > MAX_FILTER_VALUE_BYTES {
            return Err(invalid(
                field,
                format!(
                    "has more than {MAX_FILTER_VALUES} values or one over {MAX_FILTER_VALUE_BYTES} bytes"
                ),
            ));
        }
    }
    Ok(())
}

/// Reads kinds of subject.
pub fn kinds(kinds: &[i32], field: &str) -> Result<Vec<SubjectKind>, Status> {
    kinds
        .iter()
        .map(|kind| convert::subject_kind_back(*kind).map_err(|error| invalid(field, error.0)))
        .collect()
}

/// Reads a mode; live only where none is given.
pub fn live_mode(mode: i32, field: &str) -> Result<LiveMode, Status> {
    match proto::LiveMode::try_from(mode) {
        Ok(proto::LiveMode::Unspecified | proto::LiveMode::Live) => Ok(LiveMode::Live),
        Ok(proto::LiveMode::Test) => Ok(LiveMode::Test),
        Ok(proto::LiveMode::All) => Ok(LiveMode::All),
        Err(_) => Err(invalid(field, format!("{mode} is not a mode"))),
    }
}

/// A filter on the wire.
pub fn filter_to_proto(filter: &Filter) -> proto::Filter {
    proto::Filter {
        providers: filter.providers.clone(),
        endpoints: filter.endpoints.clone(),
        kinds: filter.kinds.iter().map(|kind| convert::subject_kind(*kind).into()).collect(),
        statuses: filter.statuses.clone(),
        headlines: filter.headlines.iter().map(|word| convert::headline(*word).into()).collect(),
        changes_only: filter.changes_only,
        live_mode: match filter.live_mode {
            LiveMode::Live => proto::LiveMode::Live,
            LiveMode::Test => proto::LiveMode::Test,
            LiveMode::All => proto::LiveMode::All,
        }
        .into(),
        currencies: filter.currencies.clone(),
        minimum_amount: filter.minimum_amount.map(convert::money),
        subjects: filter.subjects.clone(),
        metadata: filter.metadata.clone().into_iter().collect(),
    }
}

/// Reads a start position; `default` where none is given. A position of another epoch is refused.
pub fn start(
    start: Option<proto::StartPosition>,
    default: Start,
    delivery: &Delivery,
    field: &str,
) -> Result<Start, Status> {
    let Some(start) = start else { return Ok(default) };
    if !start.log_epoch.is_empty() && *start.log_epoch != *delivery.epoch().0 {
        return Err(epoch_changed());
    }
    Ok(match start.at {
        None => default,
        Some(proto::start_position::At::Earliest(true)) => Start::Earliest,
        Some(proto::start_position::At::Latest(true)) => Start::Latest,
        Some(
            proto::start_position::At::Earliest(false) | proto::start_position::At::Latest(false),
        ) => {
            return Err(invalid(field, "earliest and latest are given as true"));
        }
        Some(proto::start_position::At::Sequence(sequence)) if sequence < 0 => {
            return Err(invalid(&format!("{field}.sequence"), "must not be negative"));
        }
        Some(proto::start_position::At::Sequence(sequence)) => Start::After(Sequence(sequence)),
        Some(proto::start_position::At::Time(time)) => Start::Time(
            convert::timestamp_back(Some(time))
                .map_err(|error| invalid(&format!("{field}.time"), error.0))?,
        ),
    })
}

/// Reads delivery settings over `base`: what is zero or absent stays as it is there.
pub fn settings(
    given: Option<proto::DeliverySettings>,
    base: Settings,
    at: &str,
) -> Result<Settings, Status> {
    let Some(given) = given else { return Ok(base) };
    let field = |name: &str| format!("{at}.{name}");
    let time = |value, least, most, name: &str, default| match value {
        None => Ok(default),
        Some(value) => duration(value, least, most, &field(name)),
    };
    let count = |value: i32, most: usize, name: &str, default: usize| match usize::try_from(value) {
        Ok(0) => Ok(default),
        Ok(value) if value <= most => Ok(value),
        _ => Err(invalid(&field(name), format!("must be from 1 to {most}"))),
    };
    let second = Duration::from_secs(1);
    let milli = Duration::from_millis(1);
    let settings = Settings {
        ack_deadline: time(
            given.ack_deadline,
            second,
            MAX_ACK_DEADLINE,
            "ack_deadline",
            base.ack_deadline,
        )?,
        max_outstanding: count(
            given.max_outstanding,
            MAX_OUTSTANDING,
            "max_outstanding",
            base.max_outstanding,
        )?,
        max_outstanding_bytes: count(
            given.max_outstanding_bytes,
            MAX_OUTSTANDING_BYTES,
            "max_outstanding_bytes",
            base.max_outstanding_bytes,
        )?,
        max_attempts: match given.max_attempts {
            0 => base.max_attempts,
            -1 => None,
            attempts => Some(u32::try_from(attempts).map_err(|_| {
                invalid(&field("max_attempts"), "must be positive, or -1 for never")
            })?),
        },
        min_backoff: time(given.min_backoff, milli, MAX_BACKOFF, "min_backoff", base.min_backoff)?,
        max_backoff: time(given.max_backoff, milli, MAX_BACKOFF, "max_backoff", base.max_backoff)?,
        ordered: !given.unordered,
    };
    if settings.min_backoff > settings.max_backoff {
        return Err(invalid(&field("min_backoff"), "must not be longer than max_backoff"));
    }
    Ok(settings)
}

/// Delivery settings on the wire.
pub fn settings_to_proto(settings: &Settings) -> proto::DeliverySettings {
    let number = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    proto::DeliverySettings {
        ack_deadline: Some(convert::duration(settings.ack_deadline)),
        max_outstanding: number(settings.max_outstanding),
        max_outstanding_bytes: number(settings.max_outstanding_bytes),
        max_attempts: settings
            .max_attempts
            .map_or(-1, |attempts| i32::try_from(attempts).unwrap_or(i32::MAX)),
        min_backoff: Some(convert::duration(settings.min_backoff)),
        max_backoff: Some(convert::duration(settings.max_backoff)),
        unordered: !settings.ordered,
    }
}

/// Reads a duration within bounds.
pub fn duration(
    value: prost_types::Duration,
    least: Duration,
    most: Duration,
    field: &str,
) -> Result<Duration, Status> {
    Duration::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| invalid(field, format!("must be from {least:?} to {most:?}")))
}
