//! Queries, as far as look-ups need them: `SELECT a, b FROM T WHERE f = x | f IN (x, y) LIMIT n`. In comes
//! the text, out goes a page of records or why it is refused. A literal must be of its field's kind, and
//! quotes and backslashes in it escaped.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::errors::{Refusal, no_field};
use super::objects::{self, Objects};
use crate::{Field, Kind, Life, Match, Record, Reply, Request, Table, table};

/// A piece of a query.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name, a number, a date.
    Word(String),
    /// What stood in quotes.
    Text(String),
    /// `,`, `(`, `)` or `=`.
    Sign(char),
}

/// A query that was read.
struct Query {
    fields: Vec<String>,
    object: String,
    filter: Option<(String, Vec<Token>)>,
    limit: Option<usize>,
}

struct Reader<'t> {
    tokens: std::slice::Iter<'t, Token>,
}

/// Answers `GET /query?q=…`.
pub(super) fn answer(objects: &Objects, request: &Request, page_rows: usize) -> Reply {
    let Some(text) = request.query_value("q") else {
        return malformed("A query string has to be specified").reply(400);
    };
    let query = tokens(text).and_then(|tokens| Reader { tokens: tokens.iter() }.query());
    let query = match query {
        Ok(query) => query,
        Err(message) => return malformed(&message).reply(400),
    };
    let Some(table) = objects.tables.get(query.object.as_str()) else {
        let message = format!("sObject type '{}' is not supported.", query.object);
        return Refusal::new("INVALID_TYPE", message).reply(400);
    };
    let (names, found) = match selected(objects, table, &query) {
        Ok(selected) => selected,
        Err(refusal) => return refusal.reply(400),
    };
    let total = query.limit.map_or(found.len(), |limit| found.len().min(limit));
    let shown = found.values().take(total).take(page_rows);
    let records: Vec<Value> =
        shown.map(|record| row(table, record, &query.object, &names)).collect();
    let mut page = json!({ "totalSize": total, "done": total <= page_rows, "records": records });
    if total > page_rows {
        page["nextRecordsUrl"] = json!("/services/data/v66.0/query/01g5g000000aBcDAAU-2000");
    }
    Reply::json(200, &page)
}

type Selected<'r> = (Vec<String>, BTreeMap<&'r str, &'r Record>);

/// The names of the fields as the org writes them, and the records.
fn selected<'r>(
    objects: &'r Objects,
    table: &'r Table,
    query: &Query,
) -> Result<Selected<'r>, Refusal> {
    let named = |name: &str| match name.eq_ignore_ascii_case("id") {
        true => Ok("Id".to_owned()),
        false => match objects.field(&query.object, name) {
            Some(field) => Ok(field.name.clone()),
            None => Err(no_field(&query.object, name)),
        },
    };
    let mut names: Vec<String> = Vec::new();
    for name in &query.fields {
        let name = named(name)?;
        if names.contains(&name) {
            return Err(malformed(&format!("duplicate field selected: {name}")));
        }
        names.push(name);
    }
    let mut found = BTreeMap::new();
    let mut add = |record: &'r Record| {
        if record.life == Life::Live {
            found.insert(record.id.as_str(), record);
        }
    };
    match &query.filter {
        None => table.records().for_each(add),
        Some((name, literals)) => {
            let name = named(name)?;
            for literal in literals {
                match objects.field(&query.object, &name) {
                    Some(field) => matching(table, field, literal)?.into_iter().for_each(&mut add),
                    None => table.get(&id_of(literal)?).into_iter().for_each(&mut add),
                }
            }
        }
    }
    Ok((names, found))
}

fn id_of(literal: &Token) -> Result<String, Refusal> {
    match literal {
        Token::Text(id) if objects::is_id(id) => Ok(objects::long_id(id)),
        Token::Text(other) | Token::Word(other) => {
            let message = format!("invalid ID field: {other}");
            Err(Refusal::new("INVALID_QUERY_FILTER_OPERATOR", message))
        }
        Token::Sign(sign) => Err(malformed(&format!("unexpected token: {sign}"))),
    }
}

