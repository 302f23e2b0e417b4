//! Pipedrive, webhooks v2: nothing is signed; the user and the password that the webhook was made with come
//! as HTTP Basic credentials and are compared as they are, untrimmed. In comes one change of a deal, whole
//! and with what it was before, out goes the payment status of one of its custom fields. A change counts
//! where it touches a mapped field; the deal's own `open`, `won`, `lost` is a state of sales and says
//! nothing about money. Custom fields are named by the hash that Pipedrive gives them.
//! Spec: <https://pipedrive.readme.io/docs/guide-for-webhooks-v2>

mod sample;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::model::{Money, References};
use crate::receipt::signature::basic_auth;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::crm::{self, Item};
use super::payload::{self, Decimal, Text};
use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, Sample, SecretKey, TranslateError, Translation,
    Verdict, no_example, no_fetch, no_poll,
};

/// Pipedrive.
pub const PROVIDER: Provider = Provider {
    name: "pipedrive",
    title: "Pipedrive",
    secrets: &[
        SecretKey { name: USER, required: true },
        SecretKey { name: PASSWORD, required: true },
    ],
    settings: &[
        STATUS_FIELD_KEY,
        PAYMENT_ID_FIELD_KEY,
        AMOUNT_FIELD_KEY,
        STATUS_OPTIONS,
        ENTITY,
        OWN_USER_ID,
        crm::CURRENCY,
    ],
    structured: &[STATUS_OPTIONS],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &[],
    check,
    verify,
    translate,
    fetch: no_fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: no_example,
};

const USER: &str = "http_auth_user";
const PASSWORD: &str = "http_auth_password";
const AUTHORIZATION: &str = "authorization";

/// The hash of the custom field that holds the payment's status.
const STATUS_FIELD_KEY: &str = "status_field_key";
/// That of the payment's id.
const PAYMENT_ID_FIELD_KEY: &str = "payment_id_field_key";
/// That of its amount; without it the deal's own value is the amount.
const AMOUNT_FIELD_KEY: &str = "amount_field_key";
/// What the options of a status field with options are called: `{ 27 = "Paid" }`. Webhooks only tell ids.
const STATUS_OPTIONS: &str = "status_options";
/// The kind of record that stands for a payment.
const ENTITY: &str = "entity";
/// The id of the user that a connector works as: what it changed through the API is left out.
const OWN_USER_ID: &str = "own_user_id";

const DEAL: &str = "deal";
const EVENT_TYPES: [&str; 3] = ["create.deal", "change.deal", "delete.deal"];

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    crm::check(endpoint)?;
    if status_field(endpoint).is_empty() {
        return Err(Mistake { key: STATUS_FIELD_KEY, reason: "is empty".to_owned() });
    }
    let options = status_options(endpoint).ok_or_else(|| Mistake {
        key: STATUS_OPTIONS,
        reason: "is not a table like { 27 = \"Paid\" }".to_owned(),
    })?;
    match options.values().find(|text| crm::status(text).is_none()) {
        Some(text) => Err(Mistake {
            key: STATUS_OPTIONS,
            reason: format!("`{text}` is no status, as `Paid` is"),
        }),
        None => Ok(()),
    }
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    request.header(AUTHORIZATION)?;
    let (user, password) = (endpoint.candidates(USER), endpoint.candidates(PASSWORD));
    let proof = basic_auth(user, password, &request.headers)?;
    // Nothing covers the body, so one that is cut off must not be taken for what was sent.
    serde_json::from_slice::<IgnoredAny>(&request.body)
        .map_err(|_| VerifyError::Malformed("body"))?;
    Ok(Verdict::Verified(proof))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    meta: Option<Meta<'a>>,
    #[serde(borrow)]
    data: Option<Record<'a>>,
    #[serde(borrow)]
    previous: Option<Record<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    action: Text<'a>,
    #[serde(borrow)]
    entity: Text<'a>,
    #[serde(borrow)]
    entity_id: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    correlation_id: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow)]
    user_id: Text<'a>,
    #[serde(borrow)]
    change_source: Text<'a>,
}

/// A deal, or of `previous` as much of it as changed.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    person_id: Text<'a>,
    value: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    custom_fields: Option<BTreeMap<String, Option<&'a RawValue>>>,
}

