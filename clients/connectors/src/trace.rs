//! What an event is followed by from the shop to the CRM: a trace id, 32 hex digits. In comes an event, out
//! goes the id of its `traceparent` if whoever made the payment attached one at the provider, else one made
//! of the event's hash, so that every event has one and a redelivery has the same.
//!
//! The form of `traceparent`: <https://www.w3.org/TR/trace-context/#traceparent-header>

use tollgate_client::Event;

/// The key of the provider's metadata that holds it.
const KEY: &str = "traceparent";
const TRACE_DIGITS: usize = 32;
const PARENT_DIGITS: usize = 16;

/// The event's trace id; empty only for an event without a hash, which a gateway does not send.
pub fn id(event: &Event) -> String {
    let attached = event.references.as_ref().and_then(|all| all.metadata.get(KEY));
    if let Some(id) = attached.and_then(|text| of_traceparent(text)) {
        return id.to_owned();
    }
    event.hash.get(..TRACE_DIGITS).filter(|digits| is_hex(digits)).unwrap_or_default().to_owned()
}

/// The trace id within `{version}-{trace id}-{parent id}-{flags}`.
fn of_traceparent(text: &str) -> Option<&str> {
    let mut parts = text.trim().split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    // Version 00 has exactly these parts, later ones may have more, and ff never comes.
    let known = version.len() == 2 && is_hex(version) && version != "ff";
    let ends = version != "00" || parts.next().is_none();
    let right = |digits: &str, count| digits.len() == count && is_hex(digits) && !is_zero(digits);
    let whole = right(trace, TRACE_DIGITS) && right(parent, PARENT_DIGITS);
    (known && ends && whole && flags.len() == 2 && is_hex(flags)).then_some(trace)
}

fn is_hex(digits: &str) -> bool {
    digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(digits: &str) -> bool {
    digits.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use tollgate_client::proto::References;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn event(traceparent: &str) -> Event {
        let metadata = [(KEY.to_owned(), traceparent.to_owned())].into();
        let references = Some(References { metadata, ..References::default() });
        Event { hash: "ab".repeat(32), references, ..Event::default() }
    }

    #[test]
    fn an_attached_one_is_taken_if_it_is_valid() {
        assert_eq!(id(&event(&format!("00-{TRACE}-00f067aa0ba902b7-01"))), TRACE);
        assert_eq!(id(&event(&format!("01-{TRACE}-00f067aa0ba902b7-01-more"))), TRACE);
    }

    #[test]
    fn else_it_comes_from_the_hash() {
        let zero = "0".repeat(32);
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
        ] {
            assert_eq!(id(&event(&wrong)), "ab".repeat(16), "{wrong}");
        }
        assert_eq!(id(&Event::default()), "");
    }
}
