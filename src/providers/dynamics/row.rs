//! A row of Dataverse, wherever it came from: its columns come in by name, what it says of a payment goes
//! out. Options and currencies are translated by the endpoint's own tables; a value that they do not have
//! is never guessed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{PaymentStatus, References};
use crate::providers::crm::{self, Item, Report};
use crate::providers::fields::Fields;
use crate::providers::{Endpoint, Mistake, TranslateError, payload};

use super::{POWER_AUTOMATE, TABLE, is_of_table, is_own_user};

pub(super) const STATUS_COLUMN: &str = "status_column";
pub(super) const AMOUNT_COLUMN: &str = "amount_column";
pub(super) const CURRENCY_COLUMN: &str = "currency_column";
pub(super) const PAYMENT_ID_COLUMN: &str = "payment_id_column";
/// The status of each option: a table like `{ 100000001 = "PAID" }`.
pub(super) const STATUS_OPTIONS: &str = "status_options";
/// The currency of each text, option or id that is no code: a table.
pub(super) const CURRENCY_OPTIONS: &str = "currency_options";

pub(super) const MODIFIED: &str = "modifiedon";

/// The columns of one row.
pub(super) trait Cells {
    /// The text of a column, empty where it was emptied; `None` where nothing is told of it.
    fn cell(&self, column: &str) -> Result<Option<Cow<'_, str>>, TranslateError>;

    /// How the option in a column reads.
    fn label(&self, column: &str) -> Option<Cow<'_, str>>;
}

/// Where a row came from.
pub(super) struct Origin<'a> {
    /// What it is recognised by; `None` makes it of the row's state.
    pub(super) key: Option<String>,
    /// Empty for the key.
    pub(super) event_id: String,
    pub(super) event_type: &'static str,
    pub(super) occurred_at: Timestamp,
    pub(super) table: &'a str,
    pub(super) record_id: &'a str,
}

/// As the Web API and Power Automate write a row: a lookup `x` stands as `_x_value`.
impl Cells for Fields {
    fn cell(&self, column: &str) -> Result<Option<Cow<'_, str>>, TranslateError> {
        let text = self.get(column).or_else(|| self.get(&format!("_{column}_value")));
        Ok(text.map(Cow::Borrowed))
    }

    fn label(&self, column: &str) -> Option<Cow<'_, str>> {
        const FORMATTED: &str = "OData.Community.Display.V1.FormattedValue";
        self.get(&format!("{column}@{FORMATTED}")).map(Cow::Borrowed)
    }
}

/// The four columns of a payment: status, amount, currency, payment id.
pub(super) fn columns(endpoint: &Endpoint) -> [&str; 4] {
    [
        endpoint.setting(STATUS_COLUMN, "new_paymentstatus").trim(),
        endpoint.setting(AMOUNT_COLUMN, "new_paymentamount").trim(),
        endpoint.setting(CURRENCY_COLUMN, "new_currencycode").trim(),
        endpoint.setting(PAYMENT_ID_COLUMN, "new_paymentid").trim(),
    ]
}

/// What a row says of its payment.
pub(super) fn item(
    origin: Origin<'_>,
    row: &impl Cells,
    endpoint: &Endpoint,
) -> Result<Item, TranslateError> {
    let [status, amount, currency, payment_id] = columns(endpoint);
    let Some(told) = row.cell(status)? else { return Ok(Item::Silent) };
    let label = row.label(status).unwrap_or_default();
    let Some(known) = status_of(&told, &label, endpoint) else { return Ok(Item::UnknownStatus) };
    let text = |column| row.cell(column).map(Option::unwrap_or_default);
    let (amount, currency, payment_id) = (text(amount)?, text(currency)?, text(payment_id)?);
    let modified = text(MODIFIED)?;
    let money = match currency_of(&currency, endpoint) {
        Some(code) => crm::amount(&amount, &code, endpoint)?,
        None => None,
    };
    let state = [origin.record_id, &told, &amount, &currency, &payment_id, &modified];
    let key = origin.key.unwrap_or_else(|| crm::state_key(&state));
    let event_id = if origin.event_id.is_empty() { key.clone() } else { origin.event_id };
    let references = References {
        customer: text("customerid")?.into_owned(),
        email: text("emailaddress1")?.into_owned(),
        order: text("ordernumber")?.into_owned(),
        invoice_number: text("invoicenumber")?.into_owned(),
        ..References::default()
    };
    Ok(Item::Reported(Box::new(Report {
        key,
        event_id,
        event_type: origin.event_type.to_owned(),
        occurred_at: origin.occurred_at,
        record_type: origin.table.to_owned(),
        record_id: origin.record_id.to_owned(),
        payment_id: payment_id.into_owned(),
        status: known,
        amount: money,
        live: true,
        references: crm::keep_currency(references, money, &currency),
    })))
}

