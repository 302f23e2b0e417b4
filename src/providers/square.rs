//! stub
use super::*;
/// square
pub const PROVIDER: Provider = Provider {
    name: "square", title: "square", secrets: &[], settings: &[], events: &[],
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    verify: |_, _, _| Err(VerifyError::Mismatch("x")),
    translate: |_, _| Err(TranslateError(String::new())),
    reply: REPLY_OK,
    sample: |_, _| None,
};
