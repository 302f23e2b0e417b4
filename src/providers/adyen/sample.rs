//! stub
use super::*;
use crate::providers::SampleOrder;
pub(super) fn sample(_: &Endpoint, _: &SampleOrder<'_>) -> Option<Request> {
    None
}
