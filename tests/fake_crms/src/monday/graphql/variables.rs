//! Variables of a query and the values of its arguments, checked by type. In come the declarations, the
//! JSON that was sent with them and the arguments, out go plain values. What is declared and not used, or
//! sent and not declared, is refused: a vendor may let it pass.

use std::collections::{HashMap, HashSet};

use graphql_parser::{
    Pos,
    query::{Type, Value as Literal, VariableDefinition},
};
use serde_json::{Map, Value, json};

use super::{Argument, Kind, Mistake, Schema, named};

const SCALARS: &[&str] = &["ID", "String", "Int", "Float", "Boolean", "JSON"];

/// The variables of one query.
pub(super) struct Variables<'a> {
    declared: HashMap<&'a str, &'a VariableDefinition<'a, String>>,
    values: HashMap<&'a str, Value>,
    used: HashSet<String>,
}

/// A code and words.
type Wrong = (&'static str, String);

impl<'a> Variables<'a> {
    /// Checks what was sent against what is declared.
    pub(super) fn read(
        schema: &Schema,
        definitions: &'a [VariableDefinition<'a, String>],
        sent: &Map<String, Value>,
    ) -> Result<Variables<'a>, Vec<Mistake>> {
        let mut all =
            Variables { declared: HashMap::new(), values: HashMap::new(), used: HashSet::new() };
        let mut mistakes = Vec::new();
        for definition in definitions {
            let name = definition.name.as_str();
            let mut wrong = |words: String| {
                mistakes.push(Mistake::new("variableMismatch", words, definition.position));
            };
            let kind = named(&definition.var_type);
            if !SCALARS.contains(&kind) && schema.input(kind).is_none() {
                wrong(format!("${name} is of the unknown type {kind}"));
            }
            let default = definition.default_value.as_ref().map(plain);
            match sent.get(name).cloned().or(default) {
                Some(value) => match coerced(schema, &value, &definition.var_type) {
                    Ok(value) => {
                        all.values.insert(name, value);
                    }
                    Err(words) => wrong(format!("${name}: {words}")),
                },
                None if matches!(definition.var_type, Type::NonNullType(_)) => {
                    wrong(format!("${name} has no value"));
                }
                None => {}
            }
            if all.declared.insert(name, definition).is_some() {
                mistakes.push(Mistake::new(
                    "variableMismatch",
                    format!("${name} is declared twice"),
                    definition.position,
                ));
            }
        }
        for name in sent.keys().filter(|name| !all.declared.contains_key(name.as_str())) {
            let words = format!("${name} is not declared");
            mistakes.push(Mistake::new("variableNotDefined", words, Pos::default()));
        }
        if mistakes.is_empty() { Ok(all) } else { Err(mistakes) }
    }

    /// The value of an argument; `None` where its variable has none.
    pub(super) fn put_in(
        &mut self,
        schema: &Schema,
        literal: &Literal<'a, String>,
        argument: &Argument,
    ) -> Result<Option<Value>, Wrong> {
        if let Literal::Variable(name) = literal {
            self.fits(name, &argument.kind, argument.default.is_some())?;
            return Ok(self.values.get(name.as_str()).cloned());
        }
        let value = self.value(schema, literal, &argument.kind)?;
        let value = coerced(schema, &value, &argument.kind);
        value.map(Some).map_err(|words| ("argumentLiteralsIncompatible", words))
    }

    fn value(
        &mut self,
        schema: &Schema,
        literal: &Literal<'a, String>,
        kind: &Kind,
    ) -> Result<Value, Wrong> {
        let inner = match kind {
            Type::NonNullType(inner) => inner,
            Type::NamedType(_) | Type::ListType(_) => kind,
        };
        match (literal, inner) {
            (Literal::Variable(name), _) => {
                self.fits(name, kind, false)?;
                Ok(self.values.get(name.as_str()).cloned().unwrap_or_default())
            }
            (Literal::List(items), Type::ListType(of)) => {
                items.iter().map(|item| self.value(schema, item, of)).collect()
            }
            (Literal::Object(fields), Type::NamedType(name)) if schema.input(name).is_some() => {
                let known = schema.input(name).unwrap_or_default();
                let mut object = Map::new();
                for (field, value) in fields {
                    let known =
                        known.iter().find(|known| known.name == *field).ok_or_else(|| {
                            ("argumentNotAccepted", format!("'{name}' has no field '{field}'"))
                        })?;
                    object.insert(field.clone(), self.value(schema, value, &known.kind)?);
                }
                Ok(Value::Object(object))
            }
            (literal, _) => Ok(plain(literal)),
        }
    }

    /// Whether a variable may stand where this type is wanted.
    fn fits(&mut self, name: &str, wanted: &Kind, has_default: bool) -> Result<(), Wrong> {
        let Some(definition) = self.declared.get(name) else {
            return Err(("variableNotDefined", format!("${name} is not declared")));
        };
        self.used.insert(name.to_owned());
        let declared = &definition.var_type;
        let has_value = has_default || definition.default_value.is_some();
        let fits = match (declared, wanted) {
            (declared, Type::NonNullType(inner))
                if has_value && !matches!(declared, Type::NonNullType(_)) =>
            {
                is_within(declared, inner)
            }
            (declared, wanted) => is_within(declared, wanted),
        };
        if fits {
            return Ok(());
        }
        let words = format!("${name} is of type {declared}, and {wanted} is wanted");
        Err(("variableMismatch", words))
    }

    /// The variables that nothing asked for.
    pub(super) fn unused(&self) -> Vec<Mistake> {
        let declared = self.declared.values();
        let unused = declared.filter(|definition| !self.used.contains(&definition.name));
        let mistake = |definition: &&VariableDefinition<'_, String>| {
            let words = format!("${} is declared and not used", definition.name);
            Mistake::new("variableNotUsed", words, definition.position)
        };
        unused.map(mistake).collect()
    }
}

