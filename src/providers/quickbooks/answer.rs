//! What QuickBooks' API answers: an answer comes in, out comes the object under the name of its entity, or
//! that there is none (any more), or a company's own currency. A fault of any other kind is an error, so
//! that it is asked again; it must never read as a deletion.

use serde::Deserialize;

use crate::providers::payload::{self, Text};
use crate::providers::{Answer, TranslateError, accounting};

use super::Entity;
use super::object::{Object, Reference};

/// The code of a fault that says that there is no such object (any more).
const OBJECT_NOT_FOUND: &str = "610";

/// The object under the name of its entity.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Found<'a> {
    #[serde(borrow)]
    payment: Option<Object<'a>>,
    #[serde(borrow)]
    invoice: Option<Object<'a>>,
    #[serde(borrow)]
    sales_receipt: Option<Object<'a>>,
    #[serde(borrow)]
    refund_receipt: Option<Object<'a>>,
    #[serde(borrow)]
    deposit: Option<Object<'a>>,
    #[serde(borrow)]
    purchase: Option<Object<'a>>,
    #[serde(borrow)]
    transfer: Option<Object<'a>>,
    #[serde(borrow)]
    estimate: Option<Object<'a>>,
    /// Newer answers write it in lower case.
    #[serde(borrow, alias = "fault")]
    fault: Option<Fault<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fault<'a> {
    #[serde(
        borrow,
        rename = "Error",
        alias = "error",
        deserialize_with = "accounting::or_default"
    )]
    errors: Vec<FaultError<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FaultError<'a> {
    #[serde(borrow)]
    code: Text<'a>,
}

/// What was asked for; `None` where there is no such object (any more).
pub(super) fn object(
    answer: &Answer,
    entity: Entity,
) -> Result<Option<Object<'_>>, TranslateError> {
    if answer.status == 404 {
        return Ok(None);
    }
    let found: Found<'_> = match serde_json::from_slice(&answer.body) {
        Ok(found) => found,
        Err(_) if !answer.is_success() => Found::default(),
        Err(error) => return Err(payload::unreadable("a QuickBooks object", &error)),
    };
    if let Some(fault) = &found.fault
        && fault.errors.iter().any(|error| &*error.code == OBJECT_NOT_FOUND)
    {
        return Ok(None);
    }
    let object = match entity {
        Entity::Payment => found.payment,
        Entity::Invoice => found.invoice,
        Entity::SalesReceipt => found.sales_receipt,
        Entity::RefundReceipt => found.refund_receipt,
        Entity::Deposit => found.deposit,
        Entity::Purchase => found.purchase,
        Entity::Transfer => found.transfer,
        Entity::Estimate => found.estimate,
        Entity::Other => None,
    };
    match object.filter(|_| answer.is_success() && found.fault.is_none()) {
        Some(object) if object.is_deleted() => Ok(None),
        Some(object) => Ok(Some(object)),
        None => {
            Err(TranslateError(format!("the API answered {} without the object", answer.status)))
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Preferences<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    preferences: CurrencyPreferences<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct CurrencyPreferences<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    currency_prefs: HomeCurrency<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct HomeCurrency<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    home_currency: Reference<'a>,
}

/// The currency of the company itself.
pub(super) fn home_currency(answer: &Answer) -> Result<String, TranslateError> {
    let preferences: Preferences<'_> = accounting::read(answer, "a company's preferences")?;
    let currency = preferences.preferences.currency_prefs.home_currency.value.to_string();
    match currency.is_empty() {
        true => Err(TranslateError("neither object nor company names a currency".to_owned())),
        false => Ok(currency),
    }
}
