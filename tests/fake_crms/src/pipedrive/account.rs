//! The account of the double: the fields that its people made for payments, the configuration that fits
//! them, and its records of payments as a person sees them. It must never show a person an option's id.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::{
    Auth, Pipedrive, Secrets,
    entities::{Entity, Kind, Spec},
};
use crate::{
    Account, By, Field, Life, PaymentRecord, Server,
    table::{Kind as TableKind, field::text},
};

/// The keys of the account's own fields of deals: payment id, status, paid, refunded, reference.
pub(super) const PAYMENT_ID: &str = "8f3ad1e6c0b94b7d92a5d4c1f0e7b6a3958d2c14";
const STATUS: &str = "2d4c6b8a0f1e3d5c7b9a8f6e4d2c0b1a3f5e7d9c";
const PAID: &str = "5c2e7d9b1f3a4c6e8d0b2f4a6c8e0d1b3f5a7c9e";
const REFUNDED: &str = "e7c9a1b3d5f7091b2d4f6a8c0e2b4d6f8a1c3e5b";
const REFERENCE: &str = "1b9f0a7c3d5e4f6081a2c3d4e5f60718293a4b5c";
/// Those of persons: the day of the last payment, how they pay, labels.
const LAST_PAYMENT: &str = "4e6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091";
const BEHAVIOUR: &str = "90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3";
const TAGS: &str = "c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6";

/// The statuses of the gateway and the options that stand for them, from id 41.
const STATUSES: [(&str, &str); 10] = [
    ("PENDING", "Pending"),
    ("AUTHORIZED", "Authorized"),
    ("PAID", "Paid"),
    ("PARTIALLY_PAID", "Partially paid"),
    ("FAILED", "Failed"),
    ("CANCELED", "Canceled"),
    ("PARTIALLY_REFUNDED", "Partially refunded"),
    ("REFUNDED", "Refunded"),
    ("DISPUTED", "Disputed"),
    ("CHARGED_BACK", "Charged back"),
];
const FIRST_STATUS: i64 = 41;

impl Account for Server<Pipedrive> {
    fn config(&self) -> String {
        let pipedrive = self.backend();
        let Secrets { api_token, client_id, client_secret, refresh_token } = &pipedrive.secrets;
        let credential = match pipedrive.settings.auth {
            Auth::ApiToken => {
                format!(
                    "auth = \"api_token\"\napi_token = \"{api_token}\"\nurl = \"{}\"",
                    self.api_url()
                )
            }
            Auth::Oauth => format!(
                "auth = \"oauth\"\nclient_id = \"{client_id}\"\nclient_secret = \"{client_secret}\"\n\
                 refresh_token = \"{refresh_token}\"\nauth_url = \"{}\"",
                self.auth_url(),
            ),
        };
        let labels: Vec<String> =
            STATUSES.iter().map(|(word, label)| format!("{word} = \"{label}\"")).collect();
        format!(
            r#"[crm]
{credential}
default_currency = "EUR"

[[objects]]
object = "deals"
name = "payment"
policy = "upsert"

[[objects.match]]
field = "{PAYMENT_ID}"
from = "subject_id"

[objects.fields]
title = {{ template = "Payment {{subject_id}}", on = "create" }}
"{REFERENCE}" = "references.invoice_number"
"{PAID}" = {{ from = "amounts.paid", default = 0 }}
"{REFUNDED}" = {{ from = "amounts.refunded", default = 0 }}

[objects.fields."{STATUS}"]
from = "status"

[objects.fields."{STATUS}".values]
{}
"#,
            labels.join("\n"),
        )
    }

