//! What HubSpot answers, in the forms that it gives: errors of a call, errors of rows, the list of bad
//! values that it puts into a message. In comes a body, out goes what is in it that matters here. It must
//! never fail on a form that it does not know: what cannot be read is absent.

use std::collections::HashMap;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::api::Answer;
use crate::crm::Fault;

/// How much of HubSpot's words is told.
pub(super) const MAX_TOLD_BYTES: usize = 500;

/// A call that was refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// Whatever rows were in it.
    Call(Fault),
    /// Because of one or more of its rows.
    Rows(Problem),
}

impl Refused {
    /// Where there are no rows that it could be about.
    pub(super) fn into_fault(self) -> Fault {
        match self {
            Refused::Call(fault) => fault,
            Refused::Rows(problem) => Fault::permanent(problem.code(), problem.told()),
        }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::Call(fault)
    }
}

/// What an error says: of a call, or of rows in the answer of a call.
#[derive(Debug)]
pub(super) struct Problem {
    /// The status of the call.
    pub(super) status: StatusCode,
    category: String,
    policy: String,
    message: String,
    /// The bad values that the message lists.
    pub(super) invalid: Vec<Invalid>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// The calls of the day.
    Daily,
    /// The searches of a second.
    Secondly,
    /// The calls of 10 seconds, or one that is not known.
    Rolling,
}

/// A value that was refused, as the list in a message has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Invalid {
    /// HubSpot's code: `INVALID_OPTION`.
    pub(super) error: String,
    /// The property.
    pub(super) name: String,
    /// HubSpot's words.
    #[serde(default)]
    pub(super) message: String,
    /// The value, where it is told.
    #[serde(rename = "propertyValue")]
    pub(super) value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ErrorBody {
    category: Option<String>,
    error_type: Option<String>,
    policy_name: Option<String>,
    message: Option<String>,
}

impl Problem {
    /// What a refused call says.
    pub(super) fn of(answer: &Answer) -> Problem {
        let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
        let category = body.category.or(body.error_type).unwrap_or_default();
        let is_hubspots = !category.is_empty() || body.message.is_some();
        let message = body.message.filter(|_| is_hubspots).unwrap_or_else(|| answer.told());
        let policy = body.policy_name.unwrap_or_default();
        Problem {
            status: answer.status,
            invalid: listed(&message),
            category: if is_hubspots && category.is_empty() {
                unnamed(answer.status)
            } else {
                category
            },
            policy,
            message,
        }
    }

    /// Whether HubSpot said it, and not something between.
    pub(super) fn is_hubspots(&self) -> bool {
        !self.category.is_empty()
    }

    /// HubSpot's most exact code.
    pub(super) fn code(&self) -> String {
        let exact = self.invalid.first().map(|invalid| invalid.error.clone());
        let code = exact.unwrap_or_else(|| self.category.clone());
        if code.is_empty() { unnamed(self.status) } else { code }
    }

    /// HubSpot's category: `VALIDATION_ERROR`, `CONFLICT`.
    pub(super) fn category(&self) -> &str {
        &self.category
    }

    /// HubSpot's words, not too many of them.
    pub(super) fn told(&self) -> String {
        let words = cut(&self.message, MAX_TOLD_BYTES);
        format!("{} {words}", self.status.as_u16())
    }

    /// Which limit is reached.
    pub(super) fn policy(&self) -> Policy {
        match self.policy.as_str() {
            "DAILY" => Policy::Daily,
            "SECONDLY" => Policy::Secondly,
            _ => Policy::Rolling,
        }
    }
}

/// The answer of a batch call or a search.
#[derive(Deserialize)]
pub(super) struct Page {
    /// `COMPLETE`; searches have none.
    #[serde(default)]
    pub(super) status: String,
    /// Records that were read or written, in no order.
    #[serde(default)]
    pub(super) results: Vec<Row>,
    /// What is wrong with the others.
    #[serde(default)]
    errors: Vec<RowError>,
    /// Where a search goes on, if it does.
    #[serde(default)]
    paging: Option<Json>,
}

/// A record.
#[derive(Deserialize)]
pub(super) struct Row {
    /// Its id.
    pub(super) id: String,
    #[serde(default)]
    properties: HashMap<String, Json>,
    /// Whether an upsert created it.
    pub(super) new: Option<bool>,
    /// What the row was marked with.
    #[serde(rename = "objectWriteTraceId")]
    pub(super) trace: Option<String>,
    /// Whether it is in the bin.
    #[serde(default)]
    pub(super) archived: bool,
}

#[derive(Deserialize)]
struct RowError {
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    context: Json,
}

/// What is wrong with some rows of a batch.
pub(super) struct Flaw {
    /// What they were marked with.
    pub(super) traces: Vec<String>,
    /// What they were named by.
    pub(super) ids: Vec<String>,
    /// What HubSpot says.
    pub(super) problem: Problem,
}

impl Page {
    /// One without records.
    pub(super) fn none() -> Page {
        Page { status: String::new(), results: Vec::new(), errors: Vec::new(), paging: None }
    }

    /// Whether a search has more than this page.
    pub(super) fn goes_on(&self) -> bool {
        let after = self.paging.as_ref().and_then(|paging| paging.pointer("/next/after"));
        after.is_some_and(|after| !after.is_null())
    }

    /// The errors of rows, taken out.
    pub(super) fn flaws(&mut self, status: StatusCode) -> Vec<Flaw> {
        std::mem::take(&mut self.errors).into_iter().map(|error| error.flaw(status)).collect()
    }
}

impl Row {
    /// A property as HubSpot keeps it; `None` if it was not asked for or does not exist.
    pub(super) fn property(&self, name: &str) -> Option<&Json> {
        self.properties.get(name)
    }

    /// A property's text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_str()
    }
}

impl RowError {
    fn flaw(self, status: StatusCode) -> Flaw {
        let list = |name: &str| {
            let values = self.context.get(name).and_then(Json::as_array);
            let texts = values.into_iter().flatten().filter_map(Json::as_str);
            texts.map(str::to_owned).collect()
        };
        let message = self.message.clone().unwrap_or_default();
        Flaw {
            traces: list("objectWriteTraceId"),
            ids: list("ids"),
            problem: Problem {
                status,
                category: self.category.clone().unwrap_or_else(|| unnamed(status)),
                policy: String::new(),
                invalid: listed(&message),
                message,
            },
        }
    }
}

/// The JSON list in a message such as `Property values were not valid: [{..}]`.
fn listed(message: &str) -> Vec<Invalid> {
    let Some(start) = message.find("[{") else { return Vec::new() };
    let mut values = serde_json::Deserializer::from_str(&message[start..]).into_iter();
    match values.next() {
        Some(Ok(list)) => list,
        Some(Err(_)) | None => Vec::new(),
    }
}

/// A text up to a length.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn unnamed(status: StatusCode) -> String {
    format!("HTTP {}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_in_a_message_is_read_and_anything_else_is_none() {
        let message = r#"Property values were not valid: [{"isValid":false,"message":"x was not one of the allowed options: [a]","error":"INVALID_OPTION","name":"status","portalId":1}] (1)"#;
        let read = listed(message);
        assert_eq!((read[0].error.as_str(), read[0].name.as_str()), ("INVALID_OPTION", "status"));
        for other in ["", "[", "[{", "[{\"error\":1}]", "no list", "[{}]"] {
            assert!(listed(other).is_empty(), "{other}");
        }
    }
}
