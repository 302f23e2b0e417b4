//! Changes to bytes that were valid: bits flipped, parts cut, moved and repeated, and what parsers of
//! JSON stumble over: deep nesting, huge numbers, keys that stand twice, values of another type.

use proptest::prelude::*;
use proptest::sample::Index;

const MAX_MUTATIONS: usize = 4;
/// Numbers that do not fit, and texts that look like numbers.
const VALUES: &[&str] = &[
    "99999999999999999999999999999999999999",
    "-9223372036854775808",
    "9223372036854775807",
    "1e400",
    "0.1000000000000000000001",
    "-0",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
];
const KEYS: &[&str] = &["id", "type", "object", "data", "amount", "currency", "created", "status"];

/// One change.
#[derive(Clone, Debug)]
pub enum Mutation {
    Flip(Index, u8),
    Truncate(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Splice { from: Index, to: Index, bytes: usize },
    Nest { at: Index, depth: usize, object: bool },
    Value(Index, &'static str),
    Twice(Index, &'static str, &'static str),
}

/// Some of them, one after the other.
pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let at = any::<Index>;
    let value = || prop::sample::select(VALUES);
    let one = prop_oneof![
        3 => (at(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        1 => at().prop_map(Mutation::Truncate),
        1 => (at(), 1..40usize).prop_map(|(at, bytes)| Mutation::Remove(at, bytes)),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        2 => (at(), at(), 1..200usize)
            .prop_map(|(from, to, bytes)| Mutation::Splice { from, to, bytes }),
        1 => (at(), 1..5000usize, any::<bool>())
            .prop_map(|(at, depth, object)| Mutation::Nest { at, depth, object }),
        4 => (at(), value()).prop_map(|(at, value)| Mutation::Value(at, value)),
        2 => (at(), prop::sample::select(KEYS), value())
            .prop_map(|(at, key, value)| Mutation::Twice(at, key, value)),
    ];
    prop::collection::vec(one, 1..=MAX_MUTATIONS)
}

/// The bytes after all of them.
pub fn apply(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        change(&mut bytes, mutation);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let place = |at: &Index| at.index(bytes.len());
    match mutation {
        Mutation::Flip(at, bit) => {
            let at = place(at);
            bytes[at] ^= 1 << bit;
        }
        Mutation::Truncate(at) => bytes.truncate(place(at)),
        Mutation::Remove(at, count) => {
            let from = place(at);
            let to = (from + count).min(bytes.len());
            bytes.drain(from..to);
        }
        Mutation::Insert(at, inserted) => insert(bytes, place(at), inserted),
        Mutation::Splice { from, to, bytes: count } => {
            let from = place(from);
            let part = bytes[from..(from + count).min(bytes.len())].to_vec();
            insert(bytes, to.index(bytes.len()), &part);
        }
        Mutation::Nest { at, depth, object } => {
            let opening: &[u8] = if *object { b"{\"a\":" } else { b"[" };
            let at = after(bytes, place(at), b":").unwrap_or(0);
            insert(bytes, at, &opening.repeat(*depth));
        }
        Mutation::Value(at, value) => {
            let Some(from) = after(bytes, place(at), b":") else { return };
            let length = bytes[from..].iter().position(|byte| b",}]\n".contains(byte));
            bytes.splice(from..from + length.unwrap_or(0), value.bytes());
        }
        Mutation::Twice(at, key, value) => {
            let at = after(bytes, place(at), b"{").unwrap_or(0);
            insert(bytes, at, format!("\"{key}\":{value},").as_bytes());
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, inserted: &[u8]) {
    bytes.splice(at..at, inserted.iter().copied());
}

/// Behind the next of these bytes, from a place on.
fn after(bytes: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    bytes[from..].iter().position(|byte| wanted.contains(byte)).map(|found| from + found + 1)
}
