//! Zoho Books records: JSON of a webhook or an answer comes in, a payment, an invoice, a retainer invoice, a
//! credit note or an estimate goes out, whatever its root is called. Nothing is made of it here, and a
//! record of an unknown kind must stay one.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::Money;
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{TranslateError, accounting};

/// The kinds of record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Module {
    #[serde(rename = "payment")]
    Payment,
    #[serde(rename = "invoice")]
    Invoice,
    #[serde(rename = "retainer")]
    Retainer,
    #[serde(rename = "creditnote")]
    CreditNote,
    #[serde(rename = "estimate")]
    Estimate,
}

impl Module {
    /// Its name in the API's paths.
    pub fn path(self) -> &'static str {
        match self {
            Module::Payment => "customerpayments",
            Module::Invoice => "invoices",
            Module::Retainer => "retainerinvoices",
            Module::CreditNote => "creditnotes",
            Module::Estimate => "estimates",
        }
    }
}

/// A body or an answer: a record under the name of its module, or the members of one by themselves.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Root<'a> {
    /// Zoho's code, in an answer.
    pub code: Option<i64>,
    #[serde(borrow, alias = "customer_payment", alias = "customerpayment")]
    payment: Option<&'a RawValue>,
    #[serde(borrow)]
    invoice: Option<&'a RawValue>,
    #[serde(borrow, alias = "retainer_invoice")]
    retainerinvoice: Option<&'a RawValue>,
    #[serde(borrow, alias = "credit_note")]
    creditnote: Option<&'a RawValue>,
    #[serde(borrow)]
    estimate: Option<&'a RawValue>,
    #[serde(skip)]
    whole: &'a [u8],
}

impl<'a> Root<'a> {
    /// Reads JSON.
    pub fn read(json: &'a [u8]) -> Result<Root<'a>, TranslateError> {
        let root: Root<'a> = serde_json::from_slice(json)
            .map_err(|error| payload::unreadable("a Zoho Books record", &error))?;
        Ok(Root { whole: json, ..root })
    }

    /// The record; `None` where there is none of a known kind.
    pub fn record(&self) -> Result<Option<(Module, Record<'a>)>, TranslateError> {
        let unreadable = |error| payload::unreadable("a Zoho Books record", &error);
        for (module, record) in [
            (Module::Payment, self.payment),
            (Module::Retainer, self.retainerinvoice),
            (Module::Invoice, self.invoice),
            (Module::CreditNote, self.creditnote),
            (Module::Estimate, self.estimate),
        ] {
            if let Some(record) = record {
                return Ok(Some((module, serde_json::from_str(record.get()).map_err(unreadable)?)));
            }
        }
        let record: Record<'a> = serde_json::from_slice(self.whole).map_err(unreadable)?;
        let modules = [
            Module::Payment,
            Module::CreditNote,
            Module::Retainer,
            Module::Estimate,
            Module::Invoice,
        ];
        let module = modules.into_iter().find(|module| !record.id(*module).is_empty());
        Ok(module.map(|module| (module, record)))
    }
}

/// The first name of an object, for what is not known.
pub(super) fn first_name(json: &[u8]) -> Result<String, TranslateError> {
    let names: BTreeMap<String, IgnoredAny> = serde_json::from_slice(json)
        .map_err(|error| payload::unreadable("a Zoho Books record", &error))?;
    Ok(names.into_keys().next().unwrap_or_default())
}

/// The members of all kinds of record.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    pub payment_id: Text<'a>,
    #[serde(borrow)]
    pub invoice_id: Text<'a>,
    #[serde(borrow)]
    pub retainerinvoice_id: Text<'a>,
    #[serde(borrow)]
    pub creditnote_id: Text<'a>,
    #[serde(borrow)]
    pub estimate_id: Text<'a>,
    #[serde(borrow)]
    pub payment_number: Text<'a>,
    #[serde(borrow)]
    pub invoice_number: Text<'a>,
    #[serde(borrow)]
    pub retainerinvoice_number: Text<'a>,
    #[serde(borrow)]
    pub creditnote_number: Text<'a>,
    #[serde(borrow)]
    pub estimate_number: Text<'a>,
    #[serde(borrow)]
    pub reference_number: Text<'a>,
    #[serde(borrow)]
    pub online_transaction_id: Text<'a>,
    #[serde(borrow)]
    pub status: Text<'a>,
    #[serde(borrow)]
    pub payment_mode: Text<'a>,
    #[serde(borrow)]
    pub currency_code: Text<'a>,
    #[serde(borrow)]
    pub customer_id: Text<'a>,
    #[serde(borrow)]
    pub customer_name: Text<'a>,
    #[serde(borrow)]
    pub email: Text<'a>,
    #[serde(borrow)]
    pub due_date: Text<'a>,
    #[serde(borrow)]
    pub last_modified_time: Text<'a>,
    pub amount: Decimal,
    pub amount_refunded: Decimal,
    pub bank_charges: Decimal,
    pub total: Decimal,
    pub balance: Decimal,
    pub payment_made: Decimal,
    pub total_refunded_amount: Decimal,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    pub invoices: Applied<'a>,
}

/// The invoices that a payment is for. A form has a text in their place, which is left out.
#[derive(Deserialize, Default)]
#[serde(untagged)]
pub(super) enum Applied<'a> {
    Invoices(#[serde(borrow)] Vec<AppliedTo<'a>>),
    Other(IgnoredAny),
    #[default]
    #[serde(skip)]
    None,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct AppliedTo<'a> {
    #[serde(borrow)]
    pub invoice_id: Text<'a>,
    #[serde(borrow)]
    pub invoice_number: Text<'a>,
}

impl Record<'_> {
    /// Its id as a record of this module.
    pub fn id(&self, module: Module) -> &str {
        match module {
            Module::Payment => &self.payment_id,
            Module::Invoice => &self.invoice_id,
            Module::Retainer => &self.retainerinvoice_id,
            Module::CreditNote => &self.creditnote_id,
            Module::Estimate => &self.estimate_id,
        }
    }

    /// Whether it says all that a draft needs.
    pub fn is_whole(&self, module: Module) -> bool {
        let (amount, needs_status) = match module {
            Module::Payment => (&self.amount, false),
            Module::CreditNote => (&self.total_refunded_amount, false),
            Module::Invoice | Module::Retainer | Module::Estimate => (&self.total, true),
        };
        let has_status = !needs_status || !self.status.is_empty();
        !amount.is_empty() && !self.currency_code.is_empty() && has_status
    }

    /// `None` where there is no amount, or no currency, which only what is deleted may lack.
    pub fn money(&self, amount: &Decimal) -> Result<Option<Money>, TranslateError> {
        match self.currency_code.is_empty() {
            true => Ok(None),
            false => amount.money(&self.currency_code),
        }
    }
}
