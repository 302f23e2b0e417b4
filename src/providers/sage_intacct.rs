//! Sage Intacct: HTTP posts of Smart Events and triggers. Nothing is signed, and the admin writes URL and
//! body, so both are the gateway's convention: the query parameter `token` is the endpoint's `url_token`,
//! and the body names the endpoint's company. The body is a form, XML or JSON with the fields `company`,
//! `object`, `event`, `recordno`, `docid`, `customerid`, `total`, `paid`, `due`, `currency`, `state`,
//! `whenmodified` (and `invoice`, the record that a credit is applied to). In come records of receivables
//! and cash, out go invoices, payments and bank transactions. Injected values stand unescaped, so the
//! safest body has ids only: its record is read from the XML gateway. Injection parameters that arrive as
//! they were written are a misconfigured event and refused.
//! Spec: <https://developer.intacct.com/customization-services/smart-events/>,
//! <https://developer.intacct.com/api/accounts-receivable/invoices/>

mod read;
mod records;
mod sample;
mod template;

use jiff::Timestamp;

use crate::receipt::signature::shared_token;
use crate::receipt::{ALL, Receipt, Redaction, Request, VerifyError};

use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, Sample, SecretKey, TranslateError, Translation,
    Verdict, crm, no_example, no_poll, payload, url_token,
};
use records::{OBJECT_NAMES, Record};

/// Sage Intacct.
pub const PROVIDER: Provider = Provider {
    name: "sage_intacct",
    title: "Sage Intacct",
    secrets: &[
        SecretKey { name: URL_TOKEN, required: true },
        SecretKey { name: COMPANY_ID, required: true },
        SecretKey { name: read::SENDER_ID, required: false },
        SecretKey { name: read::SENDER_PASSWORD, required: false },
        SecretKey { name: read::USER_ID, required: false },
        SecretKey { name: read::USER_PASSWORD, required: false },
    ],
    settings: &[crm::CURRENCY, read::GATEWAY_URL],
    structured: &[],
    events: &OBJECT_NAMES,
    redaction: Redaction {
        headers: &["x-trusted-context"],
        query: &[ALL],
        body_members: &["session", "sessionid", "sessionId", "SessionId", "SESSIONID"],
    },
    hosts: &[read::GATEWAY_HOST],
    check,
    verify,
    translate,
    fetch: read::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: no_example,
};

/// The secret of the URL, in the query parameter `token`.
const URL_TOKEN: &str = "url_token";
const URL_PARAMETER: &str = "token";
/// The company whose records are told, as it stands in the body.
const COMPANY_ID: &str = "company_id";
/// What an injection parameter begins with.
const UNRESOLVED: &str = "{!";

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    read::check(endpoint)?;
    crm::check(endpoint)
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let proof = url_token::verify(request, URL_PARAMETER, endpoint.candidates(URL_TOKEN))?;
    let fields = template::read(&request.body).map_err(|_| VerifyError::Malformed("body"))?;
    // Which value it was does not matter: the secret of the URL is the proof.
    let _ = shared_token(endpoint.candidates(COMPANY_ID), fields.text("company"))?;
    if fields.iter().any(|(_, text)| text.contains(UNRESOLVED)) {
        return Err(VerifyError::Malformed("body"));
    }
    Ok(Verdict::Verified(proof))
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let fields = template::read(receipt.body())?;
    let object = fields.text("object").to_ascii_uppercase();
    let Some(name) = OBJECT_NAMES.iter().find(|name| **name == object) else {
        return payload::unknown_type(&object);
    };
    let record = Record::new(name, fields.text("event"), &fields, receipt.received_at(), endpoint)?;
    if record.is_thin() {
        return read::fetch_of(&record).map(|fetch| Translation::Fetches(vec![fetch]));
    }
    record.drafts().map(Translation::Events)
}

/// Whether the company is the one of production: sandboxes and implementations have names of their own.
fn is_live(company: &str) -> bool {
    let company = company.to_ascii_lowercase();
    !["-sandbox", "-imp"].iter().any(|ending| company.ends_with(ending))
}

#[cfg(test)]
mod tests;
