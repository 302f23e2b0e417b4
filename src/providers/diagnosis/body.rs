//! Bodies that go wrong: a line end too many, JSON that something read and wrote anew, another character
//! set. In comes the body that arrived, out come bodies that may have been signed.

use bytes::Bytes;
use percent_encoding::percent_decode;

use super::{Cause, Change, Edit};

/// Larger bodies are not changed, or not written anew: every change is a copy.
const MAX_BYTES: usize = 2 * 1024 * 1024;
const MAX_ANEW_BYTES: usize = 64 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How JSON is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Minified,
    Spaced,
    Indented(&'static str),
}

const LAYOUTS: &[(&str, Layout)] = &[
    ("without white space", Layout::Minified),
    ("with a blank after `:` and `,`", Layout::Spaced),
    ("indented by two blanks", Layout::Indented("  ")),
    ("indented by four blanks", Layout::Indented("    ")),
    ("indented by tabs", Layout::Indented("\t")),
];

/// How characters in JSON texts are escaped.
type Escape = fn(&str) -> String;
const ESCAPES: &[(&str, Escape)] = &[
    ("", str::to_owned),
    ("all but ASCII escaped", ascii),
    ("nothing escaped beyond ASCII", unescaped),
    ("`/` escaped", slashes),
    ("`/` not escaped", |text| text.replace("\\/", "/")),
    ("`/` and all but ASCII escaped", |text| slashes(&ascii(text))),
    ("`<`, `>`, `&` escaped", html),
    ("`<`, `>`, `&` not escaped", unescaped_html),
];

/// What may be wrong with a body.
pub fn changes(body: &Bytes) -> Vec<Change> {
    if body.len() > MAX_BYTES {
        return Vec::new();
    }
    let mut all = edges(body);
    all.extend(character_sets(body));
    if let Ok(text) = std::str::from_utf8(body)
        && text.len() <= MAX_ANEW_BYTES
    {
        all.extend(written_anew(text));
    }
    all.retain(|(_, other)| other != body);
    all.into_iter()
        .map(|(found, body)| Change {
            cause: Cause::Body,
            found: format!("with the body {found}"),
            advice: "the body is not what the provider signed: a proxy, a framework or the capture wrote \
                     it anew; hand the bytes on as they came"
                .to_owned(),
            edit: Edit::Body(Bytes::from(body)),
        })
        .collect()
}

/// Its beginning and end, and its line ends.
fn edges(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let told = |how: &str, body: Vec<u8>| (how.to_owned(), body);
    let mut all = vec![
        told("without white space around it", body.trim_ascii().to_vec()),
        told("without white space at its end", body.trim_ascii_end().to_vec()),
        told("with a line feed at its end", [body, b"\n"].concat()),
        told("with a carriage return and line feed at its end", [body, b"\r\n"].concat()),
        told("with line feeds as line ends", without_carriage_returns(body)),
        told("with carriage returns before its line feeds", with_carriage_returns(body)),
        told("with a byte order mark", [BYTE_ORDER_MARK, body].concat()),
        told("decoded from percent-encoding", percent_decode(body).collect()),
        told("with `%20` instead of `+`", replaced(body, b'+', b"%20")),
    ];
    if let Some(shorter) = body.strip_suffix(b"\n") {
        let shorter = shorter.strip_suffix(b"\r").unwrap_or(shorter);
        all.insert(0, told("without the line feed at its end", shorter.to_vec()));
    }
    if let Some(rest) = body.strip_prefix(BYTE_ORDER_MARK) {
        all.push(told("without its byte order mark", rest.to_vec()));
    }
    all
}

fn without_carriage_returns(body: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(body.len());
    for (at, byte) in body.iter().enumerate() {
        if *byte != b'\r' || body.get(at + 1) != Some(&b'\n') {
            kept.push(*byte);
        }
    }
    kept
}

fn with_carriage_returns(body: &[u8]) -> Vec<u8> {
    replaced(&without_carriage_returns(body), b'\n', b"\r\n")
}

fn replaced(body: &[u8], byte: u8, by: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(body.len());
    for each in body {
        match *each == byte {
            true => written.extend_from_slice(by),
            false => written.push(*each),
        }
    }
    written
}

/// Text that was read in one character set and written in another.
fn character_sets(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    if body.is_ascii() {
        return Vec::new();
    }
    let latin1: String = body.iter().map(|byte| char::from(*byte)).collect();
    let mut all = vec![("read as ISO 8859-1 and written as UTF-8".to_owned(), latin1.into_bytes())];
    if let Ok(text) = std::str::from_utf8(body) {
        let narrow: Option<Vec<u8>> =
            text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
        all.extend(narrow.map(|bytes| ("in ISO 8859-1".to_owned(), bytes)));
    }
    all
}

