//! The routes of the double's API: records, searches, lists of fields, the user. In comes a call that was let
//! through, out goes the vendor's answer. A search shows what was written only after the lag. Nothing is
//! taken that was not asked for in the vendor's own words: unknown parameters are refused.

use serde_json::{Map, Value, json};

use super::{
    Company, Pipedrive,
    entities::{Entity, Kind, Spec, checked},
    refusal::{Refused, failed, invalid},
};
use crate::{By, Commit, Life, Match, Record, Reply, Request, clock::after, table::field::text};

/// Who writes through the API.
const INTEGRATION: &str = "integration";

/// Where a call goes, and so what it costs.
pub(super) enum Route {
    /// The user of the credential.
    User,
    /// The fields of a kind.
    Fields(Entity),
    /// The search of one field.
    SearchField,
    /// The search of a kind.
    Search(Entity),
    /// All records of a kind: one is made.
    Records(Entity),
    /// One record.
    Record(Entity, String),
}

impl Route {
    /// The route of a path.
    pub fn of(request: &Request) -> Option<Route> {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let kind = |path: &str| Entity::ALL.into_iter().find(|kind| kind.path() == path);
        match &segments[..] {
            ["v1", "users", "me"] | ["api", "v1", "users", "me"] => Some(Route::User),
            ["api", "v2", "itemSearch", "field"] => Some(Route::SearchField),
            ["api", "v2", one] => match kind(one) {
                Some(kind) => Some(Route::Records(kind)),
                None => {
                    let fields = Entity::ALL.into_iter().find(|kind| kind.fields_path() == *one);
                    fields.map(Route::Fields)
                }
            },
            ["api", "v2", one, "search"] => kind(one).map(Route::Search),
            ["api", "v2", one, id] if id.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(Route::Record(kind(one)?, (*id).to_owned()))
            }
            _ => None,
        }
    }

    /// What a call costs, in points.
    pub fn cost(&self, request: &Request) -> u64 {
        match self {
            Route::User => 2,
            Route::Fields(_) => 10,
            Route::SearchField | Route::Search(_) => 20,
            Route::Records(_) if request.method == "GET" => 10,
            Route::Records(_) => 5,
            Route::Record(..) if request.method == "GET" => 1,
            Route::Record(..) => 5,
        }
    }
}

impl Pipedrive {
    /// Carries out a call that was let through.
    pub(super) fn routed(&self, company: &mut Company, route: &Route, request: &Request) -> Reply {
        let answer = match (route, request.method.as_str()) {
            (Route::User, "GET") => Ok(user()),
            (Route::Fields(kind), "GET") => listed(company, *kind, request),
            (Route::SearchField, "GET") => self.search_field(company, request),
            (Route::Search(kind), "GET") => self.search(company, *kind, request),
            (Route::Record(kind, id), "GET") => company.read(*kind, id),
            (Route::Record(kind, id), "PATCH") => self.change(company, *kind, id, request),
            (Route::Records(kind), "POST") => self.make(company, *kind, request),
            (_, _) => Err(failed(405, "Method not allowed")),
        };
        answer.unwrap_or_else(|refused| refused.reply())
    }

    fn change(
        &self,
        company: &mut Company,
        kind: Entity,
        id: &str,
        request: &Request,
    ) -> Result<Reply, Refused> {
        let body = json_of(request)?;
        let by = By::call(request, INTEGRATION, self.site.clock.now());
        let mut fields = checked(company.specs(kind), &body, false)?;
        let table = company.table(kind);
        let is_there = table.get(id).is_some_and(|record| record.life == Life::Live);
        if !is_there {
            let status = if table.get(id).is_some() { self.settings.deleted_status } else { 404 };
            return Err(failed(status, format!("{} not found", kind.title())));
        }
        let has_products =
            table.get(id).is_some_and(|deal| deal.fields.contains_key("products_count"));
        if self.settings.value_resets_products && has_products && fields.contains_key("value") {
            fields.insert("products_count".to_owned(), Value::Null);
        }
        let written = company.table_mut(kind).force(id, &fields, &by);
        let written = written.ok_or_else(|| failed(404, format!("{} not found", kind.title())))?;
        let commit = written.commit(kind.path(), &company.key(kind, id));
        self.committed(company, kind, commit);
        company.read(kind, id)
    }

