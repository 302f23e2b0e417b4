//! Reads of records: COQL with one condition, and records by their ids. In comes a query or a list of ids,
//! out go records without those in the bin, or status 204 where there are none. Texts must be quoted and
//! what stands in them escaped; numbers and booleans must not be quoted.

use serde_json::{Map, Value, json};

use super::{ZohoCrm, error, told, unknown_module};
use crate::{Kind, Match, Record, Reply, Request, Table, table::Life};

const MAX_COLUMNS: usize = 50;
const MAX_VALUES: usize = 50;
const MAX_IDS: usize = 100;
const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 2_000;
/// What every record has beside the declared fields.
const OWN_COLUMNS: &[&str] = &["id", "Created_Time", "Modified_Time"];

/// A query that was understood.
struct Query {
    columns: Vec<String>,
    module: String,
    field: String,
    values: Vec<Literal>,
    limit: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Text(String),
    Number(String),
    Boolean(bool),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Sign(char),
}

/// By the query's limit; one that is not understood costs as much as the least.
pub(super) fn credits(body: &Value) -> u64 {
    let query = body["select_query"].as_str().and_then(parse);
    match query.map_or(0, |query| query.limit) {
        0..=200 => 1,
        201..=1_000 => 2,
        _ => 3,
    }
}

impl ZohoCrm {
    pub(super) fn query(&self, body: &Value) -> Reply {
        let Some(text) = body["select_query"].as_str() else {
            let details = json!({ "api_name": "select_query" });
            return error(400, "MANDATORY_NOT_FOUND", details, "required field not found");
        };
        let Some(query) = parse(text) else {
            return error(400, "SYNTAX_ERROR", json!({}), "error occurred while parsing the query");
        };
        let modules = self.modules.lock();
        let Some(table) = modules.get(query.module.as_str()) else {
            return invalid("module", &query.module);
        };
        let known = |name: &str| table.field(name).is_some() || OWN_COLUMNS.contains(&name);
        if let Some(name) = query.columns.iter().find(|name| !known(name)) {
            return invalid("column_name", name);
        }
        let Some(mut found) = found(table, &query) else {
            return invalid("column_name", &query.field);
        };
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
        if found.is_empty() {
            return Reply::empty(204);
        }
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let data: Vec<Value> = found.iter().map(|record| shown(record, &query.columns)).collect();
        let info = json!({ "count": data.len(), "more_records": more });
        Reply::json(200, &json!({ "data": data, "info": info }))
    }

    pub(super) fn by_ids(&self, request: &Request, module: &str) -> Reply {
        let modules = self.modules.lock();
        let Some(table) = modules.get(module) else { return unknown_module() };
        let split = |name: &str| -> Option<Vec<String>> {
            Some(request.query_value(name)?.split(',').map(str::to_owned).collect())
        };
        let Some(fields) = split("fields").filter(|fields| fields.len() <= MAX_COLUMNS) else {
            let details = json!({ "param_name": "fields" });
            return error(400, "REQUIRED_PARAM_MISSING", details, "one of the params is missing");
        };
        let is_id = |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let ids = split("ids").filter(|ids| ids.len() <= MAX_IDS && ids.iter().all(is_id));
        let Some(ids) = ids else {
            return error(400, "INVALID_DATA", json!({ "param_name": "ids" }), "invalid data");
        };
        let live = |record: &&Record| record.life == Life::Live;
        let found = ids.iter().filter_map(|id| table.get(id)).filter(live);
        let data: Vec<Value> = found.map(|record| shown(record, &fields)).collect();
        if data.is_empty() {
            return Reply::empty(204);
        }
        let info =
            json!({ "count": data.len(), "per_page": 200, "page": 1, "more_records": false });
        Reply::json(200, &json!({ "data": data, "info": info }))
    }
}

fn invalid(name: &str, value: &str) -> Reply {
    error(400, "INVALID_QUERY", json!({ name: value }), "invalid query formed")
}

/// The records that the condition holds for; none if it cannot be about the field.
fn found<'t>(table: &'t Table, query: &Query) -> Option<Vec<&'t Record>> {
    let mut found = Vec::new();
    if query.field == "id" {
        for value in &query.values {
            let (Literal::Text(id) | Literal::Number(id)) = value else { return None };
            found.extend(table.get(id).filter(|record| record.life == Life::Live));
        }
        return Some(found);
    }
    let kind = &table.field(&query.field)?.kind;
    for value in &query.values {
        let wanted = match (kind, value) {
            (Kind::Number | Kind::Integer, Literal::Number(number)) => {
                serde_json::from_str(number).ok()?
            }
            (Kind::Boolean, Literal::Boolean(yes)) => json!(yes),
            (Kind::Number | Kind::Integer | Kind::Boolean, _) => return None,
            // Texts of several lines cannot stand in a condition.
            (Kind::Text { max }, _) if *max > 255 => return None,
            (_, Literal::Text(text)) => json!(text),
            (_, Literal::Number(_) | Literal::Boolean(_)) => return None,
        };
        found.extend(table.find(&query.field, &wanted, Match::IgnoreCase));
    }
    Some(found)
}

