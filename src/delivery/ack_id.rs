//! What a delivery is acknowledged with: the subscription, the event and the lease, as one short text.
//! The lease is random, so nobody can guess another delivery's id.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::window::LeaseId;
use crate::model::Sequence;
use crate::store::SubscriptionId;

/// The parts of an ack id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckId {
    /// Whose delivery it is.
    pub subscription: SubscriptionId,
    /// The event.
    pub sequence: Sequence,
    /// The lease.
    pub lease: LeaseId,
}

impl AckId {
    /// As text.
    pub fn encode(self) -> String {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.subscription.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[16..].copy_from_slice(&self.lease.0.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads it back; `None` for what `encode` never made.
    pub fn decode(text: &str) -> Option<AckId> {
        let mut bytes = [0; 24];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        if length != bytes.len() {
            return None;
        }
        let part = |at: usize| -> [u8; 8] {
            let mut part = [0; 8];
            part.copy_from_slice(&bytes[at..at + 8]);
            part
        };
        Some(AckId {
            subscription: SubscriptionId(i64::from_be_bytes(part(0))),
            sequence: Sequence(i64::from_be_bytes(part(8))),
            lease: LeaseId(u64::from_be_bytes(part(16))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_ids_read_back_and_garbage_does_not() {
        let id = AckId {
            subscription: SubscriptionId(3),
            sequence: Sequence(1 << 40),
            lease: LeaseId(u64::MAX - 7),
        };
        assert_eq!(AckId::decode(&id.encode()), Some(id));
        for garbage in ["", "AAAA", "not base64!", &"A".repeat(31), &"A".repeat(500)] {
            assert_eq!(AckId::decode(garbage), None, "{garbage}");
        }
    }
}