/// The value of a custom field, whatever its type.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Field<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    label: Text<'a>,
    /// The chosen options, each read as its id.
    #[serde(borrow)]
    values: Option<Vec<Text<'a>>>,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Pipedrive event", &error))?;
    let meta = body.meta.as_ref().ok_or_else(|| missing("meta"))?;
    if meta.action.is_empty() || meta.entity.is_empty() {
        return Err(missing("action or entity"));
    }
    let is_other = *meta.entity != *endpoint.setting(ENTITY, DEAL).trim();
    let is_own = *meta.change_source == *"api"
        && !meta.user_id.is_empty()
        && *meta.user_id == *endpoint.setting(OWN_USER_ID, "").trim();
    let item = match &*meta.action {
        "create" | "change" | "delete" if is_other || is_own => Item::Silent,
        "create" => item(&body, meta, receipt, endpoint)?,
        "change" if touches_payment(&body, endpoint) => item(&body, meta, receipt, endpoint)?,
        // That a deal is gone says nothing about the money.
        "change" | "delete" => Item::Silent,
        _ => return payload::unknown_type(&event_type(meta)),
    };
    crm::translation(vec![item], &endpoint.name)
}

fn event_type(meta: &Meta<'_>) -> String {
    format!("{}.{}", &*meta.action, &*meta.entity)
}

/// Whether a mapped field is among those that changed.
fn touches_payment(body: &Body<'_>, endpoint: &Endpoint) -> bool {
    let changed = body.previous.as_ref().and_then(|previous| previous.custom_fields.as_ref());
    let mapped = [
        status_field(endpoint),
        endpoint.setting(PAYMENT_ID_FIELD_KEY, "payment_id").trim(),
        endpoint.setting(AMOUNT_FIELD_KEY, "").trim(),
    ];
    changed.is_some_and(|fields| mapped.iter().any(|key| fields.contains_key(*key)))
}

fn item(
    body: &Body<'_>,
    meta: &Meta<'_>,
    receipt: &Receipt,
    endpoint: &Endpoint,
) -> Result<Item, TranslateError> {
    let record = body.data.as_ref().ok_or_else(|| missing("data"))?;
    let text = match record.field(status_field(endpoint))? {
        Some(field) => field.status_text(endpoint),
        None if body.previous.is_none() => return Ok(Item::Silent),
        None => String::new(),
    };
    let Some(status) = crm::status(&text) else {
        return Ok(Item::UnknownStatus);
    };
    let record_id = payload::first(&[&meta.entity_id, &record.id]);
    if record_id.is_empty() {
        return Err(missing("entity_id"));
    }
    let occurred_at = match &*meta.timestamp {
        "" => receipt.received_at(),
        text => text.parse::<Timestamp>().map_err(|_| payload::not_a("a time", text))?,
    };
    let payment_id = record.field(endpoint.setting(PAYMENT_ID_FIELD_KEY, "payment_id").trim())?;
    let mut references =
        References { customer: record.person_id.to_string(), ..References::default() };
    if !record.title.is_empty() {
        references.metadata.insert("record_name".to_owned(), record.title.to_string());
    }
    let amount = record.amount(endpoint)?;
    let event_type = event_type(meta);
    let key = key(meta, &event_type, &record_id);
    Ok(Item::Reported(Box::new(crm::Report {
        event_id: payload::first(&[&meta.id, &key]),
        key,
        event_type,
        occurred_at,
        record_type: meta.entity.to_string(),
        record_id,
        payment_id: payment_id.map(|field| field.text()).unwrap_or_default(),
        status,
        amount,
        live: true,
        references: crm::keep_currency(references, amount, &record.currency),
    })))
}

/// Retries bear the same id; where there is none, all that tells two events apart.
fn key(meta: &Meta<'_>, event_type: &str, record_id: &str) -> String {
    match meta.id.is_empty() {
        false => meta.id.to_string(),
        true => {
            let (correlation_id, timestamp) = (&*meta.correlation_id, &*meta.timestamp);
            format!("{correlation_id}:{event_type}:{record_id}:{timestamp}")
        }
    }
}

impl Record<'_> {
    /// A custom field; `None` where it is empty or not there.
    fn field(&self, key: &str) -> Result<Option<Field<'_>>, TranslateError> {
        let fields = self.custom_fields.as_ref();
        let Some(raw) = fields.and_then(|fields| fields.get(key)).copied().flatten() else {
            return Ok(None);
        };
        if !raw.get().starts_with('{') {
            return Ok(Some(Field { value: Some(raw), ..Field::default() }));
        }
        serde_json::from_str(raw.get())
            .map(Some)
            .map_err(|error| payload::unreadable("a custom field", &error))
    }

    /// What the amount field says, else the deal's own value.
    fn amount(&self, endpoint: &Endpoint) -> Result<Option<Money>, TranslateError> {
        let key = endpoint.setting(AMOUNT_FIELD_KEY, "").trim();
        if key.is_empty() {
            return crm::amount(self.value.text(), &self.currency, endpoint);
        }
        let Some(field) = self.field(key)? else {
            return Ok(None);
        };
        let value: Decimal = match field.value {
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|error| payload::unreadable("an amount", &error))?,
            None => Decimal::default(),
        };
        let currency = payload::first(&[&field.currency, &self.currency]);
        crm::amount(value.text(), &currency, endpoint)
    }
}