    fn make(
        &self,
        company: &mut Company,
        kind: Entity,
        request: &Request,
    ) -> Result<Reply, Refused> {
        let body = json_of(request)?;
        let by = By::call(request, INTEGRATION, self.site.clock.now());
        let fields = checked(company.specs(kind), &body, true)?;
        let is_full = |max: usize| {
            let deals = company.table(Entity::Deals).records();
            deals.filter(|deal| deal.life == Life::Live).count() >= max
        };
        if kind == Entity::Deals && self.settings.max_deals.is_some_and(is_full) {
            return Err(Refused::Full);
        }
        let made = company.table_mut(kind).insert(&fields, &by);
        let made = made.map_err(|errors| invalid(format!("{errors:?}")))?;
        let commit = made.commit(kind.path(), &company.key(kind, &made.id));
        self.committed(company, kind, commit);
        company.read(kind, &made.id)
    }

    fn committed(&self, company: &mut Company, kind: Entity, commit: Commit) {
        if kind == Entity::Deals {
            *company.writes.entry(commit.record.clone()).or_default() += 1;
        }
        self.site.journal.wrote(commit);
    }

    fn search_field(&self, company: &Company, request: &Request) -> Result<Reply, Refused> {
        only(request, &["term", "entity_type", "field", "match", "limit", "cursor"])?;
        let value = |name: &str| request.query_value(name).unwrap_or_default();
        let kind = Entity::ALL.into_iter().find(|kind| kind.search_type() == value("entity_type"));
        let Some(kind) = kind else { return Err(invalid("entity_type: Expected a type of item")) };
        let how = match value("match") {
            "" | "exact" => "exact",
            other @ ("beginning" | "middle") => other,
            _ => return Err(invalid("match: Expected exact, beginning or middle")),
        };
        let shortest = if how == "exact" { 1 } else { 2 };
        let term = value("term");
        if term.chars().count() < shortest {
            return Err(invalid("term: Expected a longer text"));
        }
        let limit = limit(request, 500)?;
        let now = self.site.clock.now();
        let Some(spec) = company.specs(kind).iter().find(|spec| spec.code == value("field")) else {
            return Err(invalid("field: Unknown field"));
        };
        let (code, kind_of_field) = (spec.code.clone(), spec.kind);
        let table = company.table(kind);
        let found: Vec<&Record> = if !kind_of_field.is_searchable() {
            Vec::new()
        } else if how == "exact" && kind_of_field != Kind::Monetary {
            table.search(&code, &json!(term), Match::Exact, now)
        } else {
            let lag = self.settings.search_lag;
            let held = |record: &Record| {
                let held = match record.fields.get(&code) {
                    Some(Value::Object(amount)) => amount.get("value").map(text),
                    other => other.map(text),
                };
                held.is_some_and(|held| match how {
                    "beginning" => held.starts_with(term),
                    "middle" => held.contains(term),
                    _ => held == term,
                })
            };
            let shown = |record: &&Record| after(record.modified_at, lag) <= now && held(record);
            table.records().filter(|record| record.life == Life::Live).filter(shown).collect()
        };
        let hits = found.into_iter().take(limit).map(
            |record| json!({ "id": number(&record.id), "name": record.text(title_field(kind)) }),
        );
        Ok(page(Value::Array(hits.collect())))
    }

    fn search(&self, company: &Company, kind: Entity, request: &Request) -> Result<Reply, Refused> {
        let known = ["term", "fields", "exact_match", "limit", "cursor"];
        only(request, &known)?;
        let term = request.query_value("term").unwrap_or_default().to_lowercase();
        let is_exact = match request.query_value("exact_match") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(invalid("exact_match: Expected boolean")),
        };
        if term.chars().count() < if is_exact { 1 } else { 2 } {
            return Err(invalid("term: Expected a longer text"));
        }
        let limit = limit(request, 100)?;
        let mut codes = Vec::new();
        for name in request.query_value("fields").unwrap_or("custom_fields").split(',') {
            match kind.searched().iter().find(|(known, _)| *known == name) {
                Some((_, code)) => codes.push((*code).to_owned()),
                None if name == "custom_fields" => {
                    let custom = company.specs(kind).iter();
                    let custom = custom.filter(|spec| spec.is_custom && spec.kind.is_searchable());
                    codes.extend(custom.map(|spec| spec.code.clone()));
                }
                None => return Err(invalid("fields: Expected fields of this kind of item")),
            }
        }
        let (now, lag) = (self.site.clock.now(), self.settings.search_lag);
        let same = |held: &str| {
            let held = held.to_lowercase();
            if is_exact { held == term } else { held.contains(&term) }
        };
        let table = company.table(kind);
        let live = table.records().filter(|record| record.life == Life::Live);
        let hits = live.filter(|record| {
            let seen = after(record.modified_at, lag) <= now;
            seen && codes.iter().any(|code| texts(record, code).iter().any(|held| same(held)))
        });
        let hits: Vec<Value> = hits
            .take(limit)
            .map(|record| {
                let title = title_field(kind);
                let item = json!({
                    "id": number(&record.id),
                    "type": kind.search_type(),
                    title: record.text(title),
                });
                json!({ "result_score": 0.3, "item": item })
            })
            .collect();
        Ok(page(json!({ "items": hits })))
    }
}