fn shown(record: &Record, columns: &[String]) -> Value {
    let mut row = Map::from_iter([("id".to_owned(), json!(record.id))]);
    for name in columns {
        let value = match name.as_str() {
            "id" => json!(record.id),
            "Created_Time" => json!(told(record.created_at)),
            "Modified_Time" => json!(told(record.modified_at)),
            _ => record.fields.get(name).cloned().unwrap_or(Value::Null),
        };
        row.insert(name.clone(), value);
    }
    Value::Object(row)
}

fn parse(text: &str) -> Option<Query> {
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    word(&mut rest, "select")?;
    let mut columns = vec![name(&mut rest)?];
    while sign(&mut rest, ',').is_some() {
        columns.push(name(&mut rest)?);
    }
    word(&mut rest, "from")?;
    let module = name(&mut rest)?;
    word(&mut rest, "where")?;
    let mut open = 0;
    while sign(&mut rest, '(').is_some() {
        open += 1;
    }
    let field = name(&mut rest)?;
    let values = match sign(&mut rest, '=') {
        Some(()) => vec![literal(&mut rest)?],
        None => {
            word(&mut rest, "in")?;
            list(&mut rest)?
        }
    };
    for _ in 0..open {
        sign(&mut rest, ')')?;
    }
    let limit = match word(&mut rest, "limit") {
        None => DEFAULT_LIMIT,
        Some(()) => match rest.split_first()? {
            (Token::Number(number), left) => {
                rest = left;
                number.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))?
            }
            _ => return None,
        },
    };
    let is_whole = rest.is_empty() && columns.len() <= MAX_COLUMNS && values.len() <= MAX_VALUES;
    is_whole.then_some(Query { columns, module, field, values, limit })
}

fn list(rest: &mut &[Token]) -> Option<Vec<Literal>> {
    sign(rest, '(')?;
    let mut values = vec![literal(rest)?];
    while sign(rest, ',').is_some() {
        values.push(literal(rest)?);
    }
    sign(rest, ')')?;
    Some(values)
}

fn literal(rest: &mut &[Token]) -> Option<Literal> {
    let (first, left) = rest.split_first()?;
    *rest = left;
    match first {
        Token::Text(text) => Some(Literal::Text(text.clone())),
        Token::Number(number) => Some(Literal::Number(number.clone())),
        Token::Word(word) if word == "true" || word == "false" => {
            Some(Literal::Boolean(word == "true"))
        }
        Token::Word(_) | Token::Sign(_) => None,
    }
}

fn name(rest: &mut &[Token]) -> Option<String> {
    match rest.split_first()? {
        (Token::Word(word), left) => {
            *rest = left;
            Some(word.clone())
        }
        _ => None,
    }
}

fn word(rest: &mut &[Token], wanted: &str) -> Option<()> {
    match rest.split_first()? {
        (Token::Word(word), left) if word.eq_ignore_ascii_case(wanted) => {
            *rest = left;
            Some(())
        }
        _ => None,
    }
}

fn sign(rest: &mut &[Token], wanted: char) -> Option<()> {
    match rest.split_first()? {
        (Token::Sign(sign), left) if *sign == wanted => {
            *rest = left;
            Some(())
        }
        _ => None,
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        let mut run = |is_more: fn(char) -> bool| {
            let mut word = String::from(first);
            while let Some(more) = chars.next_if(|next| is_more(*next)) {
                word.push(more);
            }
            word
        };
        tokens.push(match first {
            ' ' => continue,
            '(' | ')' | ',' | '=' => Token::Sign(first),
            'a'..='z' | 'A'..='Z' => Token::Word(run(|c| c.is_ascii_alphanumeric() || c == '_')),
            '0'..='9' | '-' => Token::Number(run(|c| c.is_ascii_digit() || c == '.')),
            '\'' | '"' => {
                let mut text = String::new();
                loop {
                    match chars.next()? {
                        '\\' => text.push(chars.next().filter(|c| matches!(c, '\\' | '\'' | '"'))?),
                        end if end == first => break,
                        other => text.push(other),
                    }
                }
                Token::Text(text)
            }
            _ => return None,
        });
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_understood_or_refused_as_a_whole() {
        let query = parse(r"select id, A from Deals where (B in ('x\'y', 'a\\')) limit 200");
        let query = query.expect("a query");
        assert_eq!((query.module.as_str(), query.limit), ("Deals", 200));
        let texts = [r"x'y", r"a\"].map(|text| Literal::Text(text.to_owned()));
        assert_eq!(query.values, texts);
        for wrong in [
            "select id from Deals",
            "select id from Deals where B = 'x",
            "select id from Deals where B = 'x' or 'y'",
            r"select id from Deals where B = 'x\n'",
            "select id from Deals where B = 'x' limit 0",
            "select id from Deals where B = 'x' limit 2001",
            "select id from Deals where (B = 'x'",
            "delete id from Deals where B = 'x'",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
