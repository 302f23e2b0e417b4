//! What a QuickBooks webhook tells: which object of which company had what done to it. In comes a body in
//! either form, out come notices and the fetches that they ask for. A notice holds nothing else: amounts
//! and status are the API's to tell. An item that cannot be read is told as such, so that it is not lost
//! without a trace, and the others not with it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::providers::payload::{self, Text};
use crate::providers::{Fetch, TranslateError, accounting};

/// One item of a body; as JSON it is what a fetch keeps of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Notice {
    /// The company.
    #[serde(rename = "r")]
    pub realm: String,
    /// The object's id.
    #[serde(rename = "i")]
    pub id: String,
    /// The name of the event, in the newer form and in lower case.
    #[serde(rename = "t")]
    pub event_type: String,
    /// The event's id; of older bodies, which have none, all that tells events apart.
    #[serde(rename = "e")]
    pub event_id: String,
    /// When it happened.
    #[serde(rename = "a")]
    pub at: String,
}

impl Notice {
    /// The notice that a fetch keeps.
    pub fn of(fetch: &Fetch) -> Result<Notice, TranslateError> {
        serde_json::from_str(&fetch.told)
            .map_err(|error| payload::unreadable("what a webhook told", &error))
    }

    /// The fetch that it asks for.
    pub fn fetch(&self, collection: &str) -> Result<Fetch, TranslateError> {
        let realm = accounting::path_id("a company", &self.realm)?;
        let id = accounting::path_id("an object", &self.id)?;
        if self.event_id.is_empty() {
            return Err(TranslateError("the event has no id".to_owned()));
        }
        let told = serde_json::to_string(self)
            .map_err(|error| payload::unreadable("a notice of ours", &error))?;
        Ok(Fetch { object: format!("{realm}/{collection}/{id}"), told })
    }
}

/// The notices of a body, in order, each by itself.
pub(super) fn read(body: &[u8]) -> Result<Vec<Result<Notice, TranslateError>>, TranslateError> {
    let unreadable = |error| payload::unreadable("a QuickBooks webhook", &error);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        let events: Vec<&RawValue> = serde_json::from_slice(body).map_err(unreadable)?;
        let notices = events.into_iter().map(|event| {
            let event = serde_json::from_str::<CloudEvent<'_>>(event.get()).map_err(unreadable);
            event.and_then(CloudEvent::notice)
        });
        return Ok(notices.collect());
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    match body.notifications {
        Some(notifications) => {
            let changes = notifications.iter().flat_map(|notification| {
                let changes = notification.changes.as_ref();
                let changes = changes.map_or(&[][..], |changes| &changes.entities);
                changes.iter().map(|change| change.notice(&notification.realm))
            });
            Ok(changes.map(Ok).collect())
        }
        // One event by itself.
        None => Ok(vec![body.event.notice()]),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow, rename = "eventNotifications")]
    notifications: Option<Vec<Notification<'a>>>,
    #[serde(borrow, flatten)]
    event: CloudEvent<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CloudEvent<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    event_type: Text<'a>,
    #[serde(borrow)]
    time: Text<'a>,
    #[serde(borrow, rename = "intuitentityid")]
    entity_id: Text<'a>,
    #[serde(borrow, rename = "intuitaccountid")]
    account_id: Text<'a>,
}

impl CloudEvent<'_> {
    fn notice(self) -> Result<Notice, TranslateError> {
        if self.event_type.is_empty() {
            return Err(TranslateError("the event has no type".to_owned()));
        }
        Ok(Notice {
            realm: self.account_id.to_string(),
            id: self.entity_id.to_string(),
            event_type: self.event_type.to_ascii_lowercase(),
            event_id: self.id.to_string(),
            at: self.time.to_string(),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Notification<'a> {
    #[serde(borrow, rename = "realmId")]
    realm: Text<'a>,
    #[serde(borrow, rename = "dataChangeEvent")]
    changes: Option<Changes<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Changes<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    entities: Vec<Change<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Change<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    operation: Text<'a>,
    #[serde(borrow, rename = "lastUpdated")]
    last_updated: Text<'a>,
}

impl Change<'_> {
    fn notice(&self, realm: &str) -> Notice {
        let operation = self.operation.to_ascii_lowercase();
        let operation = match operation.as_str() {
            "create" => "created",
            "update" => "updated",
            "delete" => "deleted",
            "void" => "voided",
            "merge" => "merged",
            other => other,
        };
        let event_id = [realm, &self.name, &self.id, &self.operation, &self.last_updated].join(":");
        Notice {
            realm: realm.to_owned(),
            id: self.id.to_string(),
            event_type: format!("qbo.{}.{operation}.v1", self.name.to_ascii_lowercase()),
            event_id,
            at: self.last_updated.to_string(),
        }
    }
}