impl Field<'_> {
    fn text(&self) -> String {
        let text = self.value.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok());
        text.unwrap_or_default().to_string()
    }

    /// The status in words: of an option its label, or what the endpoint calls its id.
    fn status_text(&self, endpoint: &Endpoint) -> String {
        let chosen = match self.values.as_deref() {
            Some([only]) => &**only,
            Some(_) => return String::new(),
            None => &*self.id,
        };
        let options = status_options(endpoint).unwrap_or_default();
        let named = options.get(chosen).map_or("", String::as_str);
        payload::first(&[named, &self.label, &self.text()])
    }
}

fn status_field(endpoint: &Endpoint) -> &str {
    endpoint.setting(STATUS_FIELD_KEY, "payment_status").trim()
}

/// The texts of the status field's options by id; `None` where the setting cannot be read.
fn status_options(endpoint: &Endpoint) -> Option<BTreeMap<String, String>> {
    match endpoint.setting(STATUS_OPTIONS, "").trim() {
        "" => Some(BTreeMap::new()),
        text => serde_json::from_str(text).ok(),
    }
}

fn missing(what: &str) -> TranslateError {
    TranslateError(format!("the event has no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
    use crate::providers::testing;

    const SECRETS: &[(&str, &str)] = &[(USER, "hook"), (PASSWORD, "sample:pass word")];

    fn endpoint() -> Endpoint {
        testing::endpoint(&PROVIDER, SECRETS)
    }

    fn with(settings: &[(&str, &str)]) -> Endpoint {
        let mut endpoint = endpoint();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        endpoint.settings = settings.iter().map(owned).collect();
        endpoint
    }

    fn meaning(endpoint: &Endpoint, change: [&str; 2]) -> Translation {
        let body = testing::sample(&PROVIDER, endpoint, "change.deal", 0).body;
        let text = std::str::from_utf8(&body).expect("text");
        assert!(text.contains(change[0]), "{} in {text}", change[0]);
        let body = text.replace(change[0], change[1]);
        testing::translate_stored(&PROVIDER, endpoint, body.as_bytes()).expect("readable")
    }

    #[test]
    fn samples_verify_and_translate() {
        let coverage = testing::Coverage::Nothing;
        testing::check_samples(&PROVIDER, &endpoint(), &["delete.deal"], coverage);
    }

    #[test]
    fn a_deal_is_ordered_along_its_life() {
        testing::check_life(&PROVIDER, &endpoint(), &["create.deal", "change.deal"]);
    }

    #[test]
    fn any_order_of_a_life_ends_in_the_same_state() {
        let endpoint = endpoint();
        let at = |event_type, at| {
            testing::drafts(&PROVIDER, &endpoint, event_type, at).expect("known").remove(0)
        };
        let mut refunded = at("change.deal", 2);
        let from = ["\"value\":\"Paid\"", "\"value\":\"Partially refunded\""];
        let Translation::Events(drafts) = meaning(&endpoint, from) else { panic!("an event") };
        refunded.fact = drafts[0].fact.clone();
        refunded.key.push_str("-refunded");
        let drafts: [Draft; 3] = [at("create.deal", 0), at("change.deal", 1), refunded];
        let states =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(|all| {
                let mut state = SubjectState::begin(&drafts[0].subject);
                for at in all {
                    state.apply(&drafts[at], Sequence(1));
                }
                state
            });
        for state in &states {
            assert!(state.converges_with(&states[0]));
            let partly = Status::Payment(PaymentStatus::PartiallyRefunded);
            assert_eq!(state.status(), Some(partly));
        }
    }

    #[test]
    fn credentials_are_not_trimmed_and_come_once() {
        use base64::Engine;
        let request = testing::sample(&PROVIDER, &endpoint(), "change.deal", 0);
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let proves = |scheme: &str, credentials: &str| {
            let text = base64::engine::general_purpose::STANDARD.encode(credentials);
            let mut request = request.clone();
            let value = format!("{scheme} {text}").parse().expect("a value");
            request.headers.insert(AUTHORIZATION, value);
            PROVIDER.prove(&request, &endpoint(), now).is_ok()
        };
        assert!(proves("basic", "hook:sample:pass word"));
        for wrong in [
            "hook:sample:pass word\n",
            " hook:sample:pass word",
            "hook:sample:pass wor",
            "hook:",
            "hook",
            "xhook:sample:pass word",
        ] {
            assert!(!proves("Basic", wrong), "{wrong:?}");
        }
        assert!(!proves("Bearer", "hook:sample:pass word"));
        let mut twice = request.clone();
        twice.headers.append(AUTHORIZATION, request.headers[AUTHORIZATION].clone());
        assert!(PROVIDER.prove(&twice, &endpoint(), now).is_err());
        let cut = Request { body: request.body.slice(..40), ..request };
        assert!(PROVIDER.prove(&cut, &endpoint(), now).is_err());
    }

    #[test]
    fn a_change_counts_where_it_touches_a_mapped_field() {
        let nothing = Translation::Events(Vec::new());
        let previous = "\"previous\":{\"custom_fields\":{\"payment_status\"";
        let other = "\"previous\":{\"custom_fields\":{\"other\"";
        assert_eq!(meaning(&endpoint(), [previous, other]), nothing);
        let payment = "\"previous\":{\"custom_fields\":{\"payment_id\"";
        let Translation::Events(drafts) = meaning(&endpoint(), [previous, payment]) else {
            panic!("an event")
        };
        assert_eq!(drafts.len(), 1);
        let person = ["\"entity\":\"deal\"", "\"entity\":\"person\""];
        assert_eq!(meaning(&endpoint(), person), nothing);
        assert_eq!(meaning(&with(&[(OWN_USER_ID, "9001")]), ["\"app\"", "\"api\""]), nothing);
        let untimed = ["\"timestamp\":", "\"no_timestamp\":"];
        assert!(testing::draft_of(&PROVIDER, &endpoint(), "change.deal", untimed).is_ok());
        let action = ["\"action\":\"change\"", "\"action\":\"updated\""];
        let unknown = Translation::Unknown("updated.deal".to_owned());
        assert_eq!(meaning(&endpoint(), action), unknown);
    }

    #[test]
    fn an_emptied_or_strange_status_is_unknown() {
        let unknown = Translation::Unknown(crm::UNKNOWN_STATUS.to_owned());
        let field = "{\"type\":\"text\",\"value\":\"Paid\"}";
        for to in
            ["null", "{\"type\":\"text\",\"value\":\"Bezahlt\"}", "{\"type\":\"enum\",\"id\":7}"]
        {
            assert_eq!(meaning(&endpoint(), [field, to]), unknown, "{to}");
        }
    }

    #[test]
    fn options_are_read_by_their_ids() {
        let endpoint = with(&[(STATUS_OPTIONS, "{\"27\":\"Refunded\"}")]);
        let field = "{\"type\":\"text\",\"value\":\"Paid\"}";
        for to in ["{\"type\":\"enum\",\"id\":27}", "{\"type\":\"set\",\"values\":[{\"id\":27}]}"] {
            let Translation::Events(drafts) = meaning(&endpoint, [field, to]) else {
                panic!("an event")
            };
            let fact = testing::payment_fact(&drafts[0]);
            assert_eq!(fact.status, Some(PaymentStatus::Refunded), "{to}");
        }
    }

    #[test]
    fn amounts_are_exact_and_come_from_the_mapped_field() {
        let endpoint = with(&[(AMOUNT_FIELD_KEY, "fee")]);
        let status = "\"payment_id\":{";
        let minor = |fee: &str| {
            let to = format!("\"fee\":{fee},{status}");
            let change = [status, to.as_str()];
            testing::draft_of(&PROVIDER, &endpoint, "change.deal", change)
                .map(|draft| testing::payment_fact(&draft).amount.map(|money| money.to_string()))
        };
        let monetary = "{\"type\":\"monetary\",\"value\":0.29,\"currency\":\"USD\"}";
        assert_eq!(minor(monetary), Ok(Some("0.29 USD".to_owned())));
        let double = "{\"type\":\"double\",\"value\":\"12.5\"}";
        assert_eq!(minor(double), Ok(Some("12.50 EUR".to_owned())));
        assert_eq!(minor("null"), Ok(None));
        let yen = "{\"type\":\"monetary\",\"value\":0.5,\"currency\":\"JPY\"}";
        assert!(minor(yen).is_err(), "it would have to be rounded");
    }

    #[test]
    fn mistaken_settings_are_refused() {
        for (key, value) in [
            (STATUS_FIELD_KEY, " "),
            (STATUS_OPTIONS, "[\"Paid\"]"),
            (STATUS_OPTIONS, "{\"27\":\"Bezahlt\"}"),
            (crm::CURRENCY, "EURO"),
        ] {
            let refused = check(&with(&[(key, value)]));
            assert_eq!(refused.err().map(|mistake| mistake.key), Some(key), "{value}");
        }
        assert_eq!(check(&endpoint()), Ok(()));
    }

    #[test]
    fn no_request_panics() {
        testing::check_hostile_input(&PROVIDER, &endpoint());
    }
}
