//! What TrueLayer's API is asked for: the payment, refund or payout that a webhook named. The calls come
//! one after the other, and their answers give the amounts to what the webhook told. What the API does not
//! know leaves the webhook's word, which was signed, without an amount.

use serde::Deserialize;
use serde_json::from_slice;

use crate::providers::payload::{self, Scalars, Text};
use crate::providers::{Answer, Auth, Call, Endpoint, Fetching, OAuth, Step, TranslateError};

use super::{API_URL, AUTH_URL, CLIENT_ID, CLIENT_SECRET, Meaning, Told, drafts, meaning, path_id};

const PRODUCTION_API: &str = "https://api.truelayer.com";
const SANDBOX_API: &str = "https://api.truelayer-sandbox.com";
const PRODUCTION_AUTH: &str = "https://auth.truelayer.com";
const SANDBOX_AUTH: &str = "https://auth.truelayer-sandbox.com";
const SCOPE: &str = "payments";
const NOT_FOUND: u16 = 404;

/// A payment, refund or payout.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Object<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    pub(super) amount_in_minor: Option<i64>,
    #[serde(borrow)]
    pub(super) currency: Text<'a>,
    #[serde(borrow)]
    pub(super) user: Option<User<'a>>,
    #[serde(borrow)]
    payment_method: Option<Method<'a>>,
    /// Of a payout.
    #[serde(borrow)]
    beneficiary: Option<Beneficiary<'a>>,
    pub(super) metadata: Scalars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct User<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) email: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Method<'a> {
    #[serde(borrow)]
    beneficiary: Option<Beneficiary<'a>>,
}

/// Whose account the money goes to.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Beneficiary<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) reference: Text<'a>,
    #[serde(borrow)]
    pub(super) account_holder_name: Text<'a>,
}

impl Object<'_> {
    pub(super) fn beneficiary(&self) -> Option<&Beneficiary<'_>> {
        let of_payment =
            self.payment_method.as_ref().and_then(|method| method.beneficiary.as_ref());
        of_payment.or(self.beneficiary.as_ref())
    }
}

pub(super) fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let told: Told = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what a webhook told", &error))?;
    let meaning =
        meaning(&told.event_type).ok_or_else(|| payload::unknown("fetch", &told.event_type))?;
    let paths = paths(&told, meaning)?;
    if let Some(path) = paths.get(fetching.answers.len()) {
        return Ok(Step::Call(call(fetching.endpoint, path, told.live)));
    }
    let mut objects = Vec::new();
    for (answer, path) in fetching.answers.iter().zip(&paths) {
        objects.push(object(answer, path)?);
    }
    let mut objects = objects.into_iter();
    let (first, second) = (objects.next().flatten(), objects.next().flatten());
    let name = &fetching.endpoint.name;
    let draft = match meaning {
        // A refund comes before its payment: the payment may be gone from the API.
        Meaning::Refund(_) => {
            drafts::fetched(&told, meaning, name, second.as_ref(), first.as_ref())
        }
        Meaning::Payment(..)
        | Meaning::Dispute(..)
        | Meaning::Payout(_)
        | Meaning::Received
        | Meaning::Mandate(_)
        | Meaning::Link(_) => drafts::fetched(&told, meaning, name, first.as_ref(), None),
    };
    Ok(Step::Done { drafts: vec![draft?], cursor: None })
}

fn paths(told: &Told, meaning: Meaning) -> Result<Vec<String>, TranslateError> {
    let payment =
        || path_id(&told.payment, "payment").map(|payment| format!("/v3/payments/{payment}"));
    Ok(match meaning {
        Meaning::Payment(..) | Meaning::Dispute(..) => vec![payment()?],
        Meaning::Refund(_) => {
            let payment = payment()?;
            vec![format!("{payment}/refunds/{}", path_id(&told.refund, "refund")?), payment]
        }
        Meaning::Payout(_) => vec![format!("/v3/payouts/{}", path_id(&told.payout, "payout")?)],
        Meaning::Received | Meaning::Mandate(_) | Meaning::Link(_) => Vec::new(),
    })
}

/// The object that the path ends in; `None` where the API does not know of it.
fn object<'a>(answer: &'a Answer, path: &str) -> Result<Option<Object<'a>>, TranslateError> {
    if answer.status == NOT_FOUND {
        return Ok(None);
    }
    if !answer.is_success() {
        return Err(TranslateError(format!("TrueLayer answers {}", answer.status)));
    }
    let object: Object<'_> = from_slice(&answer.body)
        .map_err(|error| payload::unreadable("an object of TrueLayer's", &error))?;
    match object.id.is_empty() || path.ends_with(&format!("/{}", &*object.id)) {
        true => Ok(Some(object)),
        false => Err(TranslateError("the answer is about another object".to_owned())),
    }
}

fn call(endpoint: &Endpoint, path: &str, live: bool) -> Call {
    let api = if live { PRODUCTION_API } else { SANDBOX_API };
    let api = endpoint.setting(API_URL, api).trim_end_matches('/');
    let auth = if live { PRODUCTION_AUTH } else { SANDBOX_AUTH };
    let auth = endpoint.setting(AUTH_URL, auth).trim_end_matches('/');
    let secret = |name| endpoint.secret(name).unwrap_or_default().to_owned().into();
    Call::get(format!("{api}{path}")).auth(Auth::OAuth(Box::new(OAuth {
        token_url: format!("{auth}/connect/token"),
        client_id: secret(CLIENT_ID),
        client_secret: secret(CLIENT_SECRET),
        credentials_in_body: true,
        refresh_token: None,
        scope: SCOPE,
        scheme: "Bearer",
    })))
}