/// Whether all values of one type are values of the other.
fn is_within(one: &Type<'_, String>, other: &Type<'_, String>) -> bool {
    match (one, other) {
        (Type::NonNullType(one), Type::NonNullType(other)) => is_within(one, other),
        (_, Type::NonNullType(_)) => false,
        (Type::NonNullType(one), other) => is_within(one, other),
        (Type::ListType(one), Type::ListType(other)) => is_within(one, other),
        (Type::NamedType(one), Type::NamedType(other)) => one == other,
        (Type::ListType(_), Type::NamedType(_)) | (Type::NamedType(_), Type::ListType(_)) => false,
    }
}

/// The value as the type takes it, or what is wrong with it.
fn coerced(schema: &Schema, value: &Value, kind: &Type<'_, String>) -> Result<Value, String> {
    match (kind, value) {
        (Type::NonNullType(_), Value::Null) => Err("must not be null".to_owned()),
        (Type::NonNullType(inner), value) => coerced(schema, value, inner),
        (_, Value::Null) => Ok(Value::Null),
        (Type::ListType(of), Value::Array(items)) => {
            items.iter().map(|item| coerced(schema, item, of)).collect()
        }
        // One value stands for a list of it.
        (Type::ListType(of), value) => Ok(Value::Array(vec![coerced(schema, value, of)?])),
        (Type::NamedType(name), value) => named_value(schema, value, name),
    }
}

fn named_value(schema: &Schema, value: &Value, name: &str) -> Result<Value, String> {
    let wrong = || format!("{value} is no {name}");
    match (name, value) {
        ("ID", Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Ok(json!(number.to_string()))
        }
        ("ID" | "String", Value::String(_))
        | ("Boolean", Value::Bool(_))
        | ("Float", Value::Number(_))
        | ("JSON", _) => Ok(value.clone()),
        ("Int", Value::Number(number)) if number.is_i64() => Ok(value.clone()),
        (name, Value::Object(sent)) => {
            let known = schema.input(name).ok_or_else(wrong)?;
            if let Some(key) = sent.keys().find(|key| !known.iter().any(|one| one.name == **key)) {
                return Err(format!("{name} has no field {key}"));
            }
            let mut object = Map::new();
            for field in known {
                let value = sent.get(&field.name).unwrap_or(&Value::Null);
                let value = coerced(schema, value, &field.kind)
                    .map_err(|words| format!("{}: {words}", field.name))?;
                object.insert(field.name.clone(), value);
            }
            Ok(Value::Object(object))
        }
        _ => Err(wrong()),
    }
}

/// A literal as JSON; a variable within it is none.
pub(super) fn plain(literal: &Literal<'_, String>) -> Value {
    match literal {
        Literal::Variable(_) | Literal::Null => Value::Null,
        Literal::Int(number) => json!(number.as_i64()),
        Literal::Float(number) => json!(number),
        Literal::String(text) | Literal::Enum(text) => json!(text),
        Literal::Boolean(yes) => json!(yes),
        Literal::List(items) => items.iter().map(plain).collect(),
        Literal::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), plain(value))).collect()
        }
    }
}
