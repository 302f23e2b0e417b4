//! stub
use super::*;
/// adyen
pub const PROVIDER: Provider = Provider {
    name: "adyen", title: "adyen", secrets: &[], settings: &[], events: &[],
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    verify: |_, _, _| Err(VerifyError::Mismatch("x")),
    translate: |_, _| Err(TranslateError(String::new())),
    reply: REPLY_OK,
    sample: |_, _| None,
};
