//! PayPal's IPN: a form whose bytes go back to PayPal unchanged, and which says something only once PayPal
//! has answered `VERIFIED`. In comes a form in the charset that it names itself, out come drafts about the
//! payment by its `txn_id`, which is the id of the capture or sale in the webhooks, so that both report
//! one payment. There is no event id: transaction and status make one. A form that names another
//! receiver is refused before anything is kept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::providers::calls::Call;
use crate::providers::payload;
use crate::providers::{Endpoint, Fetch, Fetching, Step, TranslateError, Translation, Verdict};
use crate::receipt::signature::unconfirmed;
use crate::receipt::{Receipt, Request, VerifyError};

use super::form::Form;
use super::{RECEIVER_EMAIL, Told, transactions};

/// Where forms are confirmed, in the place of the host that the form itself tells.
pub(super) const IPN_URL: &str = "ipn_url";
const LIVE_URL: &str = "https://ipnpb.paypal.com/cgi-bin/webscr";
const SANDBOX_URL: &str = "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr";
pub(super) const POSTBACK_PREFIX: &[u8] = b"cmd=_notify-validate&";
/// PayPal answers no postback without it.
const USER_AGENT: &str = "Tollgate";

/// What forms are called: by their payment status, else by their transaction type.
pub(super) const TYPES: [&str; 21] = [
    "Created",
    "Pending",
    "In-Progress",
    "Denied",
    "Failed",
    "Expired",
    "Voided",
    "Completed",
    "Processed",
    "Refunded",
    "Partially_Refunded",
    "Reversed",
    "Canceled_Reversal",
    "new_case",
    "adjustment",
    "masspay",
    "subscr_failed",
    "recurring_payment_failed",
    "subscr_signup",
    "subscr_cancel",
    "subscr_eot",
];

pub(super) fn verify(request: &Request, endpoint: &Endpoint) -> Result<Verdict, VerifyError> {
    let form = Form::parse(&request.body).ok_or(VerifyError::Malformed("body"))?;
    if form.kind().is_empty() {
        return Err(VerifyError::Malformed("payment_status"));
    }
    let ours = endpoint.candidates(RECEIVER_EMAIL).secrets;
    if !form.is_for(ours).ok_or(VerifyError::NotConfigured(RECEIVER_EMAIL))? {
        return Err(VerifyError::Mismatch(RECEIVER_EMAIL));
    }
    Ok(Verdict::NeedsConfirmation(unconfirmed()))
}

pub(super) fn translate(receipt: &Receipt) -> Result<Translation, TranslateError> {
    let form = read(receipt.body())?;
    if !TYPES.contains(&form.kind()) {
        return payload::unknown_type(form.kind());
    }
    let told = serde_json::to_string(&Told::Ipn(BASE64.encode(receipt.body())))
        .map_err(|_| TranslateError("the form cannot be kept".to_owned()))?;
    let object = format!("ipn/{}", hex::encode(Sha256::digest(receipt.body())));
    Ok(Translation::Fetches(vec![Fetch { object, told }]))
}

pub(super) fn fetch(fetching: &Fetching<'_>, told: &str) -> Result<Step, TranslateError> {
    let body = BASE64
        .decode(told)
        .map_err(|_| TranslateError("what the form told cannot be read".to_owned()))?;
    let form = read(&body)?;
    let Some(answer) = fetching.answers.first() else {
        return Ok(Step::Call(postback(fetching.endpoint, &form, &body)));
    };
    match answer.body.trim_ascii() {
        b"VERIFIED" if answer.is_success() => Ok(Step::Done {
            drafts: transactions::drafts(&form, &fetching.endpoint.name, fetching.received_at)?,
            cursor: None,
        }),
        b"INVALID" if answer.is_success() => Ok(Step::Denied),
        _ => Ok(Step::Later(format!("PayPal answered a postback with {}", answer.status))),
    }
}

/// The very bytes that came, after PayPal's command. Only what PayPal's sandbox sent asks the sandbox: any
/// other form is confirmed where real money is.
fn postback(endpoint: &Endpoint, form: &Form, body: &[u8]) -> Call {
    let default = if form.is_test() { SANDBOX_URL } else { LIVE_URL };
    let bytes = [POSTBACK_PREFIX, body].concat();
    Call::post_form(endpoint.setting(IPN_URL, default).to_owned(), bytes)
        .header("user-agent", USER_AGENT)
}

fn read(body: &[u8]) -> Result<Form, TranslateError> {
    Form::parse(body).ok_or_else(|| TranslateError("the form cannot be read".to_owned()))
}
