//! Records that an event only names, read from the XML gateway: a request with the sender's and the user's
//! credentials goes out, the record's fields come back. The gateway answers 200 to failures too; its
//! `status` elements tell. One host serves all companies.

use jiff::Timestamp;
use roxmltree::Node;
use serde::{Deserialize, Serialize};

use crate::providers::{
    Answer, Call, Endpoint, Fetch, Fetching, Mistake, Step, TranslateError, markup, payload,
};

use super::records::{OBJECT_NAMES, Record};
use super::{COMPANY_ID, template};

/// Who sends the request: the web services sender.
pub(super) const SENDER_ID: &str = "sender_id";
pub(super) const SENDER_PASSWORD: &str = "sender_password";
/// In whose name: a web services user of the company.
pub(super) const USER_ID: &str = "user_id";
pub(super) const USER_PASSWORD: &str = "user_password";
/// The gateway, where it is another than the one of all companies.
pub(super) const GATEWAY_URL: &str = "gateway_url";
pub(super) const GATEWAY_HOST: &str = "api.intacct.com";

const CREDENTIALS: [&str; 4] = [SENDER_ID, SENDER_PASSWORD, USER_ID, USER_PASSWORD];

/// What an event told of the record.
#[derive(Serialize, Deserialize)]
struct Told {
    object: String,
    number: String,
    occurred_at: Timestamp,
}

pub(super) fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let given = CREDENTIALS.iter().filter(|name| endpoint.secret(name).is_some()).count();
    if given != 0 && given != CREDENTIALS.len() {
        let reason = format!("of {} all are needed or none", CREDENTIALS.join(", "));
        return Err(Mistake { key: "secrets", reason });
    }
    let url = endpoint.setting(GATEWAY_URL, "");
    if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Mistake { key: GATEWAY_URL, reason: format!("`{url}` is not a URL") });
    }
    Ok(())
}

/// The fetch of a record that is only named.
pub(super) fn fetch_of(record: &Record<'_>) -> Result<Fetch, TranslateError> {
    let told = Told {
        object: record.object.to_owned(),
        number: record.number.to_owned(),
        occurred_at: record.occurred_at,
    };
    let object = format!("{}/{}", told.object, told.number);
    let told = serde_json::to_string(&told)
        .map_err(|error| payload::unreadable("what was told of a record", &error))?;
    Ok(Fetch { object, told })
}

/// One call, and what it answers.
pub(super) fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let told: Told = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what was told of a record", &error))?;
    match fetching.answers.last() {
        None => call(&told, fetching.endpoint).map(Step::Call),
        Some(answer) => read(&told, answer, fetching.endpoint),
    }
}

fn call(told: &Told, endpoint: &Endpoint) -> Result<Call, TranslateError> {
    let secret = |name: &str| {
        let missing = || TranslateError(format!("records cannot be read without `secrets.{name}`"));
        endpoint.secret(name).map(escaped).ok_or_else(missing)
    };
    let [sender, sender_password, user, user_password] =
        [secret(SENDER_ID)?, secret(SENDER_PASSWORD)?, secret(USER_ID)?, secret(USER_PASSWORD)?];
    let company = secret(COMPANY_ID)?;
    let (object, number) = (escaped(&told.object), escaped(&told.number));
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<request>
 <control><senderid>{sender}</senderid><password>{sender_password}</password><controlid>read</controlid><uniqueid>false</uniqueid><dtdversion>3.0</dtdversion><includewhitespace>false</includewhitespace></control>
 <operation>
  <authentication><login><userid>{user}</userid><companyid>{company}</companyid><password>{user_password}</password></login></authentication>
  <content><function controlid="read"><read><object>{object}</object><keys>{number}</keys><fields>*</fields></read></function></content>
 </operation>
</request>
"#
    );
    let default = format!("https://{GATEWAY_HOST}/ia/xml/xmlgw.phtml");
    let url = endpoint.setting(GATEWAY_URL, &default).to_owned();
    let call = Call::new(http::Method::POST, url, body.into());
    Ok(call.header("content-type", "application/xml").header("accept", "application/xml"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn read(told: &Told, answer: &Answer, endpoint: &Endpoint) -> Result<Step, TranslateError> {
    let unreadable = || {
        let status = answer.status;
        TranslateError(format!("the gateway's answer with the status {status} cannot be read"))
    };
    let document = markup::parse(&answer.body).ok_or_else(unreadable)?;
    let response = document.root_element();
    let operation = named(response, "operation");
    let result = operation.and_then(|operation| named(operation, "result"));
    let parts = [
        named(response, "control"),
        operation.and_then(|operation| named(operation, "authentication")),
        result,
    ];
    if let Some(failed) = parts.into_iter().flatten().find(|part| is_failure(*part)) {
        let number = failed.descendants().find(|node| node.has_tag_name("errorno"));
        let number = number.map(markup::text).unwrap_or_default();
        return Err(TranslateError(format!("the gateway refused to read the record: {number}")));
    }
    let data = result.and_then(|result| named(result, "data")).ok_or_else(unreadable)?;
    // A record that is gone leaves an empty list.
    let Some(record) = data.children().find(Node::is_element) else { return Ok(Step::Denied) };
    let fields = template::elements(record)?;
    let object = OBJECT_NAMES.iter().find(|name| **name == told.object).ok_or_else(unreadable)?;
    let record = Record::new(object, "", &fields, told.occurred_at, endpoint)?;
    if record.number != told.number {
        return Err(TranslateError("the gateway answered with another record".to_owned()));
    }
    if record.is_thin() {
        return Err(TranslateError("the record has neither amounts nor a state".to_owned()));
    }
    Ok(Step::Done { drafts: record.drafts()?, cursor: None })
}

fn named<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

fn is_failure(part: Node<'_, '_>) -> bool {
    named(part, "status").is_some_and(|status| markup::text(status) != "success")
}