/// JSON that something read and wrote anew.
fn written_anew(text: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return Vec::new() };
    let mut all = Vec::new();
    let sorted = value.to_string();
    for (order, text) in [("", text.trim()), ("with its names in order", &sorted)] {
        for (escape_how, escape) in ESCAPES {
            let escaped = escape(text);
            let plain = (String::new(), escaped.clone());
            let layouts = LAYOUTS
                .iter()
                .map(|(how, layout)| ((*how).to_owned(), laid_out(&escaped, *layout)));
            for (layout_how, written) in std::iter::once(plain).chain(layouts) {
                let hows = [order, &layout_how, escape_how];
                let told: Vec<&str> = hows.into_iter().filter(|how| !how.is_empty()).collect();
                let told = told.join(", ");
                all.push((
                    format!("{told}, with a line feed at its end"),
                    format!("{written}\n").into_bytes(),
                ));
                all.push((told, written.into_bytes()));
            }
        }
    }
    // What takes the fewest words is the likeliest.
    all.sort_by_key(|(how, _)| how.len());
    all
}

/// Valid JSON with white space as the layout has it.
fn laid_out(text: &str, layout: Layout) -> String {
    let mut written = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    let mut before = ' ';
    for character in text.chars() {
        if in_text {
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
            written.push(character);
            before = character;
            continue;
        }
        if character.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(character, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if matches!(before, '{' | '[') && !closes || closes && !matches!(before, '{' | '[') {
            begin_line(&mut written, layout, depth);
        }
        written.push(character);
        match character {
            '"' => in_text = true,
            '{' | '[' => depth += 1,
            ',' => match layout {
                Layout::Spaced => written.push(' '),
                Layout::Minified | Layout::Indented(_) => begin_line(&mut written, layout, depth),
            },
            ':' => match layout {
                Layout::Spaced | Layout::Indented(_) => written.push(' '),
                Layout::Minified => {}
            },
            _ => {}
        }
        before = character;
    }
    written
}

fn begin_line(written: &mut String, layout: Layout, depth: usize) {
    match layout {
        Layout::Indented(step) => {
            written.push('\n');
            (0..depth).for_each(|_| written.push_str(step));
        }
        Layout::Minified | Layout::Spaced => {}
    }
}

fn ascii(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            written.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            written.push_str(&format!("\\u{unit:04x}"));
        }
    }
    written
}

/// `\u` escapes of characters beyond ASCII as the characters.
fn unescaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut units = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let unit = rest.strip_prefix("\\u").and_then(|rest| rest.get(..4));
        let unit = unit.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        if let Some(unit) = unit.filter(|unit| *unit >= 0x80) {
            units.push(unit);
            rest = rest.get(6..).unwrap_or_default();
            continue;
        }
        written.push_str(&String::from_utf16_lossy(&std::mem::take(&mut units)));
        // A backslash goes with what it escapes, so that `\\u00e9` stays text.
        let length = if character == '\\' { 2 } else { character.len_utf8() };
        let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        written.push_str(taken);
        rest = left;
    }
    written.push_str(&String::from_utf16_lossy(&units));
    written
}

fn slashes(text: &str) -> String {
    text.replace("\\/", "/").replace('/', "\\/")
}

fn html(text: &str) -> String {
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn unescaped_html(text: &str) -> String {
    text.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_as_others_write_it() {
        let text = r#"{ "a" : [1, {"b":"x, y: \"{\""}], "c":{}, "d":[ ] }"#;
        assert_eq!(
            laid_out(text, Layout::Minified),
            r#"{"a":[1,{"b":"x, y: \"{\""}],"c":{},"d":[]}"#
        );
        assert_eq!(
            laid_out(text, Layout::Spaced),
            r#"{"a": [1, {"b": "x, y: \"{\""}], "c": {}, "d": []}"#
        );
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        assert_eq!(laid_out(text, Layout::Indented("  ")), pretty);
    }

    #[test]
    fn escapes_go_both_ways() {
        let text = r#"{"a":"é 😀 https://x/y","b":"\\u00e9"}"#;
        let escaped = r#"{"a":"\u00e9 \ud83d\ude00 https://x/y","b":"\\u00e9"}"#;
        assert_eq!(ascii(text), escaped);
        assert_eq!(unescaped(escaped), text);
        assert_eq!(slashes(text).replace("\\/", "/"), text);
    }
}