impl Company {
    /// The answer that shows a record; deleted and archived ones are still shown.
    fn read(&self, kind: Entity, id: &str) -> Result<Reply, Refused> {
        let record = self.table(kind).get(id);
        let record = record.ok_or_else(|| failed(404, format!("{} not found", kind.title())))?;
        let data = shown(self.specs(kind), record);
        Ok(Reply::json(200, &json!({ "success": true, "data": data })))
    }
}

/// A record as answers have it.
pub(super) fn shown(specs: &[Spec], record: &Record) -> Value {
    let (mut data, mut custom) = (Map::new(), Map::new());
    data.insert("id".to_owned(), number(&record.id));
    for spec in specs {
        let value = record.fields.get(&spec.code).cloned().unwrap_or(Value::Null);
        let place = if spec.is_custom { &mut custom } else { &mut data };
        place.insert(spec.code.clone(), value);
    }
    data.insert("add_time".to_owned(), json!(record.created_at.to_string()));
    data.insert("update_time".to_owned(), json!(record.modified_at.to_string()));
    data.insert("is_deleted".to_owned(), json!(record.life == Life::Deleted));
    data.insert("is_archived".to_owned(), json!(record.life == Life::Archived));
    data.insert("custom_fields".to_owned(), Value::Object(custom));
    Value::Object(data)
}

fn user() -> Reply {
    Reply::json(
        200,
        &json!({
            "success": true,
            "data": {
                "id": 7,
                "name": "Integration",
                "email": "integration@acme.example",
                "company_id": 4711,
                "company_name": "Acme",
                "company_domain": "acme",
                "default_currency": "EUR",
                "active_flag": true,
            },
        }),
    )
}

fn listed(company: &Company, kind: Entity, request: &Request) -> Result<Reply, Refused> {
    only(request, &["limit", "cursor", "include_fields"])?;
    let limit = limit(request, 500)?.min(company.fields_page);
    let from = request
        .query_value("cursor")
        .map_or(Ok(0), |cursor| cursor.strip_prefix("after-").unwrap_or_default().parse::<usize>());
    let Ok(from) = from else { return Err(invalid("cursor: Unknown cursor")) };
    let specs = company.specs(kind);
    let rows: Vec<Value> = specs.iter().skip(from).take(limit).map(Spec::listed).collect();
    let next = from + rows.len();
    let cursor = (next < specs.len()).then(|| format!("after-{next}"));
    let more = json!({ "next_cursor": cursor });
    Ok(Reply::json(200, &json!({ "success": true, "data": rows, "additional_data": more })))
}

fn json_of(request: &Request) -> Result<Value, Refused> {
    if request.content_type().as_deref() != Some("application/json") {
        return Err(failed(415, "Unsupported Media Type"));
    }
    request.json().map_err(|_| invalid("body: Expected JSON"))
}

/// Refuses parameters that the route does not have.
fn only(request: &Request, known: &[&str]) -> Result<(), Refused> {
    match request.query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            Err(invalid(format!("{name}: Parameter '{name}' is not allowed for this request")))
        }
        None => Ok(()),
    }
}

fn limit(request: &Request, most: usize) -> Result<usize, Refused> {
    let limit = request.query_value("limit").map_or(Ok(100), str::parse::<usize>);
    match limit {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(invalid("limit: Expected a smaller number")),
    }
}

fn page(data: Value) -> Reply {
    let more = json!({ "next_cursor": null });
    Reply::json(200, &json!({ "success": true, "data": data, "additional_data": more }))
}

/// All that a field holds, as texts.
fn texts(record: &Record, code: &str) -> Vec<String> {
    match record.fields.get(code) {
        Some(Value::Array(all)) => {
            all.iter().filter_map(|one| one.get("value").map(text)).collect()
        }
        Some(Value::Object(amount)) => amount.get("value").map(text).into_iter().collect(),
        Some(value) => vec![text(value)],
        None => Vec::new(),
    }
}

fn title_field(kind: Entity) -> &'static str {
    match kind {
        Entity::Deals => "title",
        Entity::Persons | Entity::Organizations => "name",
    }
}

fn number(id: &str) -> Value {
    id.parse::<u64>().map_or(Value::Null, |id| json!(id))
}
