//! The details of a transaction: the call that asks for them, as data, and what the answer says. In comes an
//! id out of a notification, which stands in the call's body alone, out come references, amounts and the
//! transaction that a refund is of. An answer always is a success by its status; its own code tells.

use serde::Deserialize;
use serde_json::json;

use crate::model::{PaymentStatus, References};
use crate::providers::calls::{Answer, Call};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Endpoint, TranslateError};

use super::{ENVIRONMENT, PRODUCTION, SANDBOX};

pub(super) const LOGIN_ID: &str = "api_login_id";
pub(super) const TRANSACTION_KEY: &str = "transaction_key";
/// Where the API is, in the place of the host that the environment has.
pub(super) const API_URL: &str = "api_url";
const LIVE_URL: &str = "https://api.authorize.net";
const SANDBOX_URL: &str = "https://apitest.authorize.net";
pub(super) const PATH: &str = "/xml/v1/request.api";
/// What stands before the JSON of every answer.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether the endpoint can ask.
pub(super) fn are_configured(endpoint: &Endpoint) -> bool {
    endpoint.secret(LOGIN_ID).is_some()
}

/// Asks for one transaction. The members must stand in the order of the API's schema, which is that of
/// the alphabet here.
pub(super) fn call(endpoint: &Endpoint, transaction: &str) -> Call {
    let default = match endpoint.setting(ENVIRONMENT, PRODUCTION) {
        SANDBOX => SANDBOX_URL,
        _ => LIVE_URL,
    };
    let base = endpoint.setting(API_URL, default).trim_end_matches('/');
    let secret = |name| endpoint.secret(name).unwrap_or_default();
    let body = json!({ "getTransactionDetailsRequest": {
        "merchantAuthentication": {
            "name": secret(LOGIN_ID),
            "transactionKey": secret(TRANSACTION_KEY),
        },
        "transId": transaction,
    } });
    Call::post_json(format!("{base}{PATH}"), &body)
}

/// What the API says of a transaction, or why it says nothing.
pub(super) fn read(answer: &Answer) -> Result<Result<Details<'_>, String>, TranslateError> {
    // Only a success is sure to be JSON.
    if !answer.is_success() {
        let status = answer.status;
        return Ok(Err(format!("the details of the transaction were refused with {status}")));
    }
    let body = answer.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&answer.body);
    let body: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| payload::unreadable("the details of a transaction", &error))?;
    let messages = body.messages.unwrap_or_default();
    match body.transaction {
        Some(transaction) if &*messages.result_code != "Error" => {
            Ok(Ok(Details { transaction, reference: body.reference }))
        }
        _ => {
            let messages = messages.message.unwrap_or_default();
            let code = messages.first().map_or("no code", |message| &message.code);
            Ok(Err(format!("the details of the transaction were refused with {code}")))
        }
    }
}

/// A transaction with what stands beside it.
#[derive(Default)]
pub(super) struct Details<'a> {
    pub(super) transaction: Transaction<'a>,
    /// The merchant's own reference of the request.
    reference: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    transaction: Option<Transaction<'a>>,
    #[serde(borrow, rename = "transrefId")]
    reference: Text<'a>,
    #[serde(borrow)]
    messages: Option<Messages<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Messages<'a> {
    #[serde(borrow)]
    result_code: Text<'a>,
    #[serde(borrow)]
    message: Option<Vec<Message<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    code: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Transaction<'a> {
    #[serde(borrow)]
    pub(super) trans_id: Text<'a>,
    #[serde(borrow)]
    pub(super) ref_trans_id: Text<'a>,
    #[serde(borrow)]
    pub(super) transaction_type: Text<'a>,
    #[serde(borrow)]
    pub(super) transaction_status: Text<'a>,
    #[serde(borrow)]
    pub(super) response_reason_code: Text<'a>,
    #[serde(borrow)]
    pub(super) response_reason_description: Text<'a>,
    pub(super) auth_amount: Decimal,
    pub(super) settle_amount: Decimal,
    #[serde(borrow)]
    order: Option<Order<'a>>,
    #[serde(borrow)]
    customer: Option<Customer<'a>>,
    #[serde(borrow)]
    profile: Option<Profile<'a>>,
    #[serde(borrow)]
    bill_to: Option<BillTo<'a>>,
    #[serde(borrow)]
    subscription: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Order<'a> {
    #[serde(borrow)]
    invoice_number: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Customer<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Profile<'a> {
    #[serde(borrow)]
    customer_profile_id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BillTo<'a> {
    #[serde(borrow)]
    first_name: Text<'a>,
    #[serde(borrow)]
    last_name: Text<'a>,
    #[serde(borrow)]
    company: Text<'a>,
}

impl Details<'_> {
    /// How far the transaction is; `None` for a refund, and for what was returned or charged back.
    pub(super) fn status(&self) -> Result<Option<PaymentStatus>, TranslateError> {
        Ok(Some(match &*self.transaction.transaction_status {
            "authorizedPendingCapture" => PaymentStatus::Authorized,
            "capturedPendingSettlement" | "settledSuccessfully" => PaymentStatus::Paid,
            "voided" | "expired" => PaymentStatus::Canceled,
            "declined" | "generalError" | "failedReview" | "settlementError"
            | "communicationError" | "couldNotVoid" => PaymentStatus::Failed,
            "underReview"
            | "FDSPendingReview"
            | "FDSAuthorizedPendingReview"
            | "approvedReview" => PaymentStatus::Pending,
            "refundPendingSettlement"
            | "refundSettledSuccessfully"
            | "returnedItem"
            | "chargeback"
            | "chargebackReversal" => return Ok(None),
            other => return Err(payload::unknown("transaction status", other)),
        }))
    }

    /// Whether it gives money back.
    pub(super) fn is_refund(&self) -> bool {
        &*self.transaction.transaction_type == "refundTransaction"
    }

    /// What was settled, which may be less than what was reserved.
    pub(super) fn amount(&self) -> &Decimal {
        match self.transaction.settle_amount.is_empty() {
            true => &self.transaction.auth_amount,
            false => &self.transaction.settle_amount,
        }
    }

    /// What the transaction can be found by, beside its id.
    pub(super) fn references(&self) -> References {
        let transaction = &self.transaction;
        let invoice = transaction.order.as_ref().map_or("", |order| &order.invoice_number);
        let customer = transaction.customer.as_ref();
        let profile =
            transaction.profile.as_ref().map_or("", |profile| &profile.customer_profile_id);
        let name = transaction.bill_to.as_ref().map_or_else(String::new, |bill_to| {
            let name = [&*bill_to.first_name, &*bill_to.last_name].join(" ");
            payload::first(&[name.trim(), &bill_to.company])
        });
        let mut references = References {
            invoice_number: invoice.to_owned(),
            order: self.reference.to_string(),
            customer: payload::first(&[customer.map_or("", |customer| &customer.id), profile]),
            customer_name: name,
            email: customer.map_or("", |customer| &customer.email).to_owned(),
            ..References::default()
        };
        let subscription = transaction.subscription.as_deref().unwrap_or_default();
        if !subscription.is_empty() {
            references.metadata.insert("subscription_id".to_owned(), subscription.to_owned());
        }
        references
    }
}