/// A row that a flow of Power Automate posts.
pub(super) fn of_power_automate(
    fields: &Fields,
    received_at: Timestamp,
    endpoint: &Endpoint,
) -> Result<Item, TranslateError> {
    let table = match fields.text("table") {
        "" => endpoint.setting(TABLE, "").trim(),
        table => table,
    };
    let user = fields.cell("modifiedby")?.unwrap_or_default();
    if !is_of_table(endpoint, table) || is_own_user(endpoint, &user) {
        return Ok(Item::Silent);
    }
    let primary_key = format!("{table}id");
    let record_id = fields.first(&["record_id", &primary_key]);
    if record_id.is_empty() {
        return Err(TranslateError("the body has no `record_id`".to_owned()));
    }
    let occurred_at = match fields.text(MODIFIED) {
        "" => received_at,
        text => text.parse().map_err(|_| payload::not_a("a time", text))?,
    };
    let event_id = fields.text("event_id").to_owned();
    let key = (!event_id.is_empty()).then(|| format!("{event_id}:{record_id}"));
    let origin =
        Origin { key, event_id, event_type: POWER_AUTOMATE, occurred_at, table, record_id };
    item(origin, fields, endpoint)
}

/// The status of an option or a text. An option has no meaning but what the endpoint's table gives it;
/// without a table its label is read.
fn status_of(told: &str, label: &str, endpoint: &Endpoint) -> Option<PaymentStatus> {
    let told = told.trim();
    let options = options(endpoint, STATUS_OPTIONS);
    if let Some(word) = options.get(told) {
        return status_word(word);
    }
    let is_option =
        !told.is_empty() && told.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
    match (is_option, options.is_empty()) {
        (true, true) => crm::status(label),
        (true, false) => None,
        (false, _) => crm::status(told),
    }
}

fn status_word(word: &str) -> Option<PaymentStatus> {
    PaymentStatus::parse(&word.trim().to_ascii_uppercase()).or_else(|| crm::status(word))
}

/// The code of a currency: as told, or by the endpoint's table. `None` for an id or option that the table
/// does not have: its amount is not told then, whatever the endpoint's own currency is.
fn currency_of<'a>(told: &'a str, endpoint: &Endpoint) -> Option<Cow<'a, str>> {
    let told = told.trim();
    if let Some(code) = options(endpoint, CURRENCY_OPTIONS).remove(told) {
        return Some(Cow::Owned(code));
    }
    let is_id = told.bytes().any(|byte| byte.is_ascii_digit());
    (!is_id).then_some(Cow::Borrowed(told))
}

/// A table of the settings; empty where it is not set.
fn options(endpoint: &Endpoint, name: &str) -> BTreeMap<String, String> {
    serde_json::from_str(endpoint.setting(name, "{}")).unwrap_or_default()
}

/// The check of the settings about columns.
pub(super) fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let names = [STATUS_COLUMN, AMOUNT_COLUMN, CURRENCY_COLUMN, PAYMENT_ID_COLUMN];
    for (key, column) in names.into_iter().zip(columns(endpoint)) {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if column.is_empty() || !column.bytes().all(is_name) {
            let reason = format!("`{column}` is not the logical name of a column");
            return Err(Mistake { key, reason });
        }
    }
    for key in [STATUS_OPTIONS, CURRENCY_OPTIONS] {
        let written = endpoint.setting(key, "{}");
        if serde_json::from_str::<BTreeMap<String, String>>(written).is_err() {
            return Err(Mistake { key, reason: "is not a table of texts".to_owned() });
        }
    }
    let statuses = options(endpoint, STATUS_OPTIONS);
    if let Some(word) = statuses.values().find(|word| status_word(word).is_none()) {
        return Err(Mistake { key: STATUS_OPTIONS, reason: format!("unknown status `{word}`") });
    }
    Ok(())
}