/// The records with this value of a field.
fn matching<'r>(
    table: &'r Table,
    field: &Field,
    literal: &Token,
) -> Result<Vec<&'r Record>, Refusal> {
    let name = &field.name;
    if !objects::is_filter(field) {
        let message = format!("field '{name}' can not be filtered in a query call");
        return Err(Refusal::new("INVALID_FIELD", message));
    }
    let of_kind = |holds: &dyn Fn(&Value) -> bool| {
        let all = table.records();
        let found = all.filter(|record| record.fields.get(name).is_some_and(holds));
        found.collect::<Vec<_>>()
    };
    let wrong = || {
        let message = format!(
            "value of filter criterion for field '{name}' must be of type {:?} and, unless it is a \
             text, not be enclosed in quotes",
            field.kind
        );
        Refusal::new("INVALID_FIELD", message)
    };
    let text = |value: &Value| table::field::text(value);
    match (&field.kind, literal) {
        (Kind::Text { .. } | Kind::Picklist(_) | Kind::Options(_), Token::Text(value)) => {
            let how = field.unique.unwrap_or(Match::IgnoreCase);
            Ok(table.find(name, &json!(value), how))
        }
        (Kind::Number | Kind::Integer, Token::Word(word)) => {
            let number: Decimal = word.parse().map_err(|_| wrong())?;
            Ok(of_kind(&|value| text(value).parse() == Ok(number)))
        }
        (Kind::Boolean, Token::Word(word)) => {
            let yes: bool = word.to_lowercase().parse().map_err(|_| wrong())?;
            Ok(of_kind(&|value| *value == json!(yes)))
        }
        (Kind::Date, Token::Word(word)) => {
            let day: Date = word.parse().map_err(|_| wrong())?;
            Ok(of_kind(&|value| text(value).parse().is_ok_and(|has: Date| has == day)))
        }
        (Kind::DateTime, Token::Word(word)) => {
            let time: Timestamp = word.parse().map_err(|_| wrong())?;
            Ok(of_kind(&|value| text(value).parse().is_ok_and(|has: Timestamp| has == time)))
        }
        (
            Kind::Text { .. }
            | Kind::Number
            | Kind::Integer
            | Kind::Boolean
            | Kind::Date
            | Kind::DateTime
            | Kind::Picklist(_)
            | Kind::Options(_)
            | Kind::Any,
            _,
        ) => Err(wrong()),
    }
}

fn row(table: &Table, record: &Record, object: &str, names: &[String]) -> Value {
    let url = format!("/services/data/v66.0/sobjects/{object}/{}", record.id);
    let mut row = Map::new();
    row.insert("attributes".to_owned(), json!({ "type": object, "url": url }));
    for name in names {
        row.insert(name.clone(), objects::shown(table, record, name));
    }
    Value::Object(row)
}

fn malformed(message: &str) -> Refusal {
    Refusal::new("MALFORMED_QUERY", message)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            ' ' => {}
            ',' | '(' | ')' | '=' => tokens.push(Token::Sign(first)),
            '\'' => tokens.push(Token::Text(quoted(&mut rest)?)),
            _ if is_word(first) => {
                let mut word = String::from(first);
                while let Some(next) = rest.next_if(|next| is_word(*next)) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            _ => return Err(format!("unexpected token: '{first}'")),
        }
    }
    Ok(tokens)
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-' | '+' | ':')
}

fn quoted(rest: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut text = String::new();
    loop {
        match rest.next() {
            Some('\'') => return Ok(text),
            Some('\\') => text.push(match rest.next() {
                Some('n' | 'N') => '\n',
                Some('r' | 'R') => '\r',
                Some('t' | 'T') => '\t',
                Some('b' | 'B') => '\u{8}',
                Some('f' | 'F') => '\u{c}',
                Some(escaped @ ('\'' | '"' | '\\')) => escaped,
                other => return Err(format!("illegal escape {other:?}")),
            }),
            Some(control) if control.is_ascii_control() => {
                return Err(format!("unexpected character {control:?}"));
            }
            Some(plain) => text.push(plain),
            None => return Err("unexpected end of a string".to_owned()),
        }
    }
}

impl Reader<'_> {
    fn query(mut self) -> Result<Query, String> {
        self.keyword("SELECT")?;
        let fields = self.list(Reader::word)?;
        self.keyword("FROM")?;
        let object = self.word()?;
        let filter = match self.is_next("WHERE") {
            true => Some(self.filter()?),
            false => None,
        };
        let limit = match self.is_next("LIMIT") {
            true => Some(self.word()?.parse().map_err(|_| "LIMIT needs a number".to_owned())?),
            false => None,
        };
        match self.tokens.next() {
            None => Ok(Query { fields, object, filter, limit }),
            Some(token) => Err(format!("unexpected token: {token:?}")),
        }
    }

    fn filter(&mut self) -> Result<(String, Vec<Token>), String> {
        let field = self.word()?;
        match self.tokens.next() {
            Some(Token::Sign('=')) => Ok((field, vec![self.literal()?])),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("IN") => {
                self.sign('(')?;
                let literals = self.list(Reader::literal)?;
                self.sign(')')?;
                Ok((field, literals))
            }
            other => Err(format!("unexpected token: {other:?}")),
        }
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut all = vec![one(self)?];
        while self.tokens.as_slice().first() == Some(&Token::Sign(',')) {
            self.tokens.next();
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn literal(&mut self) -> Result<Token, String> {
        match self.tokens.next() {
            Some(token @ (Token::Text(_) | Token::Word(_))) => Ok(token.clone()),
            other => Err(format!("unexpected token: {other:?}")),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Word(word)) => Ok(word.clone()),
            other => Err(format!("unexpected token: {other:?}")),
        }
    }

    fn sign(&mut self, sign: char) -> Result<(), String> {
        match self.tokens.next() {
            Some(Token::Sign(found)) if *found == sign => Ok(()),
            other => Err(format!("expecting '{sign}', found {other:?}")),
        }
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), String> {
        match self.is_next(keyword) {
            true => Ok(()),
            false => Err(format!("expecting {keyword}")),
        }
    }

    fn is_next(&mut self, keyword: &str) -> bool {
        let next = self.tokens.as_slice().first();
        let is_it = matches!(next, Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        if is_it {
            self.tokens.next();
        }
        is_it
    }
}