    fn records(&self) -> Vec<PaymentRecord> {
        let company = self.backend().state.lock();
        let status = company.specs(Entity::Deals).iter().find(|spec| spec.code == STATUS);
        let label = |id: Option<i64>| {
            let mut options = status.into_iter().flat_map(|spec| &spec.options);
            options.find(|(known, _)| Some(*known) == id).map(|(_, label)| label.clone())
        };
        let deals = company.table(Entity::Deals).records();
        let deals =
            deals.filter(|deal| deal.life == Life::Live && deal.fields.contains_key(PAYMENT_ID));
        deals
            .map(|deal| PaymentRecord {
                id: deal.id.clone(),
                payment_id: deal.text(PAYMENT_ID),
                status: label(deal.fields.get(STATUS).and_then(Value::as_i64)).unwrap_or_default(),
                paid: amount(deal.fields.get(PAID)),
                refunded: amount(deal.fields.get(REFUNDED)),
                reference: deal.fields.get(REFERENCE).map(text),
                writes: company.writes.get(&deal.id).copied().unwrap_or(0),
            })
            .collect()
    }

    fn field(&self, logical: &str) -> String {
        match logical {
            "payment_id" => PAYMENT_ID,
            "status" => STATUS,
            "paid" => PAID,
            "refunded" => REFUNDED,
            "reference" => REFERENCE,
            other => other,
        }
        .to_owned()
    }

    fn edit(&self, record: &str, field: &str, value: Value) {
        let pipedrive = self.backend();
        let by = By::person("maria@acme", pipedrive.site.clock.now());
        let mut company = pipedrive.state.lock();
        let spec = company.specs(Entity::Deals).iter().find(|spec| spec.code == field);
        // A person picks a label and types an amount.
        let value = match (spec.map(|spec| spec.kind), value) {
            (Some(Kind::Enum), Value::String(label)) => {
                let options = spec.into_iter().flat_map(|spec| &spec.options);
                let mut ids = options.filter(|(_, known)| *known == label).map(|(id, _)| *id);
                ids.next().map_or(Value::Null, |id| json!(id))
            }
            (Some(Kind::Monetary), amount @ Value::Number(_)) => {
                json!({ "value": amount, "currency": "EUR" })
            }
            (_, value) => value,
        };
        let fields = Map::from_iter([(field.to_owned(), value)]);
        if let Some(written) = company.table_mut(Entity::Deals).force(record, &fields, &by) {
            let commit = written.commit("deals", &company.key(Entity::Deals, record));
            pipedrive.site.journal.wrote(commit);
        }
    }

    fn create(&self, payment_id: &str) -> String {
        let fields = json!({ "title": format!("Deal of {payment_id}"), PAYMENT_ID: payment_id });
        self.backend().insert(Entity::Deals, &fields)
    }
}

/// The account's own fields of a kind.
pub(super) fn own_fields(kind: Entity) -> Vec<Spec> {
    let labels = STATUSES.map(|(_, label)| label);
    match kind {
        Entity::Deals => vec![
            Spec::custom(PAYMENT_ID, "Payment ID", Kind::Varchar),
            Spec::custom(STATUS, "Payment status", Kind::Enum).options(FIRST_STATUS, &labels),
            Spec::custom(PAID, "Paid", Kind::Monetary),
            Spec::custom(REFUNDED, "Refunded", Kind::Monetary),
            Spec::custom(REFERENCE, "Reference", Kind::Varchar),
        ],
        Entity::Persons => vec![
            Spec::custom(LAST_PAYMENT, "Last payment", Kind::Date),
            Spec::custom(BEHAVIOUR, "Payment behaviour", Kind::Enum)
                .options(31, &["Pays", "Was refunded", "Charged back"]),
            Spec::custom(TAGS, "Tags", Kind::Set).options(61, &["VIP", "Late", "B2B"]),
        ],
        Entity::Organizations => Vec::new(),
    }
}

/// The column of a field: the double itself checks what goes in.
pub(super) fn column(spec: &Spec) -> Field {
    let field = Field::new(&spec.code, TableKind::Any).label(&spec.name);
    if spec.kind.is_searchable() { field.indexed() } else { field }
}

fn amount(held: Option<&Value>) -> Option<Decimal> {
    held?.get("value").map(text)?.parse().ok()
}
