//! A provider's API on this machine while samples are sent: answered by this program, or by another that
//! listens there already, such as the demo, which is given the answers. In come the answers of samples; it
//! must never be told anything but samples.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::Context as _;

use super::Poster;
use crate::http::sample_api::{self, SampleApi};
use crate::providers::SampleAnswer;

/// A provider's API on this machine.
pub enum Api {
    /// Answered here.
    Here(SampleApi),
    /// Answered by another program, as by the demo: where it takes answers.
    There(String),
}

impl Api {
    /// Answers at this address, unless somebody else does.
    pub async fn at(address: SocketAddr) -> anyhow::Result<Api> {
        match SampleApi::start(address).await {
            Ok(api) => Ok(Api::Here(api)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                Ok(Api::There(format!("http://{address}{}", sample_api::ANSWERS_PATH)))
            }
            Err(error) => Err(error).context(format!("could not answer for the API at {address}")),
        }
    }

    /// Has it answer as samples say.
    pub async fn add(&self, poster: &Poster, answers: Vec<SampleAnswer>) -> anyhow::Result<()> {
        match self {
            Api::Here(api) => api.add(answers),
            Api::There(url) => {
                let list = sample_api::list_of(&answers);
                let taken = poster.client.post(url).json(&list).send().await;
                let taken = taken.and_then(reqwest::Response::error_for_status);
                taken.with_context(|| format!("{url} takes no answers of samples"))?;
            }
        }
        Ok(())
    }
}
