//! Notifications: channels that are registered with `POST /actions/watch`, and the calls they make. In come
//! registrations and changes of records, out go callbacks, each sent once and never again. A channel ends
//! without a word; one that asks for more than a week, or for nothing, lasts an hour.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{ZohoCrm, error, told};
use crate::{Reply, Site, State, Table, Written, callback, clock::after};

const HOUR: Duration = Duration::from_secs(60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const MAX_TOKEN_CHARS: usize = 50;
const MAX_CHANNELS: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The channels, and what they have not sent yet.
#[derive(Debug, Default)]
pub(super) struct Watches {
    channels: State<Vec<Channel>>,
    waiting: State<Vec<(String, Bytes)>>,
}

#[derive(Clone, Debug)]
struct Channel {
    id: String,
    events: Vec<String>,
    token: Option<String>,
    url: String,
    expires: Timestamp,
    tells_values: bool,
}

impl ZohoCrm {
    pub(super) fn watch(&self, body: &Value) -> Reply {
        let Some(asked) = body["watch"].as_array().filter(|asked| !asked.is_empty()) else {
            let details = json!({ "api_name": "watch" });
            return error(400, "MANDATORY_NOT_FOUND", details, "required field not found");
        };
        let mut channels = Vec::new();
        for one in asked {
            match channel(one, self.site.clock.now()) {
                Ok(channel) => channels.push(channel),
                Err(field) => {
                    let details = json!({ "api_name": field });
                    return error(400, "INVALID_DATA", details, "invalid data");
                }
            }
        }
        let told: Vec<Value> = channels.iter().map(registered).collect();
        let mut known = self.watches.channels.lock();
        known.retain(|old| channels.iter().all(|new| new.id != old.id));
        known.extend(channels);
        known.truncate(MAX_CHANNELS);
        Reply::json(200, &json!({ "watch": told }))
    }
}

impl Watches {
    /// A record changed: the channels that watch it have something to send.
    pub(super) fn changed(&self, site: &Site, module: &str, table: &Table, written: &Written) {
        let now = site.clock.now();
        let (event, operation) = match written.created {
            true => ("create", "insert"),
            false => ("edit", "update"),
        };
        let watches = |channel: &&Channel| {
            let named = |name: &str| channel.events.contains(&format!("{module}.{name}"));
            channel.expires > now && (named(event) || named("all"))
        };
        let channels = self.channels.lock();
        for channel in channels.iter().filter(watches) {
            let fields: Vec<&String> = written.changed.iter().map(|(name, _)| name).collect();
            let (_, query) = channel.url.split_once('?').unwrap_or((&channel.url, ""));
            let query: Map<String, Value> = form_urlencoded::parse(query.as_bytes())
                .map(|(name, value)| (name.into_owned(), json!(value)))
                .collect();
            let mut body = json!({
                "server_time": now.as_millisecond(), "module": module, "operation": operation,
                "resource_uri": format!("{}/crm/v8/{module}", site.api_url),
                "ids": [written.id], "affected_fields": [{ &written.id: fields }],
                "query_params": query, "channel_id": channel.id, "token": channel.token,
            });
            if channel.tells_values {
                let record = table.get(&written.id);
                let value = |name: &String| record.and_then(|record| record.fields.get(name));
                let values: Map<String, Value> = written
                    .changed
                    .iter()
                    .map(|(name, _)| (name.clone(), value(name).cloned().unwrap_or(Value::Null)))
                    .collect();
                body["affected_values"] = json!([{ "record_id": written.id, "values": values }]);
            }
            self.waiting.lock().push((channel.url.clone(), Bytes::from(body.to_string())));
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Sends what waits, each call once, whatever becomes of it.
    pub(super) async fn send(&self) -> usize {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let mut received = 0;
        for (url, body) in waiting {
            let headers = [("content-type", "application/json")];
            let answer = callback::post(&url, &headers, body, TIMEOUT).await;
            received += usize::from(answer.is_ok_and(|reply| reply.status.is_success()));
        }
        received
    }
}

/// A channel as it was asked for, or the field that is wrong.
fn channel(asked: &Value, now: Timestamp) -> Result<Channel, &'static str> {
    let id = match &asked["channel_id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return Err("channel_id"),
    };
    let events = asked["events"].as_array().filter(|events| !events.is_empty()).ok_or("events")?;
    let events = events.iter().map(|event| event.as_str().map(str::to_owned).ok_or("events"));
    let url = asked["notify_url"].as_str().ok_or("notify_url")?.to_owned();
    let token = asked["token"].as_str().map(str::to_owned);
    if token.as_ref().is_some_and(|token| token.chars().count() > MAX_TOKEN_CHARS) {
        return Err("token");
    }
    let hour = after(now, HOUR);
    let expires = match &asked["channel_expiry"] {
        Value::Null => hour,
        Value::String(text) if text.contains('.') => return Err("channel_expiry"),
        Value::String(text) => {
            let expires: Timestamp = text.parse().map_err(|_| "channel_expiry")?;
            if expires > after(now, WEEK) { hour } else { expires }
        }
        _ => return Err("channel_expiry"),
    };
    Ok(Channel {
        id,
        events: events.collect::<Result<_, _>>()?,
        token,
        url,
        expires,
        tells_values: asked["return_affected_field_values"] == json!(true),
    })
}

fn registered(channel: &Channel) -> Value {
    let events: Vec<Value> = channel
        .events
        .iter()
        .map(|event| {
            let module = event.split('.').next().unwrap_or_default();
            json!({
                "channel_id": channel.id, "channel_expiry": told(channel.expires),
                "resource_name": module,
            })
        })
        .collect();
    json!({
        "code": "SUCCESS", "details": { "events": events }, "status": "success",
        "message": "Successfully subscribed for actions-watch of the given module",
    })
}
